package uploader

import (
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// P5: a job is resumed: one rank removes the checkpoint that was cut off and makes it again, and
// so does another rank on another node. The commit of the first deletes what the old directory
// has left, and nothing of what the other one has published since.
func TestCheckpointThatIsMadeAgainKeepsWhatAnotherNodeHasPublishedInItSince(t *testing.T) {
	const unit = "run/checkpoint_000000"
	for how, published := range map[string]bool{"both had committed": true, "both were writing": false} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			never := func(c *cache.Config) { c.Settle = time.Hour }
			a, b, c := startNode(t, s, never), startNode(t, s, never), startNode(t, s)
			a.mkdir("run")
			a.mkdir(unit)
			a.write(unit+"/a", "old a")
			for _, dir := range []string{"run", unit} {
				if b.walkTo(dir) != nil {
					b.mkdir(dir)
				}
			}
			b.write(unit+"/b", "old b")
			b.write(unit+"/left", "left by b")
			if published {
				must(a, a.commitAll())
				must(b, b.commitAll())
			}
			a.remake(unit)
			made := time.Now()
			a.write(unit+"/a", "new a")
			eventually(t, "the new directory's open marker", func() bool {
				marker, err := s.Head(ctx, layout.OpenKey(unit, a.Node()))
				return err == nil && marker.Modified.After(made)
			})
			if published {
				b.write(unit+"/b", "new b")
			}
			must(b, b.commitAll())
			a.restart()
			must(a, a.commitAll())
			want := "new b"
			if !published {
				want = "old b"
			}
			if got := c.read(unit + "/b"); got != want {
				t.Errorf("b is %q", got)
			}
			if got := c.read(unit + "/a"); got != "new a" {
				t.Errorf("a is %q", got)
			}
			if res, err := c.up.Verify(ctx, []string{unit}, func(VerifyEvent) {}); err != nil || res.Bad() > 0 || res.OK < 2 {
				t.Errorf("verify: %+v, %v", res, err)
			}
			if published && !c.missing(unit+"/left") {
				t.Error("what the old directory had is there")
			}
		})
	}
}

// P3: the same, and the other node writes there all the time: its open marker went with the old
// directory. The new one does not show before both are done.
func TestCheckpointThatIsMadeAgainShowsOnlyWhenAllWhoWriteThereAreDone(t *testing.T) {
	const unit = "run/checkpoint_000000"
	for how, again := range map[string]func(a *node, s backend.Store){
		"at once": func(a *node, s backend.Store) { a.remake(unit) },
		"later": func(a *node, s backend.Store) {
			a.unlink(unit + "/a")
			must(a, a.Rmdir(ctx, unit))
			must(a, a.commitAll())
			a.mkdir(unit)
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			never := func(c *cache.Config) { c.Settle = time.Hour }
			a, b, c := startNode(t, s, never), startNode(t, s, never), startNode(t, s)
			for _, n := range []*node{a, b} {
				for _, dir := range []string{"run", unit} {
					if n.walkTo(dir) != nil {
						n.mkdir(dir)
					}
				}
			}
			a.write(unit+"/a", "old a")
			b.write(unit+"/b", "b")
			marked := func(n *node) func() bool {
				return func() bool { return strings.Contains(strings.Join(allKeys(t, s), " "), layout.OpenKey(unit, n.Node())) }
			}
			eventually(t, "a's marker", marked(a))
			eventually(t, "b's marker", marked(b))
			again(a, s)
			a.write(unit+"/a", "new a")
			done := make(chan error, 1)
			go func() { done <- a.commitAll() }()
			for ended := false; !ended; {
				select {
				case err := <-done:
					must(a, err)
					ended = true
				case <-time.After(10 * time.Millisecond):
				}
				if !c.missing(unit) {
					t.Fatal("it shows without b's part")
				}
			}
			must(b, b.commitAll())
			if got := c.names(unit); got != "a b" {
				t.Errorf("c lists %s", got)
			}
		})
	}
}

// P3: the look for an open marker that another node may have taken away overtakes the deletion of
// the checkpoint by this node. Put again then, it would hide for ever what is made there next.
func TestOpenMarkerOfADeletedCheckpointIsNotPutAgain(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000000"
	s := newFaulty()
	a := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	a.mkdir("run")
	a.mkdir(unit)
	a.write(unit+"/a", "a")
	var marked []*cache.Unit
	eventually(t, "the open marker", func() bool { marked = a.MarkedFor(0); return len(marked) == 1 })
	a.unlink(unit + "/a")
	must(a, a.Rmdir(ctx, unit))
	gone := func() bool { return !strings.Contains(strings.Join(allKeys(t, s), " "), unit) }
	eventually(t, "the deletion in the store", gone)
	must(a, a.up.claimOne(ctx, marked[0]))
	if !gone() {
		t.Errorf("left in the store: %v", allKeys(t, s))
	}
}

// remake removes a directory with all that this node sees in it, and makes it again before the
// store has seen that.
func (n *node) remake(unit string) {
	n.t.Helper()
	list, err := n.ReadDir(ctx, unit)
	must(n, err)
	for _, e := range list {
		must(n, n.walkTo(unit+"/"+e.Name))
		n.unlink(unit + "/" + e.Name)
	}
	must(n, n.Rmdir(ctx, unit))
	n.mkdir(unit)
}
