package uploader

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// evict leaves what is committed below run to the store alone.
func (n *node) evict() {
	n.t.Helper()
	_, _, err := n.Evict(ctx, []string{"run"})
	must(n, err)
}

// opens has a program open a file, and tells how that went.
func (n *node) opens(path string) <-chan error {
	opened := make(chan error, 1)
	go func() {
		h, err := n.Open(ctx, path, unix.O_RDONLY)
		if err == nil {
			h.File().Close()
			h.Released()
		}
		opened <- err
	}()
	return opened
}

// P5: a file that is only in the store is renamed onto one that is on its way up at that moment. The
// end of that upload is not that of the new file: where its bytes are must not be forgotten, else
// they are deleted with the old name.
func TestRemoteFileRenamedOntoOneThatGoesUpIsNotLost(t *testing.T) {
	for name, put := range map[string]int{"run/notes": 1, "run/checkpoint_000001/notes": 3} { // after the marker and the manifest
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			n := startNode(t, s)
			n.mkdir("run")
			n.mkdir("run/checkpoint_000001")
			n.write("run/old", "the new content")
			n.write("run/checkpoint_000001/other", "other")
			n.wait()
			n.evict()
			held := s.Hold(backend.OpPut, put)
			n.write(name, "what was there")
			<-held.Reached()
			must(n, n.Rename(ctx, "run/old", name, 0))
			held.Release()
			n.wait()
			if got := n.read(name); got != "the new content" {
				t.Errorf("it reads %q", got)
			}
			if got := get(t, s, name); got != "the new content" {
				t.Errorf("the store has %q", got)
			}
			n.restart()
			if got := n.read(name); got != "the new content" {
				t.Errorf("after a restart it reads %q", got)
			}
		})
	}
}

// P5, P8: a file that is only in the store is renamed onto one that is being fetched: what is
// fetched then is not put in its place, and who waits for it gets the new one.
func TestRemoteFileRenamedOntoOneThatIsFetchedIsNotHidden(t *testing.T) {
	t.Parallel()
	const name = "run/notes"
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/old", "the new content")
	n.write(name, "what was there")
	n.wait()
	n.evict()
	held := s.Hold(backend.OpGet, 1)
	fetched := n.opens(name)
	<-held.Reached()
	must(n, n.Rename(ctx, "run/old", name, 0))
	held.Release()
	must(n, <-fetched)
	if got := n.read(name); got != "the new content" {
		t.Errorf("it reads %q", got)
	}
	n.wait()
	n.restart()
	if got := n.read(name); got != "the new content" {
		t.Errorf("after a restart it reads %q", got)
	}
	if got := get(t, s, name); got != "the new content" {
		t.Errorf("the store has %q", got)
	}
}

// P8: a file that was renamed while it was only in the store is there at every moment, also when it is
// being fetched.
func TestRenamedRemoteFileIsThereWhileItIsFetched(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle, c.ListTTL = time.Hour, time.Hour })
	n.mkdir("run")
	const files = 200
	for i := range files {
		n.write(fmt.Sprintf("run/old%d", i), "content")
	}
	must(n, n.commitAll())
	n.evict()
	for i := range files {
		name := fmt.Sprintf("run/new%d", i)
		must(n, n.Rename(ctx, fmt.Sprintf("run/old%d", i), name, 0))
		opened := n.opens(name)
		for ended := false; !ended; {
			select {
			case err := <-opened:
				must(n, err)
				ended = true
			default:
			}
			if _, err := n.Lookup(ctx, name); err != nil {
				t.Fatalf("file %d: lookup: %v", i, err)
			}
		}
	}
}

// P5: another file is renamed onto one that is only in the store under its old name, which goes all
// the same: also after a restart, which finds a file where that one was to be.
func TestOldNameOfARenamedRemoteFileGoesThoughItIsReplacedBeforeARestart(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Minute })
	n.mkdir("run")
	n.write("run/old", "old")
	must(n, n.commitAll())
	n.evict()
	n.write("run/other", "other")
	must(n, n.Rename(ctx, "run/old", "run/name", 0))
	must(n, n.Rename(ctx, "run/other", "run/name", 0))
	n.restart()
	must(n, n.commitAll())
	if got := objects(t, s); got != "run/name" {
		t.Errorf("the store has %s", got)
	}
	if got := get(t, s, "run/name"); got != "other" {
		t.Errorf("the store has %q", got)
	}
}

// P8: a file that was renamed while it was only in the store is being fetched from under its old name,
// when its commit takes that away: it is fetched from under the new one, though no listing knows it yet.
func TestRenamedRemoteFileIsFetchedThoughItsOldNameGoesMeanwhile(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.ListTTL, c.CreateTTL = time.Hour, time.Hour })
	n.mkdir("run")
	n.write("run/old", "content")
	must(n, n.commitAll())
	n.evict()
	n.restart()
	n.names("run")
	must(n, n.Rename(ctx, "run/old", "run/new", 0))
	held := s.Hold(backend.OpGet, 1)
	opened := n.opens("run/new")
	<-held.Reached()
	must(n, n.commitAll())
	if got := objects(t, s); got != "run/new" {
		t.Fatalf("the store has %s", got)
	}
	held.Release()
	if err := <-opened; err != nil {
		t.Errorf("open: %v", err)
	}
}

// P5: a member that is only in the store is renamed in its checkpoint, and renamed on, out of it, while
// the first rename is being committed: that commit does not delete what the new name still needs.
func TestMemberThatIsRenamedOnDuringACommitIsNotLost(t *testing.T) {
	const unit = "run/checkpoint_000001"
	for _, at := range []string{backend.OpCopy, backend.OpDelete} {
		t.Run("at "+at, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			n := startNode(t, s)
			n.mkdir("run")
			n.mkdir(unit)
			n.write(unit+"/b", "content")
			n.write(unit+"/other", "other")
			n.wait()
			n.evict()
			held := s.Hold(at, 1)
			must(n, n.Rename(ctx, unit+"/b", unit+"/a", 0))
			<-held.Reached()
			must(n, n.Rename(ctx, unit+"/a", "run/c", 0))
			held.Release()
			n.wait()
			if got := get(t, s, "run/c"); got != "content" {
				t.Errorf("the store has %q", got)
			}
			if got := objects(t, s); got != "run/c "+unit+"/other" {
				t.Errorf("the store has %s", got)
			}
		})
	}
}

// P5: the daemon dies when the commit of a rename in a checkpoint has deleted the old key, and is not
// recorded yet: the start does not look for the bytes there.
func TestMemberThatWasCopiedBeforeAKillIsNotLookedForUnderItsOldKey(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000001"
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir(unit)
	n.write(unit+"/b", "content")
	n.wait()
	n.evict()
	held := s.Hold(backend.OpDelete, 2) // of the open marker, after that of the old key
	must(n, n.Rename(ctx, unit+"/b", unit+"/a", 0))
	<-held.Reached()
	n.restart()
	held.Release()
	n.wait()
	if got := n.read(unit + "/a"); got != "content" {
		t.Errorf("it reads %q", got)
	}
	if got := objects(t, s); got != unit+"/a" {
		t.Errorf("the store has %s", got)
	}
	res, err := n.up.Verify(ctx, []string{unit}, func(VerifyEvent) {})
	if err != nil || res.OK != 1 || res.Extra > 0 {
		t.Errorf("verify: %+v, %v", res, err)
	}
}
