package uploader

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// P3, through a mount: at any moment another node sees all of a checkpoint or nothing.
func TestCheckpointInvisibleElsewhereUntilCommitted(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	slow := func(c *cache.Config) { c.Settle = 500 * time.Millisecond }
	a, b := startNode(t, s, slow), startNode(t, s, slow)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	seen := 0
	go func() {
		defer wg.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			list, err := b.ReadDir(ctx, "run")
			if err != nil {
				continue
			}
			for _, e := range list {
				files, err := b.ReadDir(ctx, "run/"+e.Name)
				if err == nil && len(files) != 4 {
					t.Errorf("%s shows %d files", e.Name, len(files))
				}
				if err == nil {
					seen++
				}
			}
		}
	}()
	a.mkdir("run")
	for i := range 5 {
		dir := fmt.Sprintf("run/checkpoint_%06d", i)
		a.mkdir(dir)
		for j := range 4 {
			a.write(fmt.Sprintf("%s/f%d", dir, j), big(byte(i), 1<<20+j*1000))
		}
	}
	a.wait()
	eventually(t, "all there on the other node", func() bool { return strings.Count(b.names("run"), "checkpoint") == 5 })
	close(stop)
	wg.Wait()
	for i := range 5 {
		for j := range 4 {
			if p := fmt.Sprintf("run/checkpoint_%06d/f%d", i, j); b.read(p) != big(byte(i), 1<<20+j*1000) {
				t.Errorf("%s differs", p)
			}
		}
	}
	if seen == 0 {
		t.Error("the other node never saw anything")
	}
}

// P3, in the raw store: no object before the data of all has been uploaded.
func TestNothingVisibleInTheStoreBeforeAllIsStaged(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	s.FailAlways("publish_stage", fmt.Errorf("not yet"))
	for j := range 4 {
		n.write(fmt.Sprintf("run/checkpoint_000000/f%d", j), big(byte(j), 2<<20))
	}
	n.write("run/checkpoint_000000/small", "s")
	eventually(t, "all parts are there", func() bool { return s.Calls("put_part") == 8 })
	eventually(t, "publish is tried", func() bool { return s.Calls("publish_stage") > 0 })
	s.Clear()
	n.wait()
}

// P4: in the order of closing, though the later one is ready first.
func TestCheckpointsPublishInTheOrderOfClosing(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	s.Fail("begin_stage", 1, fmt.Errorf("the first one is slow"))
	n.write("run/checkpoint_000000/model", big(1, 8<<20))
	eventually(t, "first is sealed", func() bool {
		u, _ := n.unit("run/checkpoint_000000")
		return u.State == cache.StateSealed || u.State == cache.StateUploading
	})
	n.mkdir("run/checkpoint_000001")
	n.write("run/checkpoint_000001/model", "small and quick")
	for {
		got := objects(t, s)
		if strings.Contains(got, "checkpoint_000001") {
			if !strings.Contains(got, "checkpoint_000000/model") {
				t.Fatalf("out of order: %s", got)
			}
			return
		}
	}
}

// P4: while checkpoints take longer than the time between them, the tracker in the store
// still advances, and never names what is not there.
func TestTrackerAdvancesUnderLoad(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	var seen []string
	for i := range 8 {
		dir := fmt.Sprintf("run/checkpoint_%06d", i)
		n.mkdir(dir)
		n.write(dir+"/model", big(byte(i), 2<<20))
		n.write("run/latest", fmt.Sprintf("checkpoint_%06d", i))
		if got := objects(t, s); strings.Contains(got, "run/latest") {
			name := get(t, s, "run/latest")
			if got := objects(t, s); !strings.Contains(got, "run/"+name+"/model") {
				t.Errorf("latest names %s, objects: %s", name, got)
			}
			seen = append(seen, name)
		}
	}
	n.wait()
	if got := get(t, s, "run/latest"); got != "checkpoint_000007" {
		t.Errorf("at the end: %s", got)
	}
	t.Logf("seen on the way: %v", seen)
}

// P4: a checkpoint is deleted in the store only after the tracker that no longer
// names it.
func TestDeletionWaitsForTheTracker(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	for i := range 2 {
		dir := fmt.Sprintf("run/checkpoint_%06d", i)
		n.mkdir(dir)
		n.write(dir+"/model", "m")
		n.write("run/latest", fmt.Sprintf("checkpoint_%06d", i))
		n.wait()
	}
	// The third is open for long; the tracker names it; the first is removed.
	n.mkdir("run/checkpoint_000002")
	h := n.open("run/checkpoint_000002/model")
	n.write("run/latest", "checkpoint_000002")
	if err := n.Unlink(ctx, "run/checkpoint_000000/model"); err != nil {
		t.Fatal(err)
	}
	if err := n.Rmdir(ctx, "run/checkpoint_000000"); err != nil {
		t.Fatal(err)
	}
	n.write("run/other", "x")
	n.wait("run/other")
	if got := objects(t, s); !strings.Contains(got, "checkpoint_000000/model") {
		t.Errorf("deleted before the tracker: %s", got)
	}
	n.closeHandle(h)
	n.wait()
	if got := objects(t, s); strings.Contains(got, "checkpoint_000000") {
		t.Errorf("left: %s", got)
	}
}

// P7: with the store out of reach local work goes on, and arrives later.
func TestLocalWorkGoesOnWithoutTheStore(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = 100 * time.Millisecond })
	n.mkdir("run")
	n.write("run/before", "b")
	n.wait()
	s.Offline(true)
	start := time.Now()
	n.mkdir("run/checkpoint_000000")
	for i := range 50 {
		n.write(fmt.Sprintf("run/checkpoint_000000/f%d", i), "x")
	}
	if got := n.read("run/before"); got != "b" {
		t.Errorf("%q", got)
	}
	if err := n.Rename(ctx, "run/before", "run/after", 0); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("local work took %v", took)
	}
	eventually(t, "status says so", func() bool { return !n.up.Status().StoreReachable })
	s.Online()
	n.wait()
	got := objects(t, s)
	if strings.Count(got, "checkpoint_000000/") != 50 || !strings.Contains(got, "run/after") || strings.Contains(got, "run/before") {
		t.Errorf("objects: %s", got)
	}
}

// P8: what was missed is not remembered as missing; what was rewritten is read anew.
func TestOtherNodeSeesCommitsAtOnce(t *testing.T) {
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	a.mkdir("run")
	a.wait()
	if !b.missing("run/.validate_storage_marker") {
		t.Fatal("there already")
	}
	a.write("run/.validate_storage_marker", "") // its close waits for the store
	if b.missing("run/.validate_storage_marker") {
		t.Error("not there right after close")
	}
	for i := range 3 {
		want := fmt.Sprintf("version %d", i)
		a.write("run/notes", want)
		a.wait()
		time.Sleep(2 * time.Millisecond) // longer than ListTTL
		if got := b.read("run/notes"); got != want {
			t.Errorf("read %q, want %q", got, want)
		}
	}
}

func TestAttributesSurviveTheTrip(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	a.mkdir("run")
	a.mkdir("run/checkpoint_000000")
	a.mkdir("run/checkpoint_000000/empty")
	when := time.Unix(1_600_000_000, 123456789)
	for _, p := range []string{"run/checkpoint_000000/f", "run/g"} {
		a.write(p, "x")
		if err := a.Chmod(ctx, p, 0o640); err != nil {
			t.Fatal(err)
		}
		if err := a.Utimes(ctx, p, nil, &when); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{"run/checkpoint_000000/link", "run/link"} {
		if _, err := a.Symlink(ctx, "../target", p, cache.Owner{}); err != nil {
			t.Fatal(err)
		}
	}
	a.mkdir("run/private")
	if err := a.Chmod(ctx, "run/private", 0o700); err != nil {
		t.Fatal(err)
	}
	a.wait()
	for _, read := range []bool{false, true} { // as remote entries, then fetched
		for _, p := range []string{"run/checkpoint_000000/f", "run/g"} {
			if read {
				b.read(p)
			}
			info, err := b.Lookup(ctx, p)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode&0o7777 != 0o640 || !time.Unix(info.Mtim.Sec, info.Mtim.Nsec).Equal(when) || info.Size != 1 {
				t.Errorf("%s (read=%v): mode %o mtime %v size %d", p, read, info.Mode, info.Mtim, info.Size)
			}
		}
	}
	for _, p := range []string{"run/checkpoint_000000/link", "run/link"} {
		if got, err := b.Readlink(ctx, p); err != nil || got != "../target" {
			t.Errorf("%s: %q, %v", p, got, err)
		}
	}
	if info, err := b.Lookup(ctx, "run/checkpoint_000000/empty"); err != nil || info.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("empty directory: %o, %v", info.Mode, err)
	}
	if info, err := b.Lookup(ctx, "run/private"); err != nil || info.Mode&0o7777 != 0o700 {
		t.Errorf("private directory: %o, %v", info.Mode, err)
	}
}

// An empty directory is no checkpoint yet, however long it stays so.
func TestEmptyCheckpointIsNotPublishedByQuiet(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	a.mkdir("run")
	a.mkdir("run/checkpoint_000000")
	a.write("run/x", "x")
	a.wait()
	time.Sleep(2 * a.cfg.Settle)
	if !b.missing("run/checkpoint_000000") {
		t.Error("visible though empty")
	}
	a.write("run/checkpoint_000000/f", "f")
	a.wait()
	if b.missing("run/checkpoint_000000/f") {
		t.Error("not visible when written")
	}
}

func TestHostileKeysAreHiddenAndCounted(t *testing.T) {
	s := newFaulty()
	for _, key := range []string{"run/ok", "run/" + strings.Repeat("n", 300), "run//double", "run/../../etc/passwd", "run/file", "run/file/below"} {
		s.Put(ctx, key, contentOf([]byte("x")), backend.PutOptions{})
	}
	n := startNode(t, s)
	if got := n.names("run"); got != "file ok" {
		t.Errorf("names: %s", got)
	}
	if n.up.Status().HiddenKeys == 0 {
		t.Error("nothing counted as hidden")
	}
}

// P4: Tune's experiment state lies above the trial directories. It waits for what other
// nodes still write in there, as a tracker beside its checkpoints does.
func TestExperimentStateWaitsForOtherNodesInItsTrials(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	const dir, state = "exp/trial/checkpoint_000001", "exp/experiment_state-1.json"
	for _, n := range []*node{a, b} {
		n.mkdir("exp")
		n.mkdir("exp/trial")
		n.mkdir(dir)
	}
	h := b.open(dir + "/rank1")
	eventually(t, "the other node says so", func() bool { return strings.Contains(strings.Join(allKeys(t, s), " "), ".open") })
	a.write(dir+"/rank0", "r")
	a.write(state, `{"path": "exp/trial/checkpoint_000001"}`)
	eventually(t, "it waits", func() bool {
		u, _ := a.unit(state)
		return strings.Contains(u.Reason, dir)
	})
	a.wait(dir)
	if got := objects(t, s); strings.Contains(got, state) {
		t.Errorf("published: %s", got)
	}
	b.closeHandle(h)
	b.wait()
	a.wait()
	if got := objects(t, s); !strings.Contains(got, state) || !strings.Contains(got, dir+"/rank1") {
		t.Errorf("at the end: %s", got)
	}
}

// P4: a deletion that takes its time does not show in the store, file by file, before the
// tracker that was closed before it began.
func TestMembersGoAfterTheTrackerThatWasClosedBefore(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	for i := range 2 {
		dir := fmt.Sprintf("run/checkpoint_%06d", i)
		n.mkdir(dir)
		n.write(dir+"/model", "m")
		n.write(dir+"/optimizer", "o")
		n.write("run/latest", fmt.Sprintf("checkpoint_%06d", i))
		n.wait()
	}
	n.mkdir("run/checkpoint_000002")
	h := n.open("run/checkpoint_000002/model")
	n.write("run/latest", "checkpoint_000002")
	if err := n.Unlink(ctx, "run/checkpoint_000000/model"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has been quiet for long enough", func() bool {
		u, _ := n.unit("run/checkpoint_000000")
		return strings.Contains(u.Reason, "tracker")
	})
	if got := objects(t, s); !strings.Contains(got, "checkpoint_000000/model") {
		t.Errorf("deleted before the tracker: %s", got)
	}
	n.closeHandle(h)
	n.wait()
	if got := objects(t, s); strings.Contains(got, "checkpoint_000000/model") || !strings.Contains(got, "checkpoint_000000/optimizer") {
		t.Errorf("at the end: %s", got)
	}
}

// A checkpoint that a tracker names may lose a member all the same: neither waits for the
// other for ever.
func TestMemberOfANamedCheckpointGoesThoughTheTrackerIsNotPublished(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/model", "m")
	n.write("run/checkpoint_000000/optimizer", "o")
	n.wait()
	s.Offline(true)
	n.write("run/latest", "checkpoint_000000")
	if err := n.Unlink(ctx, "run/checkpoint_000000/model"); err != nil {
		t.Fatal(err)
	}
	s.Online()
	n.wait()
	if got := objects(t, s); got != "run/checkpoint_000000/optimizer run/latest" {
		t.Errorf("at the end: %s", got)
	}
}

// While another node writes again in a checkpoint that this one has copies of, a listing shows
// nothing of it: judged one by one, some of the copies would be hidden, and those that are looked
// at after the other node's commit not. The copies stay.
func TestListingOfACheckpointThatIsWrittenAgainShowsNoneOfItsCopies(t *testing.T) {
	t.Parallel()
	store := newFaulty()
	a, b := startNode(t, store, func(c *cache.Config) { c.Settle = time.Hour }), startNode(t, store)
	const unit = "run/checkpoint_000001"
	a.mkdir("run")
	a.mkdir(unit)
	a.write(unit+"/f0", "f0")
	a.write(unit+"/f1", "f1")
	commit := func() {
		t.Helper()
		if err := a.up.Commit(ctx, []string{unit}); err != nil {
			t.Fatal(err)
		}
		a.wait(unit)
	}
	commit()
	eventually(t, "the other node sees it", func() bool { return b.names(unit) == "f0 f1" })
	b.read(unit + "/f0")
	b.read(unit + "/f1")

	a.write(unit+"/f1", "f1 again")
	eventually(t, "its open marker is in the store", func() bool {
		return slices.Contains(allKeys(t, store), layout.OpenKey(unit, a.Node()))
	})
	if got := b.names(unit); got != "" {
		t.Errorf("while it is written again it shows %q", got)
	}
	if _, err := os.Stat(filepath.Join(b.cfg.Dir, "tree", unit, "f0")); err != nil {
		t.Errorf("the copy of what has not changed: %v", err)
	}
	commit()
	eventually(t, "the other node sees it again", func() bool { return b.names(unit) == "f0 f1" && b.read(unit+"/f1") == "f1 again" })
}
