package uploader

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// Local copies go while somebody is about to use them: the cache needs room, or somebody else
// has found that the store has a newer one.

// P8: what a name shows can be opened, though the local copy goes between the question to the
// store and the open.
func TestFileThatIsEvictedWhileItsOpenAsksTheStoreIsOpened(t *testing.T) {
	for _, path := range []string{"run/a", "run/checkpoint_000000/a"} {
		for how, use := range map[string]func(n *node, want string){
			"read":  func(n *node, want string) {},
			"write": func(n *node, want string) { n.openWrite(path).Released() },
			"chmod": func(n *node, want string) { must(n, n.Chmod(ctx, path, 0o600)) },
			"xattr": func(n *node, want string) { must(n, n.Setxattr(ctx, path, "user.x", []byte("1"), 0)) },
			"link":  func(n *node, want string) { _, err := n.Link(ctx, path, path+"2"); must(n, err) },
			"rename": func(n *node, want string) {
				n.rename(path, path+"2")
				n.rename(path+"2", path)
			},
		} {
			for _, replaced := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/replaced=%v", path, how, replaced), func(t *testing.T) {
					t.Parallel()
					s := newHooked()
					b := startNode(t, s, func(c *cache.Config) { c.Prefetch = cache.PrefetchOff })
					b.mkdir("run")
					b.mkdir("run/checkpoint_000000")
					b.write(path, "old")
					must(b, b.commitAll())
					want := "old"
					if replaced {
						want = "the new one"
						a := startNode(t, s.Store)
						must(a, a.walkTo(path))
						a.write(path, want)
						must(a, a.commitAll())
					}
					var once sync.Once
					s.mu.Lock()
					s.after = func(op, key string) {
						if op == backend.OpList || op == backend.OpHead {
							once.Do(func() {
								if _, _, err := b.Evict(ctx, []string{"run"}); err != nil {
									t.Error(err)
								}
							})
						}
					}
					s.mu.Unlock()
					time.Sleep(2 * b.cfg.ListTTL)
					use(b, want)
					if got := b.read(path); got != want {
						t.Errorf("read %q, want %q", got, want)
					}
				})
			}
		}
	}
}

// P8: of many who open what another node has replaced, each gets the new one.
func TestAllWhoOpenWhatAnotherNodeHasReplacedGetTheNewOne(t *testing.T) {
	t.Parallel()
	const path = "run/checkpoint_000000/f"
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	a.mkdir("run")
	a.mkdir("run/checkpoint_000000")
	for round := range 20 {
		want := fmt.Sprint("version ", round)
		a.write(path, want)
		must(a, a.commitAll())
		time.Sleep(2 * b.cfg.ListTTL)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if h, err := b.Open(ctx, path, unix.O_RDONLY); err != nil {
					t.Errorf("round %d: %v", round, err)
				} else {
					b.shut(h)
				}
			})
		}
		all.Wait()
		if got := b.read(path); got != want {
			t.Fatalf("read %q, want %q", got, want)
		}
	}
}

// P5: what is written to a file goes up, though the cache is emptied as it is opened.
func TestWhatIsWrittenWhileTheCacheIsEmptiedIsNotLost(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	n.write("run/a", "")
	must(n, n.commitAll())
	const writes = 12
	for range writes {
		var emptier sync.WaitGroup
		emptier.Go(func() {
			for range 3 {
				if _, _, err := n.Evict(ctx, []string{"run"}); err != nil {
					t.Error(err)
				}
			}
		})
		h, err := n.Open(ctx, "run/a", unix.O_RDWR|unix.O_APPEND)
		if err == nil {
			_, err = h.File().WriteString("x")
			n.closeHandle(h)
		}
		emptier.Wait()
		must(n, err)
		must(n, n.commitAll())
	}
	if got := get(t, s, "run/a"); got != strings.Repeat("x", writes) {
		t.Errorf("in the store: %q", got)
	}
}

// openWrite opens without truncating.
func (n *node) openWrite(path string) *cache.Handle {
	n.t.Helper()
	h, err := n.Open(ctx, path, unix.O_RDWR)
	if err != nil {
		n.t.Fatalf("open %s for writing: %v", path, err)
	}
	h.File().Close()
	return h
}

func must(n *node, err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}
