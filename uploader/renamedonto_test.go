package uploader

import (
	"fmt"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// A renamed file that is only in the store is one that the program has made there: it can be
// read at once, whatever was deleted under that name before.
func TestRenamedRemoteFileCanBeReadUnderANameThatWasDeletedBefore(t *testing.T) {
	const unit, other = "run/checkpoint_000000", "run/checkpoint_000001"
	for how, rename := range map[string]func(n *node) string{
		"a file": func(n *node) string {
			n.unlink("run/b")
			n.rename("run/a", "run/b")
			return "run/b"
		},
		"a file, deleted in the store since": func(n *node) string {
			n.unlink("run/b")
			n.wait()
			n.rename("run/a", "run/b")
			return "run/b"
		},
		"a member": func(n *node) string {
			n.unlink(unit + "/f")
			n.rename("run/a", unit+"/f")
			return unit + "/f"
		},
		"a checkpoint": func(n *node) string {
			n.unlink(unit + "/f")
			must(n, n.Rmdir(ctx, unit))
			n.mkdir(unit)
			n.rename("run/a", unit+"/f")
			return unit + "/f"
		},
		"a checkpoint, deleted in the store since": func(n *node) string {
			n.unlink(unit + "/f")
			must(n, n.Rmdir(ctx, unit))
			n.wait()
			n.mkdir(unit)
			n.rename("run/a", unit+"/f")
			return unit + "/f"
		},
		"a checkpoint, renamed": func(n *node) string {
			n.rename(unit, other)
			n.mkdir(unit)
			n.rename("run/a", unit+"/f")
			return unit + "/f"
		},
		"there and back": func(n *node) string {
			n.rename("run/a", "run/c")
			n.rename("run/c", "run/a")
			return "run/a"
		},
		"there and back into a checkpoint": func(n *node) string {
			n.rename("run/a", unit+"/x")
			n.rename(unit+"/x", "run/a")
			return "run/a"
		},
	} {
		for _, read := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/read=%v", how, read), func(t *testing.T) {
				t.Parallel()
				s := newFaulty()
				n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
				n.mkdir("run")
				n.mkdir(unit)
				n.write("run/a", "the file")
				n.write("run/b", "b")
				n.write(unit+"/f", "f")
				must(n, n.commitAll())
				if _, _, err := n.Evict(ctx, []string{"run/a"}); err != nil {
					t.Fatal(err)
				}
				at := rename(n)
				if read {
					if got := n.read(at); got != "the file" {
						t.Errorf("read %q", got)
					}
				}
				must(n, n.commitAll())
				if got := get(t, s, at); got != "the file" {
					t.Errorf("in the store: %q", got)
				}
				if got := n.read(at); got != "the file" {
					t.Errorf("read %q after the commit", got)
				}
			})
		}
	}
}

// commit now means now: what was said stays said though a renamed file of the unit is fetched
// after that, by a program that reads ahead.
func TestCommitIsNotForgottenWhenARenamedFileIsFetchedMeanwhile(t *testing.T) {
	const unit = "run/checkpoint_000000"
	s := newHooked()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	n.mkdir(unit)
	n.write("run/a", "the file")
	n.write(unit+"/f", "f")
	must(n, n.commitAll())
	if _, _, err := n.Evict(ctx, []string{"run/a"}); err != nil {
		t.Fatal(err)
	}
	n.rename("run/a", unit+"/a")
	fetched := make(chan struct{})
	put, free := s.catch(backend.OpPut, layout.ManifestKey(unit, n.Node()))
	go func() {
		defer close(fetched)
		<-put
		n.read(unit + "/a")
		free()
	}()
	must(n, n.commitAll())
	<-fetched
	if got := get(t, s, unit+"/a"); got != "the file" {
		t.Errorf("in the store: %q", got)
	}
}
