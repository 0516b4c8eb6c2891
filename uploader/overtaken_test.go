package uploader

import (
	"testing"
	"time"
)

// P9, P8: a node that commits one file of a checkpoint says nothing any more of another that
// was its own, and that another node has replaced or deleted since; be its copy here or not.
func TestCommitKeepsNothingThatAnotherNodeHasReplacedOrDeleted(t *testing.T) {
	const unit = "run/checkpoint_000000"
	for _, how := range []string{"local", "evicted", "evicted, restarted"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			a, b := startNode(t, s), startNode(t, s)
			a.mkdir("run")
			a.mkdir(unit)
			for _, f := range []string{"deleted", "mine", "replaced", "same"} {
				a.write(unit+"/"+f, "old "+f)
			}
			a.wait()
			if how != "local" {
				a.Evict(ctx, []string{""})
			}
			for _, f := range []string{"deleted", "replaced"} {
				if err := b.walkTo(unit + "/" + f); err != nil {
					t.Fatal(err)
				}
			}
			b.write(unit+"/replaced", "new replaced") // as long as before
			b.unlink(unit + "/deleted")
			b.wait()
			if how == "evicted, restarted" {
				a.restart()
			}
			a.write(unit+"/mine", "new")
			a.wait()
			c := startNode(t, s)
			if _, r := c.verify(unit); r.Bad() != 0 || r.OK != 3 {
				t.Errorf("verify: %+v", r)
			}
			for i, n := range []*node{a, b, c} {
				time.Sleep(2 * n.cfg.ListTTL)
				if got := n.names(unit); got != "mine replaced same" {
					t.Errorf("node %d shows %q", i, got)
				}
				for f, want := range map[string]string{"mine": "new", "replaced": "new replaced", "same": "old same"} {
					if err := n.walkTo(unit + "/" + f); err != nil {
						t.Error(err)
					} else if got := n.read(unit + "/" + f); got != want {
						t.Errorf("node %d: %s: %q", i, f, got)
					}
				}
			}
		})
	}
}
