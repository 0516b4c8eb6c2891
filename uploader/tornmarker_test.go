package uploader

import (
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
)

// P6: a daemon that dies before it has put its open marker finds a part of a checkpoint torn.
// The parts of the other nodes do not show as the whole.
func TestTornPartHidesTheCheckpointThoughTheDaemonDiedBeforeItsMarker(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000000"
	m := mem.New()
	sb := faulty.New(m)
	a, b := startNode(t, m), startNode(t, sb)
	a.mkdir("run")
	a.write("run/notes", "n")
	a.wait()
	if err := b.walkTo("run"); err != nil {
		t.Fatal(err)
	}
	h := sb.Hold(backend.OpPut, 1)
	defer h.Release()
	b.mkdir(unit)
	half := b.open(unit + "/b").File()
	half.WriteString("h")
	<-h.Reached()
	b.restart()
	half.Close()
	eventually(t, "torn", func() bool {
		u, ok := b.unit(unit)
		return ok && u.State == cache.StateTorn
	})
	a.mkdir(unit)
	a.write(unit+"/a", "a")
	a.wait()
	c := startNode(t, m)
	eventually(t, "it is not shown", func() bool { time.Sleep(2 * c.cfg.ListTTL); return c.missing(unit) })

	// Deleted where it is torn, it leaves nothing.
	must(b, b.walkTo(unit+"/a"))
	b.unlink(unit+"/a", unit+"/b")
	must(b, b.Rmdir(ctx, unit))
	b.wait()
	if got := allKeys(t, m); len(got) != 1 || got[0] != "run/notes" {
		t.Errorf("left: %v", got)
	}
	if !c.missing(unit) {
		t.Error("it is still shown")
	}
}
