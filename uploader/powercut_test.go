package uploader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// powerCut stops the node, takes away what the disk had not written back, and starts it
// on a machine that has been down.
func (n *node) powerCut(lost ...string) {
	n.t.Helper()
	n.close()
	for _, p := range lost {
		name := filepath.Join(n.cfg.Dir, "tree", p)
		st, err := os.Stat(name)
		if err == nil {
			err = os.Truncate(name, 0)
		}
		if err == nil { // data is lost, not the time of the last write
			err = os.Chtimes(name, st.ModTime(), st.ModTime())
		}
		if err != nil {
			n.t.Fatal(err)
		}
	}
	n.startRebooted()
}

// startRebooted starts a node that is stopped on a machine that has been down.
func (n *node) startRebooted() {
	n.t.Helper()
	n.cfg.BootID += "x"
	n.start()
}

func booted(c *cache.Config) { c.BootID = "first" }

// What was committed is right after a power cut, though the local copy is not.
func TestPowerCutDamagesNothingThatWasCommitted(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s, booted), startNode(t, s, booted)
	want := map[string]string{
		"run/latest": "checkpoint_000000", "run/trainer.pkl": "pickle", "run/result.json": "metrics",
		"run/notes": "notes", "run/checkpoint_000000/a": "weights",
	}
	a.mkdir("run")
	a.mkdir("run/checkpoint_000000")
	a.write("run/checkpoint_000000/a", want["run/checkpoint_000000/a"])
	var paths []string
	for p, content := range want {
		if p != "run/checkpoint_000000/a" {
			a.write(p, content)
		}
		paths = append(paths, p)
	}
	a.wait()
	for p := range want {
		b.read(p)
	}
	for name, n := range map[string]*node{"the writer": a, "a reader": b} {
		n.powerCut(paths...)
		n.wait()
		for p, content := range want {
			if got := get(t, s, p); got != content {
				t.Errorf("after a power cut at %s the store has %q under %s", name, got, p)
			}
			if got := n.read(p); got != content {
				t.Errorf("%s reads %q from %s", name, got, p)
			}
		}
	}
}

// What a program has written and synced after the last commit is not taken for damage.
func TestPowerCutKeepsWhatWasWrittenSince(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, booted)
	n.mkdir("run")
	n.write("run/notes", "old and long")
	n.wait()
	s.Offline(false)
	n.write("run/notes", "new")
	n.powerCut()
	s.Online()
	n.wait()
	if got := get(t, s, "run/notes"); got != "new" {
		t.Errorf("the store has %q", got)
	}
}

// P5: the disk can keep a rename that the journal has lost. The file, though older than what
// was committed under that name, is not taken for a damaged copy of it.
func TestPowerCutKeepsWhatWasRenamedOntoACommittedFile(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, booted)
	n.mkdir("run")
	n.write("run/a", "kept")
	n.write("run/b", "replaced")
	n.wait()
	n.close()
	tree := filepath.Join(n.cfg.Dir, "tree")
	if err := os.Rename(filepath.Join(tree, "run/a"), filepath.Join(tree, "run/b")); err != nil {
		t.Fatal(err)
	}
	n.startRebooted()
	n.wait()
	if got := get(t, s, "run/b"); got != "kept" {
		t.Errorf("the store has %q under run/b", got)
	}
}

// The table of open files is not synced: after a power cut it may be older than the seal.
func TestPowerCutWithAnOldOpenTableLeavesTheSealedWhole(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	s.Offline(false)
	n := startNode(t, s, booted)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	h := n.open("run/checkpoint_000000/a")
	table, err := os.ReadFile(filepath.Join(n.cfg.Dir, "opens"))
	if err != nil {
		t.Fatal(err)
	}
	h.File().WriteString(big(4, 2<<20))
	n.closeHandle(h)
	eventually(t, "sealed", func() bool {
		u, ok := n.unit("run/checkpoint_000000")
		return ok && u.State == cache.StateSealed
	})
	n.close()
	if err := os.WriteFile(filepath.Join(n.cfg.Dir, "opens"), table, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Online()
	n.cfg.BootID = "second"
	n.start()
	n.wait()
}

// I2 with a power cut on top: nothing says any more that the files are whole.
func TestPowerCutThatTakesTheJournalPublishesNothingHalf(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s, booted, func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(4, 2<<20))
	n.close()
	if err := os.RemoveAll(filepath.Join(n.cfg.Dir, "journal")); err != nil {
		t.Fatal(err)
	}
	n.cfg.Settle = 10 * time.Millisecond
	n.start()
	n.powerCut("run/checkpoint_000000/a")
	eventually(t, "torn", func() bool {
		u, ok := n.unit("run/checkpoint_000000")
		return ok && u.State == cache.StateTorn
	})
}

// P3: an open marker hides a checkpoint from other mounts. The power cut that takes what was
// begun in a directory leaves nobody who would end it; the next start takes its marker away.
func TestPowerCutLeavesNoOpenMarkerOfWhatItHasTaken(t *testing.T) {
	t.Parallel()
	for name, committed := range map[string]bool{"the whole directory": false, "a file that was added to a committed one": true} {
		t.Run(name, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s, booted, func(c *cache.Config) { c.Settle = time.Hour })
			n.mkdir("run")
			n.mkdir("run/checkpoint_000000")
			lost := "run/checkpoint_000000"
			keys := func() string { return strings.Join(allKeys(t, s), " ") }
			if committed {
				n.write("run/checkpoint_000000/a", "weights")
				n.up.Commit(ctx, []string{""})
				n.wait()
				lost += "/b"
			}
			h := n.open("run/checkpoint_000000/b")
			eventually(t, "the marker is in the store", func() bool { return strings.Contains(keys(), ".open") })
			n.closeHandle(h)
			n.close()
			if err := os.RemoveAll(filepath.Join(n.cfg.Dir, "tree", lost)); err != nil {
				t.Fatal(err)
			}
			n.startRebooted()
			n.wait()
			if got := keys(); strings.Contains(got, ".open") || committed != strings.Contains(got, "checkpoint_000000/a") {
				t.Errorf("the store has %s", got)
			}
		})
	}
}

// P4: hold is for what other nodes are writing, not for our own upload.
func TestTrackerNeverOvertakesItsOwnNodesCheckpoint(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.up.cfg.Hold = time.Millisecond
	s.FailAlways(backend.OpPutPart, errors.New("no way through"))
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(4, 3<<20))
	n.write("run/latest", "checkpoint_000000")
	eventually(t, "several attempts", func() bool { return s.Calls(backend.OpPutPart) > 6 })
	if got := objects(t, s); strings.Contains(got, "latest") {
		t.Errorf("published: %s", got)
	}
	s.Clear()
	n.up.Commit(ctx, []string{""})
	n.wait()
}

// P4: a kill does not change the order in which checkpoints were closed.
func TestOrderSurvivesAKill(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	s.Offline(false)
	if err := n.up.seals.Acquire(ctx, sealersMax); err != nil { // the first takes long to seal
		t.Fatal(err)
	}
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(4, 2<<20))
	eventually(t, "closed", func() bool {
		u, ok := n.unit("run/checkpoint_000000")
		return ok && !strings.Contains(u.Reason, "quiet")
	})
	n.mkdir("run/checkpoint_000001")
	if _, err := n.Symlink(ctx, "x", "run/checkpoint_000001/link", cache.Owner{}); err != nil {
		t.Fatal(err)
	}
	n.up.Commit(ctx, []string{"run/checkpoint_000001"})
	eventually(t, "the second is sealed", func() bool {
		u, ok := n.unit("run/checkpoint_000001")
		return ok && (u.State == cache.StateUploading || u.State == cache.StateSealed)
	})
	n.restart()
	s.Online()
	for {
		if got := objects(t, s); strings.Contains(got, "checkpoint_000001") {
			if !strings.Contains(got, "checkpoint_000000") {
				t.Errorf("the later one came first: %s", got)
			}
			return
		}
	}
}

func TestFsyncRemoteOfAnOpenTrackerReturns(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.FsyncRemote = true })
	n.mkdir("run")
	h := n.open("run/latest")
	h.File().WriteString("checkpoint_000000")
	if err := h.Fsync(ctx); err != nil {
		t.Errorf("fsync: %v", err)
	}
	if got := get(t, s, "run/latest"); got != "checkpoint_000000" {
		t.Errorf("the store has %q", got)
	}
	n.closeHandle(h)
}
