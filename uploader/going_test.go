package uploader

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// P5: a name goes in two steps, its tombstone and the tree. An upload that begins between
// the two saw a file that is there, took the tombstone for one that it had carried out, and
// the name came back. make crash has found it.
func TestFileThatGoesWhileItsUploadBeginsStaysAway(t *testing.T) {
	t.Parallel()
	for how, away := range map[string]func(n *node, path string) error{
		"unlink": func(n *node, path string) error { return n.Unlink(ctx, path) },
		"rename": func(n *node, path string) error { return n.Rename(ctx, path, path+"-renamed", 0) },
		"unlink after a rename": func(n *node, path string) error {
			if err := n.Rename(ctx, path, path+"-renamed", 0); err != nil {
				return err
			}
			return n.Unlink(ctx, path+"-renamed")
		},
	} {
		t.Run(how, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s)
			n.mkdir("run")
			var both sync.WaitGroup
			busy, idle := context.WithCancel(ctx)
			var load sync.WaitGroup
			load.Go(func() { // what is written to a busy journal takes its time
				for busy.Err() == nil {
					_ = n.Sync()
				}
			})
			for i := range 30 {
				path := fmt.Sprintf("run/f%d", i)
				n.write(path, "content")
				if i%2 == 0 { // one that the store has already, and is written again
					_ = n.up.commitFileOnce(ctx, path)
					n.write(path, "other content")
				}
				for _, path := range []string{path, path + "-renamed"} {
					both.Go(func() {
						time.Sleep(time.Duration(rand.IntN(5000)) * time.Microsecond)
						_ = n.up.commitFileOnce(ctx, path)
					})
				}
				if err := away(n, path); err != nil {
					t.Error(err)
				}
				both.Wait()
			}
			idle()
			load.Wait()
			n.wait()
			page, err := s.List(ctx, backend.ListOptions{Prefix: "run/f"})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range page.Objects {
				if how != "rename" || !strings.HasSuffix(o.Key, "-renamed") {
					t.Errorf("in the store: %s", o.Key)
				}
			}
		})
	}
}

// P1: the close or fsync that waits for the store (commit=close, fsync=remote) of a file that
// is deleted or renamed meanwhile has nothing to wait for: it never returned.
func TestCommitOfAFileThatHasLostItsNameEnds(t *testing.T) {
	n := startNode(t, newFaulty())
	n.mkdir("run")
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := n.up.CommitFile(ctx, "run/gone"); err != nil {
		t.Errorf("commit: %v", err)
	}
}

// P5: a directory that is removed or renamed while its marker goes up stays away. make stress has
// found it.
func TestDirectoryThatGoesWhileItsMarkerGoesUpStaysAway(t *testing.T) {
	t.Parallel()
	for how, want := range map[string]string{"removed": "run/other", "renamed": "run/e/ run/other"} {
		t.Run(how, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s)
			n.mkdir("run")
			n.write("run/other", "content")
			n.wait()
			put := s.Hold(backend.OpPut, 1)
			n.mkdir("run/d")
			<-put.Reached()
			var err error
			if how == "removed" {
				err = n.Rmdir(ctx, "run/d")
			} else {
				err = n.Rename(ctx, "run/d", "run/e", 0)
			}
			if err != nil {
				t.Fatal(err)
			}
			put.Release()
			n.wait()
			if got := objects(t, s); got != want {
				t.Errorf("the store has %q, want %q", got, want)
			}
			n.restart()
			if !n.missing("run/d") {
				t.Error("it is there again")
			}
		})
	}
}
