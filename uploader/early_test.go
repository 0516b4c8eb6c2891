package uploader

import (
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// P8: who looks after a commit sees it, though somebody else's look, which began before it, is
// still under way on the same node.
func TestLookThatBeganBeforeACommitAnswersNobodyWhoAsksAfterIt(t *testing.T) {
	const unit = "run/checkpoint_000000"
	for name, c := range map[string]struct {
		op, key string // of the early look
		look    string
	}{
		"member":   {backend.OpList, layout.UnitsPrefix(unit), unit + "/f"},
		"tracker":  {backend.OpHead, "run/latest", "run/latest"},
		"artifact": {backend.OpHead, "run/notes", "run/notes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newHooked()
			a, b := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour }), startNode(t, s)
			a.mkdir("run")
			a.write("run/before", "")
			a.mkdir(unit)
			a.write(unit+"/f", "f")
			if err := a.commitAll(); err != nil {
				t.Fatal(err)
			}
			a.write(unit+"/f", "new")
			eventually(t, "others do not see it now", func() bool {
				_, err := s.Head(ctx, layout.OpenKey(unit, a.Node()))
				return err == nil
			})
			if err := b.walkTo("run"); err != nil {
				t.Fatal(err)
			}
			caught, free := s.catch(c.op, c.key)
			early, late := make(chan string, 1), make(chan string, 1)
			go func() { early <- b.shows(c.look) }()
			<-caught
			a.write("run/latest", "checkpoint_000000")
			a.write("run/notes", "notes")
			if err := a.commitAll(); err != nil {
				t.Fatal(err)
			}
			go func() { late <- b.shows(c.look) }()
			time.Sleep(50 * time.Millisecond) // so that it could share the early one's answer
			free()
			if got := <-early; got != "" {
				t.Logf("it had not begun before: %s", got)
			}
			if got := <-late; got != c.look {
				t.Errorf("%s is not seen after its commit", c.look)
			}
		})
	}
}

// A look at a checkpoint of which nothing was there yet when its marks were read sees an object
// of the burst that has begun since: that alone is not shown.
func TestLookThatAFirstCommitOvertakesShowsNoPartOfIt(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000000"
	s := newHooked()
	s.fill(t, "run/before", "")
	b := startNode(t, s, func(c *cache.Config) { c.ListTTL = time.Hour })
	caught, free := s.catch(backend.OpList, layout.UnitsPrefix(unit))
	shown := make(chan string, 1)
	s.fill(t, unit+"/", "") // it is there, as another tool makes a directory
	go func() {
		list, err := b.ReadDir(ctx, unit)
		if err != nil {
			shown <- ""
			return
		}
		var names []string
		for _, e := range list {
			names = append(names, e.Name)
		}
		shown <- strings.Join(names, " ")
	}()
	<-caught
	s.fill(t, layout.OpenKey(unit, "another"), "{}")
	s.fill(t, unit+"/f0", "f0")
	free()
	if got := <-shown; got != "" {
		t.Errorf("it shows %q", got)
	}
}
