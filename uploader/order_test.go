package uploader

import (
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// P4: a checkpoint that is quiet for a while goes up, and its program goes on writing to it, and
// closes it. It keeps its place before those that are closed later, though the attempt from before
// hangs, stage or publication, or fails and its pause is long.
func TestCheckpointWrittenOnWhileItsUploadHangsIsNotOvertaken(t *testing.T) {
	for _, op := range []string{backend.OpBeginStage, backend.OpPublishStage} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = time.Hour }) // no request is given up
			hangs := s.Hold(op, 1)
			defer hangs.Release()
			first, second := "run/checkpoint_000001", "run/checkpoint_000002"
			n.mkdir("run")
			n.mkdir(first)
			n.write(first+"/model.pt", big(1, 3<<20))
			<-hangs.Reached()
			n.write(first+"/optimizer.pt", "the rest")
			n.write("run/latest", "checkpoint_000001") // says that it is finished
			n.mkdir(second)
			n.write(second+"/model.pt", "content")
			n.write("run/latest", "checkpoint_000002")
			eventually(t, "the second waits for the first", func() bool {
				if strings.Contains(objects(t, s), second) {
					t.Fatal("the second is in the store, and the first, closed before, is not")
				}
				u, _ := n.unit(second)
				return strings.Contains(u.Reason, first)
			})
			hangs.Release()
			eventually(t, "the second is there", func() bool { return strings.Contains(objects(t, s), second) })
			if !strings.Contains(objects(t, s), first+"/optimizer.pt") {
				t.Error("the second is in the store, and the first, closed before, is not whole")
			}
			n.wait()
		})
	}
}
