package uploader

import (
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// P5: a job saves under one name and gives the directory that of a checkpoint, and the daemon
// dies while a last file of it is being written. The checkpoint is torn and does not go up as it
// is, so that the object under the old name is all that the store has of it. It goes when the
// checkpoint is whole, or is gone.
func TestOldObjectOfATornCheckpointStaysUntilItIsWholeOrGone(t *testing.T) {
	t.Parallel()
	const old, unit = "run/new-checkpoint_000001", "run/checkpoint_000001"
	for name, end := range map[string]struct {
		comes func(n *node)
		left  string
	}{
		"whole": {func(n *node) { n.write(unit+"/held", "whole") }, unit + "/held " + unit + "/shard0"},
		"gone":  {func(n *node) { n.removeAll(unit, "held", "shard0") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s, func(c *cache.Config) { c.SyncPeriod = time.Hour })
			n.mkdir("run")
			n.mkdir(old)
			n.write(old+"/shard0", big(1, 2<<20))
			n.wait()
			held := n.open(old + "/held").File()
			held.WriteString("half")
			n.rename(old, unit)
			n.restart()
			held.Close() // as the death of the process does
			eventually(t, "torn", func() bool {
				u, ok := n.unit(unit)
				return ok && u.State == cache.StateTorn
			})
			n.write("run/notes", "x")
			n.wait("run/notes") // deletions have had their turn
			n.write("run/notes", "y")
			n.wait("run/notes")
			if got := objects(t, s); !strings.Contains(got, old+"/shard0") || strings.Contains(got, unit) {
				t.Errorf("in the store while it is torn: %s", got)
			}
			if !n.missing(old) || n.read(unit+"/shard0") != big(1, 2<<20) {
				t.Error("here it is not under its new name alone")
			}
			n.restart() // and once more
			end.comes(n)
			n.unlink("run/notes")
			n.wait()
			if got := objects(t, s); got != end.left {
				t.Errorf("in the store at the end: %s, want %s", got, end.left)
			}
		})
	}
}
