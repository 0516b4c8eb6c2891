package uploader

import (
	"fmt"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// A look at the store that began before a deletion may have seen what was deleted. Nobody
// who asks after it is told of it, though the tombstone has gone.
func TestDeletedNamesDoNotComeBackFromALookBegunBefore(t *testing.T) {
	const unit = "run/checkpoint_000000"
	remove := func(n *node, p string) {
		if err := n.Unlink(ctx, p); err != nil {
			n.t.Fatal(err)
		}
	}
	list := func(dir string) func(*node) string {
		return func(n *node) string { return n.names(dir) }
	}
	lookUp := func(path string) func(*node) string {
		return func(n *node) string { return n.shows(path) }
	}
	for name, c := range map[string]struct {
		prefix string             // of the listing that is under way meanwhile
		first  func(*node) string // makes it
		look   func(*node) string // what is shown after the deletion
		remove func(*node)
	}{
		"member, listed":        {unit + "/", list(unit), list(unit), func(n *node) { remove(n, unit+"/f") }},
		"member, looked up":     {unit + "/", list(unit), lookUp(unit + "/f"), func(n *node) { remove(n, unit+"/f") }},
		"artifact, listed":      {"run/logs/", list("run/logs"), list("run/logs"), func(n *node) { remove(n, "run/logs/f") }},
		"artifact, looked up":   {"run/logs/", list("run/logs"), lookUp("run/logs/f"), func(n *node) { remove(n, "run/logs/f") }},
		"checkpoint, listed":    {"run/", list("run"), list("run"), func(n *node) { n.removeAll(unit, "f", "g") }},
		"checkpoint, looked up": {"run/", list("run"), lookUp(unit), func(n *node) { n.removeAll(unit, "f", "g") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newHooked()
			n := startNode(t, s)
			for _, d := range []string{"run", "run/logs", unit} {
				n.mkdir(d)
			}
			for _, d := range []string{"run/logs", unit} {
				n.write(d+"/f", "f")
				n.write(d+"/g", "g")
			}
			n.wait()
			time.Sleep(2 * n.cfg.ListTTL) // beyond any memory of a listing
			caught, free := s.catch(backend.OpList, c.prefix)
			first, second := make(chan string, 1), make(chan string, 1)
			go func() { first <- c.first(n) }()
			<-caught
			c.remove(n)
			n.wait()
			go func() { second <- c.look(n) }()
			time.Sleep(50 * time.Millisecond) // so that it shares the look under way
			free()
			<-first // may show it: it was there when this was asked
			for _, got := range []string{<-second, c.look(n)} {
				if got != "" && got != "g" && got != "logs" {
					t.Errorf("shown after it was deleted: %q", got)
				}
			}
		})
	}
}

func (n *node) removeAll(dir string, names ...string) {
	n.t.Helper()
	for _, name := range names {
		if err := n.Unlink(ctx, dir+"/"+name); err != nil {
			n.t.Fatal(err)
		}
	}
	if err := n.Rmdir(ctx, dir); err != nil {
		n.t.Fatal(err)
	}
}

// shows is path if it is there, or nothing.
func (n *node) shows(path string) string {
	if n.walkTo(path) != nil {
		return ""
	}
	return path
}

// What stands only in another node's manifest does not come back with the commit of its
// removal, and nothing misses it; not after a restart and another commit either.
func TestWhatAnotherNodesManifestNamesStaysRemoved(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	const unit = "run/checkpoint_000000"
	for _, d := range []string{"run", unit, unit + "/sub", unit + "/keep"} {
		a.mkdir(d)
	}
	a.write(unit+"/f", "f")
	a.write(unit+"/g", "g")
	a.wait()
	for _, p := range []string{unit + "/sub", unit + "/f"} {
		if err := b.walkTo(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Rmdir(ctx, unit+"/sub"); err != nil {
		t.Fatal(err)
	}
	if err := b.Unlink(ctx, unit+"/f"); err != nil {
		t.Fatal(err)
	}
	check := func(when string, others string) {
		t.Helper()
		b.wait()
		c := startNode(t, s)
		for i, n := range []*node{b, c} {
			time.Sleep(2 * n.cfg.ListTTL)
			if got := n.names(unit); got != "g"+others+" keep" {
				t.Errorf("%s, node %d shows %q", when, i, got)
			}
		}
		if _, r := c.verify(unit); r.Bad() != 0 {
			t.Errorf("%s: verify: %+v", when, r)
		}
	}
	check("after the removal", "")
	b.restart()
	b.write(unit+"/h", "h")
	check("after another commit", " h")
	// The other node publishes again, and still has the directory: that is the newer word.
	a.write(unit+"/i", "i")
	a.wait()
	time.Sleep(2 * b.cfg.ListTTL)
	if got := b.names(unit); got != "g h i keep sub" {
		t.Errorf("after the other node's next commit: %q", got)
	}
}

// A rename is a removal, too.
func TestDirectoryOfAnotherNodesManifestStaysRenamed(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	const unit = "run/checkpoint_000000"
	for _, d := range []string{"run", unit, unit + "/sub"} {
		a.mkdir(d)
	}
	a.write(unit+"/sub/f", "f")
	a.wait()
	if err := b.walkTo(unit + "/sub/f"); err != nil {
		t.Fatal(err)
	}
	if err := b.Rename(ctx, unit+"/sub", unit+"/new", 0); err != nil {
		t.Fatal(err)
	}
	b.wait()
	c := startNode(t, s)
	if got := c.names(unit); got != "new" {
		t.Errorf("another node shows %q", got)
	}
	if got := c.read(unit + "/new/f"); got != "f" {
		t.Errorf("%q", got)
	}
	if _, r := c.verify(unit); r.Bad() != 0 {
		t.Errorf("verify: %+v", r)
	}
}

// What a node whose clock is ahead has said does not count for longer than it should.
func TestNewestManifestIsTheOneThatTheStoreHasPutLast(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	const unit = "run/checkpoint_000000"
	a.mkdir("run")
	a.mkdir(unit)
	a.write(unit+"/f", "of the first")
	a.wait()
	key := layout.ManifestKey(unit, a.Node())
	m, err := layout.DecodeManifest([]byte(get(t, s, key)))
	if err != nil {
		t.Fatal(err)
	}
	m.Sealed = m.Sealed.Add(time.Hour)
	ahead, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	putRaw(t, s, key, string(ahead))
	if err := b.walkTo(unit + "/f"); err != nil {
		t.Fatal(err)
	}
	b.write(unit+"/f", "of the other") // as long as before: only the checksum differs
	b.wait()
	c := startNode(t, s)
	if err := c.walkTo(unit + "/f"); err != nil {
		t.Fatal(err)
	}
	if got := c.read(unit + "/f"); got != "of the other" {
		t.Errorf("%q", got)
	}
	if _, r := c.verify(unit); r.Bad() != 0 || r.OK != 1 {
		t.Errorf("verify: %+v", r)
	}
}

// The memory of deletions does not grow for ever.
func TestManyDeletions(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	for i := range 50 {
		n.write(fmt.Sprintf("run/f%d", i), "x")
	}
	n.wait()
	for i := range 50 {
		if err := n.Unlink(ctx, fmt.Sprintf("run/f%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	n.wait()
	for i := range 50 { // and again: what is new shows at once
		n.write(fmt.Sprintf("run/f%d", i), "y")
	}
	n.wait()
	if _, _, err := n.Evict(ctx, []string{""}); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if got := n.read(fmt.Sprintf("run/f%d", i)); got != "y" {
			t.Errorf("%q", got)
		}
	}
}
