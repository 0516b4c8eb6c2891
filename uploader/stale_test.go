package uploader

import (
	"testing"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// P8: a node that is changing one file of a checkpoint sees of the others what another node
// has committed, and brings no old version of them back by a chmod.
func TestOldCopyInACheckpointThatIsBeingChangedDoesNotComeBack(t *testing.T) {
	const unit = "run/checkpoint_000000"
	for how, use := range map[string]func(n *node) error{
		"opened":      func(n *node) error { n.read(unit + "/f"); return nil },
		"changed":     func(n *node) error { return n.Chmod(ctx, unit+"/f", 0o600) },
		"renamed":     func(n *node) error { n.rename(unit+"/f", unit+"/x"); n.rename(unit+"/x", unit+"/f"); return nil },
		"renamed out": func(n *node) error { n.rename(unit+"/f", "run/x"); n.rename("run/x", unit+"/f"); return nil },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			a, b := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour }), startNode(t, s)
			a.mkdir("run")
			a.mkdir(unit)
			a.write(unit+"/f", "old")
			a.write(unit+"/g", "g")
			if err := a.commitAll(); err != nil {
				t.Fatal(err)
			}
			if err := b.walkTo(unit + "/f"); err != nil {
				t.Fatal(err)
			}
			b.write(unit+"/f", "new")
			b.wait()
			a.write(unit+"/g", "of a")
			if err := use(a); err != nil {
				t.Fatal(err)
			}
			if got := a.read(unit + "/f"); got != "new" {
				t.Errorf("read %q", got)
			}
			if err := a.commitAll(); err != nil {
				t.Fatal(err)
			}
			if got := get(t, s, unit+"/f"); got != "new" {
				t.Errorf("in the store: %q", got)
			}
			showsAll(t, s, unit, "f g")
		})
	}
}
