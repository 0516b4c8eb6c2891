package uploader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// A cache that is closed while handles are open leaves on disk what a kill leaves:
// nothing is written at the end that a kill would not have found written.

func (n *node) unit(path string) (u cache.UnitStatus, ok bool) {
	for _, u := range n.up.Status().Units {
		if u.Path == path {
			return u, true
		}
	}
	return u, false
}

func TestOpenAtKillIsTornAndNeverPublished(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/whole", "w")
	half := n.open("run/checkpoint_000000/half").File()
	half.WriteString("h")
	n.cfg.Settle = 10 * time.Millisecond
	n.restart()
	half.Close() // as the death of the process does
	eventually(t, "torn", func() bool {
		u, ok := n.unit("run/checkpoint_000000")
		return ok && u.State == cache.StateTorn && strings.Contains(u.Reason, "half")
	})
	if err := n.up.Wait(ctx, []string{""}, nil); !errors.Is(err, ErrTorn) {
		t.Errorf("wait: %v, want ErrTorn", err)
	}
	if got := objects(t, s); strings.Contains(got, "checkpoint") {
		t.Errorf("published: %s", got)
	}
	if got := n.read("run/checkpoint_000000/half"); got != "h" {
		t.Errorf("local copy: %q", got)
	}
	// Explicitly asked for, it is still torn; written again, it is whole.
	n.up.Commit(ctx, []string{"run/checkpoint_000000"})
	n.write("run/checkpoint_000000/half", "now whole")
	n.wait()
	if got := get(t, s, "run/checkpoint_000000/half"); got != "now whole" {
		t.Errorf("after writing again: %q", got)
	}
}

func TestClosedBeforeKillIsCommitted(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(9, 3<<20))
	n.cfg.Settle = 10 * time.Millisecond
	n.restart()
	n.wait()
	if get(t, s, "run/checkpoint_000000/a") != big(9, 3<<20) {
		t.Error("content differs")
	}
}

// The release of a closed file may not have reached the daemon when it was killed.
func TestFlushedBeforeKillIsCommitted(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	h := n.open("run/checkpoint_000000/a")
	h.File().WriteString("all of it")
	if err := h.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	n.cfg.Settle = 10 * time.Millisecond
	n.restart()
	n.wait()
	if got := get(t, s, "run/checkpoint_000000/a"); got != "all of it" {
		t.Errorf("%q", got)
	}
}

func TestFlushedAndWrittenAfterIsTorn(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	h := n.open("run/checkpoint_000000/a")
	h.File().WriteString("half")
	h.Flush(ctx) // a child process closes its copy of the descriptor
	h.File().WriteString(", and more of it")
	n.cfg.Settle = 10 * time.Millisecond
	n.restart()
	eventually(t, "torn", func() bool {
		u, ok := n.unit("run/checkpoint_000000")
		return ok && u.State == cache.StateTorn
	})
}

func TestPowerCutTearsWhatWasNotSealed(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour; c.BootID = "first" })
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", "a")
	n.write("run/notes.txt", "artifacts go up as they are")
	n.cfg.Settle, n.cfg.BootID = 10*time.Millisecond, "second"
	n.restart()
	eventually(t, "torn", func() bool {
		u, ok := n.unit("run/checkpoint_000000")
		return ok && u.State == cache.StateTorn && strings.Contains(u.Reason, "not sealed")
	})
	n.wait("run/notes.txt")
}

func TestSealedSurvivesAPowerCut(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	s.Offline(false)
	n := startNode(t, s, func(c *cache.Config) { c.BootID = "first" })
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(4, 2<<20))
	eventually(t, "sealed without the network", func() bool {
		u, ok := n.unit("run/checkpoint_000000")
		return ok && u.State == cache.StateSealed
	})
	n.cfg.BootID = "second"
	n.restart()
	s.Online()
	n.wait()
	if get(t, s, "run/checkpoint_000000/a") != big(4, 2<<20) {
		t.Error("content differs")
	}
}

// I2: without the journal everything is looked at again, and what the store has is
// recognised.
func TestLostJournalLosesNothingAndOverwritesNothing(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(4, 2<<20))
	n.write("run/same.txt", "same")
	n.write("run/other.txt", "mine")
	n.wait()
	n.close()
	if err := os.RemoveAll(filepath.Join(n.cfg.Dir, "journal")); err != nil {
		t.Fatal(err)
	}
	c := contentOf([]byte("somebody else's"))
	if _, err := s.Put(ctx, "run/other.txt", c, backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.wait()
	if got := get(t, s, "run/other.txt"); got != "somebody else's" {
		t.Errorf("overwrote the unseen: %q", got)
	}
	if n.up.Status().LostFound != 1 {
		t.Errorf("set aside: %d, want 1", n.up.Status().LostFound)
	}
	found, _ := filepath.Glob(filepath.Join(n.cfg.Dir, "lost+found", "run%2Fother.txt*"))
	if len(found) != 1 {
		t.Fatalf("lost+found: %v", found)
	}
	if b, _ := os.ReadFile(found[0]); string(b) != "mine" {
		t.Errorf("set aside: %q", b)
	}
	if got := n.read("run/other.txt"); got != "somebody else's" {
		t.Errorf("now reads %q", got)
	}
	if get(t, s, "run/checkpoint_000000/a") != big(4, 2<<20) {
		t.Error("checkpoint differs")
	}
}

// I3: a file that is missing from the tree was not deleted.
func TestAbsenceIsNotDeletion(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/keep.txt", "keep")
	n.wait()
	n.close()
	if err := os.Remove(filepath.Join(n.cfg.Dir, "tree/run/keep.txt")); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.wait()
	if got := n.read("run/keep.txt"); got != "keep" {
		t.Errorf("%q", got)
	}
	if got := get(t, s, "run/keep.txt"); got != "keep" {
		t.Errorf("in the store: %q", got)
	}
}

func TestDeletionSurvivesARestart(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/gone.txt", "x")
	n.wait()
	s.Offline(false)
	if err := n.Unlink(ctx, "run/gone.txt"); err != nil {
		t.Fatal(err)
	}
	n.restart()
	if !n.missing("run/gone.txt") {
		t.Error("visible again")
	}
	s.Online()
	n.wait()
	if got := objects(t, s); strings.Contains(got, "gone") {
		t.Errorf("objects: %s", got)
	}
}

func TestInterruptedUploadGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	s.FailAlways("publish_stage", errors.New("the network is gone"))
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(5, 8<<20))
	eventually(t, "all parts sent", func() bool { return s.Calls("publish_stage") >= 1 })
	n.close()
	s.Clear()
	sent := s.Calls("put_part")
	n.start()
	n.wait()
	if again := s.Calls("put_part") - sent; again > 0 {
		t.Errorf("%d parts sent again", again)
	}
	if get(t, s, "run/checkpoint_000000/a") != big(5, 8<<20) {
		t.Error("content differs")
	}
}

// The n-th call fails, before and after its work was done, for n = 1, 2, 3, … until a
// run meets no failure: whatever fails, everything arrives.
func TestEveryCallMayFailOnce(t *testing.T) {
	for _, op := range backend.Ops() {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/after=%v", op, after), func(t *testing.T) {
				t.Parallel()
				for n := 1; n <= 40 && runWithFault(t, op, n, after); n++ {
				}
			})
		}
	}
}

func runWithFault(t *testing.T, op string, nth int, after bool) (met bool) {
	s := newFaulty()
	fault := errors.New("injected")
	if after {
		s.FailAfter(op, nth, fault)
	} else {
		s.Fail(op, nth, fault)
	}
	n := startNode(t, s, func(c *cache.Config) { c.Settle = 5 * time.Millisecond })
	defer n.close()
	n.retryUntilKnown(func() error { _, err := n.Mkdir(ctx, "run", 0o755, cache.Owner{}); return err })
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(5, 2<<20))
	n.write("run/checkpoint_000000/b", "b")
	n.write("run/latest", "checkpoint_000000")
	n.wait()
	n.retryUntilKnown(func() error {
		return n.Rename(ctx, "run/checkpoint_000000/b", "run/checkpoint_000000/c", unix.RENAME_NOREPLACE)
	})
	n.write("run/x", "x")
	n.wait()
	n.retryUntilKnown(func() error { return n.Unlink(ctx, "run/x") })
	n.wait()
	s.Clear()
	want := "run/checkpoint_000000/a run/checkpoint_000000/c run/latest"
	// On a busy machine the directory goes up while it is still empty.
	if got := strings.TrimPrefix(objects(t, s), "run/ "); got != want {
		t.Errorf("%s call %d (after=%v): objects %s, want %s", op, nth, after, got, want)
	}
	for _, k := range allKeys(t, s) {
		if strings.HasSuffix(k, ".open") {
			t.Errorf("%s call %d (after=%v): open marker left: %s", op, nth, after, k)
		}
	}
	if get(t, s, "run/checkpoint_000000/a") != big(5, 2<<20) || get(t, s, "run/checkpoint_000000/c") != "b" {
		t.Errorf("%s call %d (after=%v): content differs", op, nth, after)
	}
	return s.Calls(op) >= nth
}

// retryUntilKnown does what a program would have to do that meets an error of the
// store, where the store alone can answer.
func (n *node) retryUntilKnown(f func() error) {
	n.t.Helper()
	var err error
	for range 100 {
		if err = f(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	n.t.Fatal(err)
}

// P6: half a file is half a file, also if it is the job that dies and not the daemon.
func TestFileOfAKilledProgramIsTorn(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	h := n.open("run/checkpoint_000000/a")
	h.File().WriteString("half")
	h.Killed(true) // a child of the program, with a copy of the descriptor
	h.Flush(ctx)
	h.Killed(false)
	n.closeHandle(h)
	n.wait()
	h = n.open("run/checkpoint_000000/b")
	h.File().WriteString("half")
	h.Killed(true)
	n.closeHandle(h)
	eventually(t, "torn", func() bool {
		u, ok := n.unit("run/checkpoint_000000")
		return ok && u.State == cache.StateTorn && strings.Contains(u.Reason, "killed")
	})
	n.restart()
	if got := objects(t, s); strings.Contains(got, "/b") {
		t.Errorf("published: %s", got)
	}
	n.write("run/checkpoint_000000/b", "whole")
	n.wait()
}

// P5: a checkpoint whose name was used before, deleted and written again before a kill. The
// tombstones are what this node knows of the old one.
func TestRewrittenAfterDeletionBeforeKillIsCommitted(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	for _, f := range []string{"a", "b"} {
		n.write("run/checkpoint_000000/"+f, "old "+f)
	}
	n.up.Commit(ctx, []string{""})
	n.wait()
	for _, f := range []string{"a", "b"} {
		if err := n.Unlink(ctx, "run/checkpoint_000000/"+f); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Rmdir(ctx, "run/checkpoint_000000"); err != nil {
		t.Fatal(err)
	}
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", "new a")
	n.cfg.Settle = 10 * time.Millisecond
	n.restart()
	n.wait()
	if got := objects(t, s); got != "run/checkpoint_000000/a" {
		t.Errorf("objects: %s", got)
	}
	if got := get(t, s, "run/checkpoint_000000/a"); got != "new a" {
		t.Errorf("%q", got)
	}
	if n.up.Status().LostFound != 0 {
		t.Error("set aside")
	}
}
