package uploader

import (
	"fmt"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// P10 from outside: the gauges tell what waits, since when, and what somebody has to mend.
func TestGaugesTellWhatIsNotCommitted(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.wait() // empty for as long as settle, it gets a marker, and would be one more
	denied := &backend.Error{Op: backend.OpPut, Key: "run/…", Kind: backend.ErrDenied}
	s.FailAlways(backend.OpPut, denied)
	before := time.Now()
	const files, size = 100, 1000 // more than are looked at in one go
	for i := range files {
		n.write(fmt.Sprintf("run/f%d", i), big(byte(i), size))
	}
	var g cache.Gauges
	eventually(t, "all have failed for good", func() bool {
		g = n.Gauges()
		return g.Permanent == files
	})
	if sum := g.Units[cache.StateDirty] + g.Units[cache.StateSealed] + g.Units[cache.StateUploading]; sum != files || g.LeftBytes != files*size {
		t.Errorf("%+v", g)
	}
	if g.Transient != 0 || g.Retries < files || g.Oldest.Before(before) || g.Oldest.After(time.Now()) {
		t.Errorf("%+v", g)
	}
	if st := n.Status(); st.BytesLeft != g.LeftBytes || len(st.Units) != files || !st.Units[0].Permanent {
		t.Errorf("status says otherwise: %d units, %d bytes", len(st.Units), st.BytesLeft)
	}
	s.Clear()
	for i := range files {
		if err := n.RequestCommit(ctx, fmt.Sprintf("run/f%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	n.wait()
	if g := n.Gauges(); g.LeftBytes != 0 || g.Permanent != 0 || !g.Oldest.IsZero() || !g.StoreReachable {
		t.Errorf("after all is committed: %+v", g)
	}
}

// A log that stays open and is up to date is not old: the alert on the oldest uncommitted
// unit would never end.
func TestOpenLogThatIsUpToDateIsNotUncommitted(t *testing.T) {
	t.Parallel()
	n := startNode(t, newFaulty())
	n.mkdir("run")
	h := n.open("run/result.json")
	if _, err := h.File().WriteString("{}\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the open log is uploaded and counts as done", func() bool {
		g := n.Gauges()
		return g.Oldest.IsZero() && g.LeftBytes == 0 && len(g.Units) == 0
	})
	n.closeHandle(h)
	n.write("run/checkpoint_000001.pt", "x")
	n.wait()
	if here := n.Checkpoints(); len(here) != 1 || here[0].Path != "run/checkpoint_000001.pt" {
		t.Errorf("checkpoints that are here: %+v", here)
	}
}
