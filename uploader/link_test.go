package uploader

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/cache"
)

// A tracker may be a link, which nobody can rewrite: Lightning and Composer remove it and make
// it anew at each checkpoint.

const lastLink = "run/last.ckpt"

func (n *node) relink(step int) {
	n.t.Helper()
	if _, err := n.Lookup(ctx, lastLink); err == nil {
		n.unlink(lastLink)
	}
	if _, err := n.Symlink(ctx, stepFile(step), lastLink, cache.Owner{}); err != nil {
		n.t.Fatal(err)
	}
}

func stepFile(step int) string { return fmt.Sprintf("epoch=0-step=%d.ckpt", step) }

// rotations are the orders in which frameworks save a step, remove an older one and make the
// link anew.
var rotations = map[string]func(n *node, step, old int){
	"removed before the link is made": func(n *node, step, old int) {
		n.write("run/"+stepFile(step), "m")
		n.unlink("run/" + stepFile(old))
		n.relink(step)
	},
	"removed after it": func(n *node, step, old int) {
		n.write("run/"+stepFile(step), "m")
		n.relink(step)
		n.unlink("run/" + stepFile(old))
	},
}

// startLinked is a node that has committed step 1 and a link to it.
func startLinked(t *testing.T, change ...func(*cache.Config)) (*node, *faulty.Store) {
	s := newFaulty()
	n := startNode(t, s, change...)
	n.mkdir("run")
	n.write("run/"+stepFile(1), "m")
	n.relink(1)
	n.wait()
	return n, s
}

// P4: what the link in the store names is there, though there is none here for a moment at
// each step.
func TestDeletionWaitsForTheLinkThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	for name, rotate := range rotations {
		t.Run(name, func(t *testing.T) {
			n, s := startLinked(t)
			h := s.Hold(backend.OpPut, 1)
			defer h.Release()
			n.write("run/"+stepFile(2), "m")
			n.relink(2)
			<-h.Reached()
			rotate(n, 3, 1)
			for step := 4; step < 6; step++ {
				n.write("run/"+stepFile(step), "m")
				n.relink(step)
			}
			for _, p := range []string{"later", "later still"} { // deletions have had their turn
				n.write(p, "x")
				n.wait(p)
			}
			want := stepFile(1)
			if got := get(t, s, lastLink); got != want || !strings.Contains(objects(t, s), want) {
				t.Errorf("the link in the store says %q; there are %s", got, objects(t, s))
			}
			h.Release()
			n.wait()
			if got := objects(t, s); get(t, s, lastLink) != stepFile(5) || strings.Contains(got, want) {
				t.Errorf("at the end: %s", got)
			}
		})
	}
}

// The same over a start: the versions that are gone were in memory, what was deleted is in
// the journal.
func TestDeletionWaitsForTheLinkOverAStart(t *testing.T) {
	t.Parallel()
	for name, rotate := range rotations {
		t.Run(name, func(t *testing.T) {
			n, s := startLinked(t)
			s.Offline(false)
			n.write("run/"+stepFile(2), "m")
			n.relink(2)
			rotate(n, 3, 1)
			n.restart()
			h := s.Hold(backend.OpPut, 1)
			defer h.Release()
			s.Online()
			<-h.Reached()
			n.write("later", "x")
			n.wait("later")
			if got := get(t, s, lastLink); got != stepFile(1) || !strings.Contains(objects(t, s), stepFile(1)) {
				t.Errorf("the link in the store says %q; there are %s", got, objects(t, s))
			}
			h.Release()
			n.wait()
			if got := objects(t, s); get(t, s, lastLink) != stepFile(3) || strings.Contains(got, stepFile(1)) {
				t.Errorf("at the end: %s", got)
			}
		})
	}
}

// The same for a tracker that was written in place, before it is removed and made anew.
func TestDeletionWaitsForATrackerThatIsMadeAnew(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/"+stepFile(1), "m")
	n.write(lastLink, stepFile(1))
	n.wait()
	h := s.Hold(backend.OpPut, 1)
	defer h.Release()
	n.write("run/"+stepFile(2), "m")
	n.write(lastLink, stepFile(2))
	<-h.Reached()
	n.unlink("run/"+stepFile(1), lastLink)
	n.write(lastLink, stepFile(2))
	for _, p := range []string{"later", "later still"} {
		n.write(p, "x")
		n.wait(p)
	}
	if got := objects(t, s); get(t, s, lastLink) != stepFile(1) || !strings.Contains(got, stepFile(1)) {
		t.Errorf("the tracker in the store says %q; there are %s", get(t, s, lastLink), got)
	}
	h.Release()
	n.wait()
	if got := objects(t, s); strings.Contains(got, stepFile(1)) {
		t.Errorf("left: %s", got)
	}
}

// A link that is removed and not made again goes, and what waited for it goes too.
func TestLinkThatIsRemovedGoes(t *testing.T) {
	t.Parallel()
	n, s := startLinked(t)
	n.unlink(lastLink, "run/"+stepFile(1))
	n.wait()
	if got := objects(t, s); strings.Contains(got, "ckpt") {
		t.Errorf("left: %s", got)
	}
}

const remakeSettle = 3 * time.Second // as it comes

// P4: a resume from the store finds a link at any moment, also while what the new one names
// is on its way.
func TestStoreHasALinkWhileItIsMadeAnew(t *testing.T) {
	t.Parallel()
	n, s := startLinked(t, func(c *cache.Config) { c.Settle = remakeSettle })
	s.FailAlways(backend.OpDelete, errors.New("a link is deleted, which is about to be made anew"))
	before := s.Calls(backend.OpDelete)
	n.mkdir("other")
	for step := 2; step < 40; step++ {
		n.write("run/"+stepFile(step), "m")
		n.relink(step)
		if step%5 == 0 { // the uploader has looked
			n.write("other/latest", "x")
			n.wait("other/latest")
		}
	}
	if got := s.Calls(backend.OpDelete) - before; got > 0 {
		t.Errorf("%d deletions", got)
	}
	s.Clear()
	n.wait()
	if got := get(t, s, lastLink); got != stepFile(39) {
		t.Errorf("at the end it says %q", got)
	}
}
