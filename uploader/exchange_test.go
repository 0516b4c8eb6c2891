package uploader

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// P4: a tracker of which the store has an older version changes its name with another file. The
// checkpoint that the store's version names is not deleted before the new one is there.
func TestCheckpointThatTheStoresTrackerNamesOutlivesAnExchangeOfTheTracker(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	first, second := "run/checkpoint_000001", "run/checkpoint_000002"
	n.mkdir("run")
	n.mkdir(first)
	n.write(first+"/a", big(1, 2<<20))
	n.write("run/latest", "checkpoint_000001")
	n.write("run/other", "checkpoint_000002, again")
	n.wait()
	h := s.Hold(backend.OpPublishStage, 1)
	defer h.Release()
	n.mkdir(second)
	n.write(second+"/a", big(2, 2<<20))
	n.write("run/latest", "checkpoint_000002")
	reached(t, h)
	n.removeAll(first, "a")
	if err := n.Rename(ctx, "run/latest", "run/other", unix.RENAME_EXCHANGE); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"later", "later still"} { // deletions have had their turn
		n.write(p, "x")
		n.wait(p)
	}
	if got := get(t, s, "run/latest"); got != "checkpoint_000001" {
		t.Fatalf("the store's tracker names %s", got)
	}
	if _, err := s.Head(ctx, first+"/a"); err != nil {
		t.Errorf("the checkpoint that it names: %v", err)
	}
	h.Release()
	n.wait()
	if got := get(t, s, "run/latest"); got != "checkpoint_000002, again" {
		t.Errorf("the tracker at the end: %q", got)
	}
	if got := objects(t, s); got != "later later still run/checkpoint_000002/a run/latest run/other" {
		t.Errorf("at the end: %s", got)
	}
	n.restart()
	n.wait()
	if n.read("run/latest") != "checkpoint_000002, again" || n.read("run/other") != "checkpoint_000002" {
		t.Error("after a restart they are others")
	}
}
