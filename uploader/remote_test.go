package uploader

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/faulty"
)

// seeded is a store with a committed checkpoint and an artifact, and a node that has
// fetched nothing of them.
func seeded(t *testing.T) (b *node, calls func(string) int, s func() string, get1 func(string) string) {
	t.Helper()
	st := newFaulty()
	a := startNode(t, st)
	a.mkdir("run")
	a.mkdir("run/checkpoint_000000")
	a.mkdir("run/checkpoint_000000/sub")
	a.write("run/checkpoint_000000/model", big(1, 3<<20))
	a.write("run/checkpoint_000000/sub/meta", "m")
	a.write("run/notes", "notes")
	a.wait()
	a.close()
	b = startNode(t, st)
	return b, st.Calls, func() string { return objects(t, st) }, func(k string) string { return get(t, st, k) }
}

func TestRenameOfRemoteDirectoryIsDoneInTheStore(t *testing.T) {
	t.Parallel()
	b, calls, objs, content := seeded(t)
	if err := b.Rename(ctx, "run/checkpoint_000000", "run/checkpoint_best", 0); err != nil {
		t.Fatal(err)
	}
	if got := b.names("run"); got != "checkpoint_best notes" {
		t.Errorf("names right after: %s", got)
	}
	if got := b.names("run/checkpoint_best/sub"); got != "meta" {
		t.Errorf("names below: %s", got)
	}
	before := b.up.Status().BytesFetched
	b.wait()
	if got, want := objs(), "run/checkpoint_best/model run/checkpoint_best/sub/meta run/notes"; got != want {
		t.Errorf("objects: %s, want %s", got, want)
	}
	if content("run/checkpoint_best/model") != big(1, 3<<20) {
		t.Error("content differs")
	}
	if got := b.up.Status().BytesFetched; got != before || calls("put_part") > 3 {
		t.Errorf("%d bytes fetched, %d parts put", got, calls("put_part"))
	}
	for _, k := range allKeys(t, b.Store()) {
		if strings.Contains(k, "checkpoint_000000") || strings.HasSuffix(k, ".open") {
			t.Errorf("left: %s", k)
		}
	}
	if b.read("run/checkpoint_best/sub/meta") != "m" {
		t.Error("meta differs")
	}
	c := startNode(t, b.Store())
	if c.read("run/checkpoint_best/model") != big(1, 3<<20) {
		t.Error("another node reads otherwise")
	}
}

// P3: a checkpoint that gets another name appears under it whole.
func TestRenamedRemoteCheckpointIsPublishedAtOnce(t *testing.T) {
	b, _, _, _ := seeded(t)
	hold := b.Store().(*faulty.Store).Hold(backend.OpCopy, 2)
	defer hold.Release()
	c := startNode(t, b.Store())
	if err := b.Rename(ctx, "run/checkpoint_000000", "run/checkpoint_best", 0); err != nil {
		t.Fatal(err)
	}
	<-hold.Reached()
	for range 20 {
		if got := c.names("run"); strings.Contains(got, "best") || !c.missing("run/checkpoint_best") || !c.missing("run/checkpoint_best/model") {
			t.Fatalf("in the middle of the copies another node sees it: %s", got)
		}
	}
	hold.Release()
	b.wait()
	if got := c.names("run") + ": " + c.names("run/checkpoint_best"); got != "checkpoint_best notes: model sub" {
		t.Errorf("then it sees %s", got)
	}
}

// What is done to a directory that is only in the store costs no download.
func TestDirectoriesThatAreOnlyRemoteAreChangedWithoutTheirContent(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a := startNode(t, s)
	for _, dir := range []string{"run", "run/logs", "run/logs/deep", "run/old"} {
		a.mkdir(dir)
	}
	for _, f := range []string{"run/logs/a", "run/logs/deep/b", "run/old/c"} {
		a.write(f, f)
	}
	a.wait()
	a.close()
	b := startNode(t, s)
	if err := b.walkTo("run/logs"); err != nil {
		t.Fatal(err)
	}
	if err := b.Chmod(ctx, "run/logs", 0o750); err != nil {
		t.Fatal(err)
	}
	if err := b.Rename(ctx, "run/logs", "run/kept", 0); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"run/old/c", "run/old"} {
		if err := b.walkTo(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(b.Unlink(ctx, "run/old/c"), b.Rmdir(ctx, "run/old")); err != nil {
		t.Fatal(err)
	}
	b.wait()
	if got := b.up.Status().BytesFetched; got != 0 {
		t.Errorf("%d bytes fetched", got)
	}
	c := startNode(t, s)
	if got := c.names("run") + ", " + c.names("run/kept") + ", " + c.names("run/kept/deep"); got != "kept, a deep, b" {
		t.Errorf("another node sees %s", got)
	}
	if c.read("run/kept/a")+c.read("run/kept/deep/b") != "run/logs/arun/logs/deep/b" {
		t.Error("content differs")
	}
	if info, err := c.Lookup(ctx, "run/kept"); err != nil || info.Mode&0o777 != 0o750 {
		t.Errorf("mode %o, %v", info.Mode, err)
	}
}

func TestRenamedRemoteFileCanBeReadAndRenamedAgainBeforeItsCommit(t *testing.T) {
	t.Parallel()
	b, _, objs, _ := seeded(t)
	st := b.Store().(interface {
		FailAlways(string, error)
		Clear()
	})
	st.FailAlways("copy", errors.New("not yet"))
	for _, step := range [][2]string{{"run/notes", "run/notes2"}, {"run/notes2", "run/notes3"}} {
		if err := b.Rename(ctx, step[0], step[1], 0); err != nil {
			t.Fatal(err)
		}
	}
	b.restart()
	if got := b.names("run"); got != "checkpoint_000000 notes3" {
		t.Errorf("names: %s", got)
	}
	if got := b.read("run/notes3"); got != "notes" {
		t.Errorf("%q", got)
	}
	st.Clear()
	b.wait()
	if got := objs(); strings.Contains(got, "run/notes ") || strings.Contains(got, "notes2") || !strings.Contains(got, "run/notes3") {
		t.Errorf("objects: %s", got)
	}
}

func TestWritingToRemoteFiles(t *testing.T) {
	t.Parallel()
	b, calls, _, content := seeded(t)
	gets := calls("get")
	h, err := b.Open(ctx, "run/notes", unix.O_WRONLY|unix.O_TRUNC)
	if err != nil {
		t.Fatal(err)
	}
	if got := calls("get"); got != gets {
		t.Errorf("O_TRUNC fetched something")
	}
	h.File().WriteString("new")
	b.closeHandle(h)
	h, err = b.Open(ctx, "run/checkpoint_000000/sub/meta", unix.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	h.File().WriteAt([]byte("+"), 1)
	b.closeHandle(h)
	if err := b.Chmod(ctx, "run/checkpoint_000000/model", 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Link(ctx, "run/notes", "run/linked"); err != nil {
		t.Fatal(err)
	}
	b.wait()
	if got := content("run/notes") + content("run/linked") + content("run/checkpoint_000000/sub/meta"); got != "newnewm+" {
		t.Errorf("%q", got)
	}
	c := startNode(t, b.Store())
	if info, err := c.Lookup(ctx, "run/checkpoint_000000/model"); err != nil || info.Mode&0o777 != 0o600 {
		t.Errorf("mode %o, %v", info.Mode, err)
	}
	if err := b.Unlink(ctx, "run/checkpoint_000000/model"); err != nil {
		t.Fatal(err)
	}
	b.wait()
	if !c.missing("run/checkpoint_000000/gone") || c.missing("run/checkpoint_000000/sub/meta") {
		t.Error("the rest of the checkpoint is not as it was")
	}
}

func TestRmdirOfRemoteDirectoryThatIsNotEmpty(t *testing.T) {
	t.Parallel()
	b, _, objs, _ := seeded(t)
	if _, err := b.Lookup(ctx, "run/checkpoint_000000"); err != nil {
		t.Fatal(err)
	}
	if err := b.Rmdir(ctx, "run/checkpoint_000000"); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("rmdir: %v, want ENOTEMPTY", err)
	}
	for _, p := range []string{"run/checkpoint_000000/model", "run/checkpoint_000000/sub/meta"} {
		if err := b.Unlink(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"run/checkpoint_000000/sub", "run/checkpoint_000000"} {
		if _, err := b.Lookup(ctx, p); err != nil {
			t.Fatal(err)
		}
		if err := b.Rmdir(ctx, p); err != nil {
			t.Fatalf("rmdir %s: %v", p, err)
		}
	}
	b.wait()
	if got := objs(); got != "run/notes" {
		t.Errorf("objects: %s", got)
	}
}

// A commit that finds some of its files evicted still speaks of them.
func TestManifestKeepsEvictedMembers(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(1, 2<<20))
	n.wait()
	if freed, kept, err := n.Evict(ctx, []string{"run"}); freed == 0 || err != nil {
		t.Fatalf("evict: %d, %v, %v", freed, kept, err)
	}
	n.write("run/checkpoint_000000/b", "b")
	n.wait()
	res, err := n.up.Verify(ctx, []string{"run"}, func(VerifyEvent) {})
	if err != nil || res.OK != 2 {
		t.Errorf("verify: %+v, %v", res, err)
	}
	if n.read("run/checkpoint_000000/a") != big(1, 2<<20) {
		t.Error("content differs")
	}
}

func TestUnlinkOfOneMemberOnANodeThatHasNothingElseOfIt(t *testing.T) {
	t.Parallel()
	b, _, objs, _ := seeded(t)
	if err := b.walkTo("run/checkpoint_000000/model"); err != nil {
		t.Fatal(err)
	}
	if err := b.Unlink(ctx, "run/checkpoint_000000/model"); err != nil {
		t.Fatal(err)
	}
	b.wait()
	if got := objs(); got != "run/checkpoint_000000/sub/meta run/notes" {
		t.Errorf("objects: %s", got)
	}
}

// What is wrong in the store does not read as success, even if it was read as it came.
func TestCorruptContentEndsInAnError(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a := startNode(t, s)
	a.mkdir("run")
	a.mkdir("run/checkpoint_000000")
	a.write("run/checkpoint_000000/f", big(1, 20<<20))
	a.wait()
	other := big(2, 20<<20)
	s.Put(ctx, "run/checkpoint_000000/f", backend.Content{R: strings.NewReader(other), Size: 20 << 20, CRC32C: crc32c.Checksum([]byte(other))}, backend.PutOptions{})
	b := startNode(t, s)
	h, err := b.Open(ctx, "run/checkpoint_000000/f", unix.O_RDONLY)
	if errors.Is(err, syscall.EIO) {
		return // all of it was here, and checked, before the open was answered
	}
	if err != nil {
		t.Fatal(err)
	}
	defer b.shut(h)
	for off := int64(0); off < 20<<20; off += 1 << 20 {
		if _, err = h.ReadAt(ctx, make([]byte, 1<<20), off); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("all of it was read without an error: %v", err)
	}
}

// An evicted file's record is all that is left of it, and the next file may get its inode
// number: a directory that comes back under its old name, by way of another node, is no
// less new for that.
func TestRenamedOverEvictedFilesItIsCommitted(t *testing.T) {
	t.Parallel()
	st := newFaulty()
	a, b := startNode(t, st), startNode(t, st)
	const old, best = "run/checkpoint_000000", "run/checkpoint_best"
	a.mkdir("run")
	a.mkdir(old)
	for _, f := range []string{"f0", "f1", "f2"} {
		a.write(old+"/"+f, big(1, 100_000))
	}
	a.wait()
	if freed, _, err := a.Evict(ctx, []string{"run"}); freed == 0 || err != nil {
		t.Fatalf("evict: %d bytes, %v", freed, err)
	}
	b.walkTo(old)
	if err := b.Rename(ctx, old, best, 0); err != nil {
		t.Fatal(err)
	}
	b.wait()
	eventually(t, "the other node sees it", func() bool { return a.walkTo(best) == nil })
	for _, f := range []string{"f0", "f1", "f2"} {
		if err := a.walkTo(best + "/" + f); err != nil {
			t.Fatal(err)
		}
		a.read(best + "/" + f)
	}
	if err := a.Rename(ctx, best, old, 0); err != nil {
		t.Fatal(err)
	}
	a.restart()
	a.wait()
	if got, want := objects(t, st), "run/checkpoint_000000/f0 run/checkpoint_000000/f1 run/checkpoint_000000/f2"; got != want {
		t.Errorf("objects: %s, want %s", got, want)
	}
}
