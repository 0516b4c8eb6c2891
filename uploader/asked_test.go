package uploader

import (
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// P10: who asks for a commit gets one of what is there, and does not wait to be quiet, though
// the one before it is still ending.
func TestCommitThatIsAskedForDuringAnotherOneFollowsAtOnce(t *testing.T) {
	const unit = "run/checkpoint_000000"
	for how, change := range map[string]func(n *node){
		"written":     func(n *node) { n.write(unit+"/l", "l") },
		"renamed out": func(n *node) { n.rename(unit+"/g", "run/g") },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newHooked()
			n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
			n.mkdir("run")
			n.mkdir(unit)
			n.write(unit+"/g", "g")
			n.write(unit+"/k", "k")
			caught, free := s.catch(backend.OpPut, unit+"/k")
			if err := n.up.Commit(ctx, []string{""}); err != nil {
				t.Fatal(err)
			}
			<-caught
			change(n)
			if err := n.up.Commit(ctx, []string{""}); err != nil {
				t.Fatal(err)
			}
			free()
			n.wait()
		})
	}
}
