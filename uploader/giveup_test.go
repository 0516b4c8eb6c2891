package uploader

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// half starts two nodes that have written in one checkpoint: a has published its part, b has not,
// and has looked since whether anybody deletes it.
func half(t *testing.T, s backend.Store, unit string) (a, b *node) {
	t.Helper()
	a = startNode(t, s)
	b = startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	for _, n := range []*node{a, b} {
		n.mkdir("run")
		n.mkdir(unit)
	}
	a.write(unit+"/rank0", "a")
	b.write(unit+"/rank1", "b")
	a.wait(unit)
	eventually(t, "b's open marker", func() bool { return len(b.MarkedFor(0)) == 1 })
	must(b, b.up.claimOne(ctx, b.MarkedFor(0)[0]))
	return a, b
}

func (n *node) removeUnit(unit string, files ...string) {
	n.t.Helper()
	for _, f := range files {
		n.unlink(unit + "/" + f)
	}
	must(n, n.Rmdir(ctx, unit))
}

// P3, P5: num_to_keep deletes a checkpoint on one node while another still uploads its part: that
// would appear alone, and nobody would delete it again.
func TestDeletionTakesWhatAnotherNodeHasNotPublished(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000001"
	s := newFaulty()
	a, b := half(t, s, unit)
	a.removeUnit(unit, "rank0")
	eventually(t, "b's part is gone from b", func() bool { return b.missing(unit) })
	must(b, b.commitAll())
	must(a, a.commitAll())
	eventually(t, "nothing is left in the store", func() bool { return !strings.Contains(strings.Join(allKeys(t, s), " "), unit) })
	if list, err := os.ReadDir(b.cfg.Dir + "/fetch"); err != nil || len(list) > 0 {
		t.Errorf("left in the cache: %v, %v", list, err)
	}
	b.restart()
	if !b.missing(unit) || len(b.up.Status().Units) > 0 {
		t.Error("it is back after a restart")
	}
	// The name is free again.
	b.mkdir(unit)
	b.write(unit+"/rank1", "new")
	must(b, b.commitAll())
	eventually(t, "a sees the new one", func() bool { return !a.missing(unit) && a.names(unit) == "rank1" })
}

// P5: what a program writes after the deletion is of a checkpoint that is made anew.
func TestDeletionTakesNothingThatWasWrittenSince(t *testing.T) {
	const unit = "run/checkpoint_000001"
	for how, write := range map[string]func(b *node) (done func()){
		"closed": func(b *node) func() { b.write(unit+"/rank1", "new"); return func() {} },
		"open": func(b *node) func() {
			h := b.open(unit + "/rank1")
			return func() {
				if _, err := h.File().WriteString("new"); err != nil {
					b.t.Fatal(err)
				}
				b.closeHandle(h)
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			a, b := half(t, s, unit)
			held := s.Hold(backend.OpDelete, 1) // the deletion has told b of itself
			a.removeUnit(unit, "rank0")
			<-held.Reached()
			done := write(b)
			must(b, b.up.claimOne(ctx, b.MarkedFor(0)[0]))
			held.Release()
			if b.missing(unit + "/rank1") {
				t.Fatal("b has lost it")
			}
			done()
			must(a, a.commitAll())
			must(b, b.commitAll())
			eventually(t, "a sees b's part", func() bool { return !a.missing(unit) && a.names(unit) == "rank1" })
			if got := a.read(unit + "/rank1"); got != "new" {
				t.Errorf("it is %q", got)
			}
		})
	}
}

// P3: a deletion between the last look and the commit is found by the commit.
func TestCommitFindsThatItsCheckpointIsDeleted(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000001"
	s := newFaulty()
	a, b := half(t, s, unit)
	time.Sleep(time.Until(time.Now().Add(claimEvery))) // b's marker is that old: a commit asks
	must(b, b.up.claimOne(ctx, b.MarkedFor(0)[0]))
	held := s.Hold(backend.OpDelete, 1)
	a.removeUnit(unit, "rank0")
	<-held.Reached()
	must(b, b.commitAll())
	held.Release()
	must(a, a.commitAll())
	if keys := strings.Join(allKeys(t, s), " "); strings.Contains(keys, "rank1") {
		t.Errorf("the store has %s", keys)
	}
	if !b.missing(unit) {
		t.Error("b has it still")
	}
}

// A node that is dead does not give anything up: its marker is taken after a while.
func TestDeletionDoesNotWaitForADeadNode(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000001"
	s := newFaulty()
	a, b := half(t, s, unit)
	b.close()
	a.removeUnit(unit, "rank0")
	must(a, a.commitAll())
	for _, key := range allKeys(t, s) {
		if strings.Contains(key, unit) || layout.IsDeletedKey(key) {
			t.Errorf("left in the store: %s", key)
		}
	}
}
