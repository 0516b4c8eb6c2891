package uploader

import (
	"fmt"
	"sync"
	"testing"
)

// What is counted as open is counted once, and no longer than it is.

// The kernel sends RELEASE when it likes, a rename that follows the close in between: the
// soak found a checkpoint directory that counted as open for ever, and later ones before it.
func TestRenameWhileAFileIsReleasedLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	const rounds = 300
	for i := range rounds {
		from, to := fmt.Sprintf("run/new-checkpoint_%06d", i), fmt.Sprintf("run/checkpoint_%06d", i)
		n.mkdir(from)
		h := n.open(from + "/shard0")
		if err := h.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		h.File().Close()
		var both sync.WaitGroup
		both.Go(h.Released)
		if err := n.Rename(ctx, from, to, 0); err != nil {
			t.Fatal(err)
		}
		both.Wait()
		if n.Writing(to + "/shard0") {
			t.Fatalf("round %d: %s/shard0 counts as open", i, to)
		}
	}
	for _, u := range n.Status().Units {
		if u.Reason == "open for writing" {
			t.Errorf("%s counts as open for writing", u.Path)
		}
	}
}
