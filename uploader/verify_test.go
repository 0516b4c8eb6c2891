package uploader

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// silent is a store that tells no checksums, as one whose objects other tools have put.
type silent struct{ backend.Store }

func (s silent) Head(ctx context.Context, key string) (backend.Object, error) {
	o, err := s.Store.Head(ctx, key)
	o.HasCRC32C, o.CRC32C = false, 0
	return o, err
}

// putRaw writes an object as another tool does.
func putRaw(t tester, s backend.Store, key, content string) {
	t.Helper()
	if _, err := s.Put(ctx, key, contentOf([]byte(content)), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// rot is a store in which the bytes of some objects are not those that were put, though
// everything that it says of them is.
type rot struct {
	backend.Store
	content map[string]string
}

func (r *rot) Get(ctx context.Context, key string, o backend.GetOptions) (body io.ReadCloser, obj backend.Object, err error) {
	body, obj, err = r.Store.Get(ctx, key, o)
	if bad, ok := r.content[key]; ok && err == nil {
		body.Close()
		bad = bad[o.Offset:]
		if o.Length > 0 {
			bad = bad[:o.Length]
		}
		body = io.NopCloser(strings.NewReader(bad))
	}
	return body, obj, err
}

// verify gives the results as "status path", sorted.
func (n *node) verify(paths ...string) ([]string, VerifyResult) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var got []string
	var last VerifyResult
	result, err := n.up.Verify(ctx, paths, func(e VerifyEvent) {
		last = e.Result
		if e.File != nil {
			got = append(got, string(e.File.Status)+" "+e.File.Path)
		}
	})
	if err != nil {
		n.t.Fatalf("verify %v: %v", paths, err)
	}
	if len(got) != result.Files() || last.Files() != result.Files() {
		n.t.Errorf("told of %d files, %+v", len(got), result)
	}
	if result.Bytes != result.BytesDone {
		n.t.Errorf("the bar would end at %d of %d", result.BytesDone, result.Bytes)
	}
	sort.Strings(got)
	return got, result
}

func expectLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

const ckpt = "run/checkpoint_000000"

func (n *node) checkpoint() {
	n.t.Helper()
	n.mkdir("run")
	n.mkdir(ckpt)
	n.mkdir(ckpt + "/sub")
	n.write(ckpt+"/model.pt", big(1, 3<<20))
	n.write(ckpt+"/sub/optim.pt", "optim")
	n.write(ckpt+"/empty", "")
	if _, err := n.Symlink(ctx, "model.pt", ckpt+"/last", cache.Owner{}); err != nil {
		n.t.Fatal(err)
	}
	n.write("run/notes.txt", "notes")
	n.wait()
}

// writes counts the calls that change a store.
func writes(s *faulty.Store) int {
	reads := s.Calls(backend.OpHead) + s.Calls(backend.OpList) + s.Calls(backend.OpGet) + s.Calls(backend.OpStagedParts) + s.Calls(backend.OpListStages)
	return s.Calls(faulty.Any) - reads
}

func localNames(t *testing.T, n *node) (names []string) {
	t.Helper()
	for _, top := range []string{"tree", "fetch"} {
		err := filepath.WalkDir(filepath.Join(n.cfg.Dir, top), func(p string, _ fs.DirEntry, err error) error {
			names = append(names, p)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

func TestVerifyFindsNothingWrongAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a := startNode(t, s)
	a.checkpoint()
	b := startNode(t, s)
	before, put := localNames(t, b), writes(s)
	got, result := b.verify("")
	expectLines(t, got, "ok "+ckpt+"/empty", "ok "+ckpt+"/last", "ok "+ckpt+"/model.pt", "ok "+ckpt+"/sub/optim.pt", "ok run/notes.txt")
	if result.Bad() != 0 || result.Bytes != 3<<20+5+8+5 {
		t.Errorf("%+v", result)
	}
	if after := localNames(t, b); !reflect.DeepEqual(before, after) {
		t.Errorf("came into the cache: %q", after)
	}
	if n := writes(s) - put; n != 0 {
		t.Errorf("%d calls changed the store", n)
	}
	if r := b.CacheReport(); r.Used != 0 || r.Partial != 0 {
		t.Errorf("%+v", r)
	}
}

func TestVerifyPathsMayBeFilesPartsAndOverlap(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a := startNode(t, s)
	a.checkpoint()
	for _, tt := range []struct {
		paths []string
		want  []string
	}{
		{[]string{ckpt + "/model.pt"}, []string{"ok " + ckpt + "/model.pt"}},
		{[]string{ckpt + "/sub"}, []string{"ok " + ckpt + "/sub/optim.pt"}},
		{[]string{ckpt + "/sub/optim.pt", ckpt + "/sub"}, []string{"ok " + ckpt + "/sub/optim.pt"}},
		{[]string{"run/notes.txt", "run/notes.txt"}, []string{"ok run/notes.txt"}},
	} {
		got, _ := a.verify(tt.paths...)
		expectLines(t, got, tt.want...)
	}
	if _, err := a.up.Verify(ctx, []string{"run/nobody"}, func(VerifyEvent) {}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that is nowhere: %v", err)
	}
	if err := s.Delete(ctx, ckpt+"/sub/optim.pt"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{ckpt + "/sub", ckpt + "/sub/optim.pt"} {
		got, _ := a.verify(path)
		expectLines(t, got, "missing "+ckpt+"/sub/optim.pt")
	}
}

func TestVerifyFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	m := mem.New()
	bad := &rot{m, map[string]string{}}
	a := startNode(t, bad)
	a.checkpoint()
	model := []byte(big(1, 3<<20))
	model[2<<20]++
	bad.content[ckpt+"/model.pt"] = string(model)          // rotten, and the store says nothing
	bad.content["run/notes.txt"] = "nOtes"                 // the same, outside of a checkpoint
	putRaw(t, m, ckpt+"/sub/optim.pt", "longer than that") // replaced by another tool
	putRaw(t, m, ckpt+"/visitor", "hello")
	putRaw(t, m, ckpt+"/last", "model.pt") // a file where a link was
	if err := m.Delete(ctx, ckpt+"/empty"); err != nil {
		t.Fatal(err)
	}
	var events []VerifiedFile
	result, err := a.up.Verify(ctx, []string{"run"}, func(e VerifyEvent) {
		if e.File != nil {
			events = append(events, *e.File)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if result.Mismatch != 4 || result.Missing != 1 || result.Extra != 1 || result.OK != 0 || result.Bad() != 5 {
		t.Errorf("%+v", result)
	}
	want := map[string][3]string{
		ckpt + "/model.pt":     {"mismatch", contentText(3<<20, crc32c.Checksum([]byte(big(1, 3<<20)))), contentText(3<<20, crc32c.Checksum(model))},
		ckpt + "/sub/optim.pt": {"mismatch", contentText(5, crc32c.Checksum([]byte("optim"))), "16 bytes"},
		ckpt + "/last":         {"mismatch", "a symbolic link", "a file"},
		ckpt + "/empty":        {"missing", contentText(0, 0), ""},
		ckpt + "/visitor":      {"extra", "", ""},
		"run/notes.txt":        {"mismatch", contentText(5, crc32c.Checksum([]byte("notes"))), contentText(5, crc32c.Checksum([]byte("nOtes")))},
	}
	for _, e := range events {
		if got := [3]string{string(e.Status), e.Expected, e.Got}; got != want[e.Path] {
			t.Errorf("%s: got %q, want %q", e.Path, got, want[e.Path])
		}
	}
}

// The directory has lost every object, but its manifest is there.
func TestVerifyFindsCheckpointWithoutAnyObject(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a := startNode(t, s)
	a.checkpoint()
	if err := s.Delete(ctx, ckpt+"/empty", ckpt+"/last", ckpt+"/model.pt", ckpt+"/sub/optim.pt"); err != nil {
		t.Fatal(err)
	}
	got, _ := a.verify("")
	expectLines(t, got, "missing "+ckpt+"/empty", "missing "+ckpt+"/last", "missing "+ckpt+"/model.pt", "missing "+ckpt+"/sub/optim.pt", "ok run/notes.txt")
}

func putManifest(t *testing.T, s backend.Store, m layout.Manifest) {
	t.Helper()
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	putRaw(t, s, layout.ManifestKey(m.Unit, m.Node), string(b))
}

func manifestOf(node string, sealed time.Time, path, content string) layout.Manifest {
	return layout.Manifest{Unit: ckpt, Node: node, Generation: 1, Sealed: sealed, Files: []layout.File{
		{Path: path, Type: layout.TypeFile, Size: int64(len(content)), CRC32C: crc32c.Checksum([]byte(content)), Mode: 0o644},
	}}
}

func TestVerifyGoesByTheNewestManifestThatNamesAFile(t *testing.T) {
	s := newFaulty()
	now := time.Now()
	putManifest(t, s, manifestOf("n1", now, "shared", "first"))
	putManifest(t, s, manifestOf("n2", now.Add(time.Minute), "shared", "newer"))
	putManifest(t, s, manifestOf("n3", now.Add(time.Hour), "alone", "alone"))
	putRaw(t, s, ckpt+"/shared", "newer")
	putRaw(t, s, ckpt+"/alone", "alone")
	n := startNode(t, s)
	got, _ := n.verify(ckpt)
	expectLines(t, got, "ok "+ckpt+"/alone", "ok "+ckpt+"/shared")
	putRaw(t, s, ckpt+"/shared", "first")
	var f VerifiedFile
	if _, err := n.up.Verify(ctx, []string{ckpt + "/shared"}, func(e VerifyEvent) {
		if e.File != nil {
			f = *e.File
		}
	}); err != nil {
		t.Fatal(err)
	}
	if f.Status != VerifyMismatch || !strings.Contains(f.Reason, "node n1") {
		t.Errorf("%+v", f)
	}
}

func TestVerifyOfWhatNobodyKnowsAChecksumOf(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, silent{s})
	putRaw(t, s, "data/a", "somebody else's")
	putRaw(t, s, "run/checkpoint_000009/model.pt", "without a manifest")
	n.mkdir("mine")
	n.write("mine/a", "known here")
	n.wait()
	gets := s.Calls(backend.OpGet)
	got, _ := n.verify("")
	expectLines(t, got, "ok mine/a", "unverified data/a", "unverified run/checkpoint_000009/model.pt")
	if c := s.Calls(backend.OpGet) - gets; c != 1 {
		t.Errorf("%d files were read", c)
	}
	s.Offline(false)
	n.write("mine/late", "not there yet")
	s.Online()
	s.FailAlways(backend.OpPut, errors.New("not now"))
	got, _ = n.verify("mine/late")
	expectLines(t, got, "unverified mine/late")
	s.Clear()
	n.wait()
}

func TestVerifyOfAManifestThatCannotBeRead(t *testing.T) {
	s := newFaulty()
	putRaw(t, s, ckpt+"/model.pt", "model")
	putRaw(t, s, layout.ManifestKey(ckpt, "n1"), "{rotten")
	putRaw(t, s, layout.ManifestKey(ckpt, "n2"), `{"version": 99}`)
	n := startNode(t, s)
	got, _ := n.verify("")
	expectLines(t, got, "extra "+ckpt+"/model.pt", "mismatch "+layout.ManifestKey(ckpt, "n1"), "unverified "+layout.ManifestKey(ckpt, "n2"))
}

func TestVerifyTakesWritingForNoError(t *testing.T) {
	s := newFaulty()
	putManifest(t, s, manifestOf("n1", time.Now(), "model.pt", "new"))
	putRaw(t, s, ckpt+"/model.pt", "old")
	m := layout.OpenMarker{Node: "n1", State: layout.StateOpen, Since: time.Now()}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	putRaw(t, s, layout.OpenKey(ckpt, "n1"), string(b))
	n := startNode(t, s)
	got, _ := n.verify("")
	expectLines(t, got, "unverified "+ckpt+"/model.pt")
}

// onGet changes the store between the listing and the reading.
type onGet struct {
	backend.Store
	key  string
	then func()
}

func (s *onGet) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	if then := s.then; key == s.key && then != nil {
		s.then = nil
		then()
	}
	return s.Store.Get(ctx, key, o)
}

func TestVerifyLooksAgainAtWhatChangesMeanwhile(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, s backend.Store)
		want   []string
	}{
		"published anew": {func(t *testing.T, s backend.Store) {
			putManifest(t, s, manifestOf("n1", time.Now(), "model.pt", "second"))
			putRaw(t, s, ckpt+"/model.pt", "second")
		}, []string{"ok " + ckpt + "/model.pt"}},
		"deleted": {func(t *testing.T, s backend.Store) {
			if err := s.Delete(ctx, ckpt+"/model.pt", layout.ManifestKey(ckpt, "n1")); err != nil {
				t.Error(err)
			}
		}, nil},
		"damaged": {func(t *testing.T, s backend.Store) {
			putRaw(t, s, ckpt+"/model.pt", "rotten")
		}, []string{"mismatch " + ckpt + "/model.pt"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := mem.New()
			putManifest(t, m, manifestOf("n1", time.Now(), "model.pt", "first!"))
			putRaw(t, m, ckpt+"/model.pt", "first!")
			n := startNode(t, &onGet{m, ckpt + "/model.pt", func() { tt.change(t, m) }})
			got, _ := n.verify("run")
			expectLines(t, got, tt.want...)
		})
	}
}

func TestVerifyTellsAFileThatCannotBeReadFromAStoreThatIsGone(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a := startNode(t, s)
	a.mkdir("run")
	a.write("run/a", "a")
	a.write("run/b", "b")
	a.wait()
	s.Fail(backend.OpGet, 1, backend.ErrDenied)
	_, result := a.verify("")
	if result.Unreadable != 1 || result.OK != 1 || result.Bad() != 1 {
		t.Errorf("%+v", result)
	}
	s.Fail(backend.OpGet, 1, errors.New("a hiccup"))
	if _, result = a.verify(""); result.OK != 2 {
		t.Errorf("%+v", result)
	}
	h := s.Hold(backend.OpGet, 1)
	cctx, cancel := context.WithCancel(ctx)
	go func() { <-h.Reached(); cancel() }()
	if _, err := a.up.Verify(cctx, []string{""}, func(VerifyEvent) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// Issue 3, 5: no marker, no staging, no probing; and nobody may write.
func TestReadOnlyNodeWritesNothingToTheStore(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a := startNode(t, s)
	a.checkpoint()
	a.close()
	before := writes(s)
	denied := backend.Intercept(s, func(ctx context.Context, op, key string, next func(context.Context) error) error {
		switch op {
		case backend.OpHead, backend.OpList, backend.OpGet:
			return next(ctx)
		}
		t.Errorf("%s %q", op, key)
		return &backend.Error{Op: op, Key: key, Kind: backend.ErrDenied}
	})
	n := startNode(t, denied, func(c *cache.Config) { c.ReadOnly = true })
	if got := n.names(ckpt); got != "empty last model.pt sub" {
		t.Errorf("names: %s", got)
	}
	if n.read(ckpt+"/model.pt") != big(1, 3<<20) {
		t.Error("content differs")
	}
	if err := n.Prefetch(ctx, []string{""}); err != nil {
		t.Error(err)
	}
	if got, result := n.verify(""); result.Bad() != 0 {
		t.Errorf("%q", got)
	}
	if _, _, err := n.Evict(ctx, []string{""}); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"create": second(n.Create(ctx, "run/new", unix.O_WRONLY, 0o644, cache.Owner{})),
		"open":   first(n.Open(ctx, "run/notes.txt", unix.O_WRONLY)),
		"mkdir":  first(n.Mkdir(ctx, "run/dir", 0o755, cache.Owner{})),
		"unlink": n.Unlink(ctx, "run/notes.txt"),
		"rename": n.Rename(ctx, "run/notes.txt", "run/other.txt", 0),
		"chmod":  n.Chmod(ctx, "run/notes.txt", 0o600),
		"rmdir":  n.Rmdir(ctx, ckpt),
		"trunc":  n.Truncate(ctx, "run/notes.txt", 0),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := n.up.Commit(ctx, []string{""}); err != nil {
		t.Error(err)
	}
	n.wait()
	n.restart()
	n.wait()
	if got := writes(s) - before; got != 0 {
		t.Errorf("%d calls changed the store", got)
	}
	if left, err := os.ReadDir(filepath.Join(n.cfg.Dir, "lost+found")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
}

func first[T any](_ T, err error) error { return err }

func second[T, U any](_ T, _ U, err error) error { return err }
