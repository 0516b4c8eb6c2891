package uploader

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// What is deleted or renamed while it is being fetched.

// arriving is a node that is fetching run/checkpoint_000000/f, ahead of any reader; the last of
// it comes when free is called.
func arriving(t *testing.T) (n *node, s *hooked, content string, free func()) {
	t.Helper()
	s = newHooked()
	a := startNode(t, s)
	a.mkdir("run")
	a.mkdir("run/checkpoint_000000")
	content = big(3, 2<<20)
	a.write("run/checkpoint_000000/f", content)
	a.write("run/checkpoint_000000/g", "g")
	a.wait()
	var once sync.Once
	gate, begun := make(chan struct{}), make(chan struct{})
	s.mu.Lock()
	s.body = func(_ int, o backend.GetOptions, r io.ReadCloser) io.ReadCloser {
		if o.Length == int64(len(content)) {
			once.Do(func() { close(begun) })
			return &stops{r, len(content) - 1, gate}
		}
		return r
	}
	s.mu.Unlock()
	n = startNode(t, s, func(c *cache.Config) { c.StoreTimeout = time.Hour })
	if err := n.walkTo("run/checkpoint_000000/f"); err != nil {
		t.Fatal(err)
	}
	fetched := make(chan struct{})
	go func() {
		defer close(fetched)
		_ = n.Prefetch(ctx, []string{"run/checkpoint_000000/f"})
	}()
	<-begun
	return n, s, content, func() {
		close(gate)
		<-fetched
	}
}

// A deletion that a program was told of is not undone by what arrives after it.
func TestFileDeletedWhileItIsFetchedStaysAway(t *testing.T) {
	t.Parallel()
	n, s, _, free := arriving(t)
	if err := n.Unlink(ctx, "run/checkpoint_000000/f"); err != nil {
		t.Fatal(err)
	}
	free()
	if n.inTree("run/checkpoint_000000/f") || n.names("run/checkpoint_000000") != "g" {
		t.Errorf("it is back: %s", n.names("run/checkpoint_000000"))
	}
	n.wait()
	if got := objects(t, s); got != "run/checkpoint_000000/g" {
		t.Errorf("objects: %s", got)
	}
	n.restart()
	n.wait()
	if got := n.names("run/checkpoint_000000"); got != "g" {
		t.Errorf("after a restart: %s", got)
	}
}

// So it is if its object has been deleted before the rest of it is looked at.
func TestFileThatArrivesAfterItsDeletionWasCarriedOutStaysAway(t *testing.T) {
	t.Parallel()
	n, s, _, free := arriving(t)
	if err := n.Unlink(ctx, "run/checkpoint_000000/f"); err != nil {
		t.Fatal(err)
	}
	n.wait()
	if got := objects(t, s); got != "run/checkpoint_000000/g" {
		t.Errorf("objects: %s", got)
	}
	free()
	if n.inTree("run/checkpoint_000000/f") || n.names("run/checkpoint_000000") != "g" {
		t.Errorf("it is back: %s", n.names("run/checkpoint_000000"))
	}
}

func TestFileRenamedWhileItIsFetchedHasOneName(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"run/checkpoint_000000/h", "run/elsewhere"} {
		n, s, content, free := arriving(t)
		if err := n.Rename(ctx, "run/checkpoint_000000/f", to, 0); err != nil {
			t.Fatal(err)
		}
		free()
		if n.inTree("run/checkpoint_000000/f") || strings.Contains(n.names("run/checkpoint_000000"), "f") {
			t.Errorf("the old name is back: %s", n.names("run/checkpoint_000000"))
		}
		n.wait()
		if n.read(to) != content || get(t, s, to) != content {
			t.Error("content differs")
		}
		if got := objects(t, s); strings.Contains(got, "/f") {
			t.Errorf("objects: %s", got)
		}
	}
}

func TestDirectoryRenamedWhileAFileInItIsFetchedHasOneName(t *testing.T) {
	t.Parallel()
	n, s, content, free := arriving(t)
	if err := n.Rename(ctx, "run/checkpoint_000000", "run/checkpoint_best", 0); err != nil {
		t.Fatal(err)
	}
	free()
	n.wait()
	if got := n.names("run") + ": " + n.names("run/checkpoint_best"); got != "checkpoint_best: f g" {
		t.Error(got)
	}
	if n.read("run/checkpoint_best/f") != content {
		t.Error("content differs")
	}
	if got := objects(t, s); got != "run/checkpoint_best/f run/checkpoint_best/g" {
		t.Errorf("objects: %s", got)
	}
}
