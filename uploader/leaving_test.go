package uploader

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/backend"
)

// A file that is deleted while it goes up: what the store gets after the deletion would
// stay, and the name would be back.

func (n *node) unlink(paths ...string) {
	n.t.Helper()
	for _, p := range paths {
		if err := n.Unlink(ctx, p); err != nil {
			n.t.Fatalf("unlink %s: %v", p, err)
		}
	}
}

func TestFileDeletedWhileItGoesUpStaysAway(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"artifact": "run/notes", "tracker": "run/latest", "one-file checkpoint": "run/model.ckpt"} {
		t.Run(name, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s)
			n.mkdir("run")
			h := s.Hold(backend.OpPut, 1)
			defer h.Release()
			n.write(file, "going")
			<-h.Reached()
			n.unlink(file)
			n.write("later", "x")
			n.wait("later") // deletions have had their turn
			n.write("later still", "x")
			n.wait("later still")
			h.Release()
			n.wait()
			if got := objects(t, s); got != "later later still" {
				t.Errorf("in the store: %s", got)
			}
			if info, err := n.Lookup(ctx, file); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it shows again: %+v, %v", info, err)
			}
			n.restart()
			n.write(file, "anew") // with nothing left of its history
			n.wait()
			if got := get(t, s, file); got != "anew" {
				t.Errorf("made again: %q", got)
			}
		})
	}
}

func TestCheckpointDeletedWhileItIsPublishedStaysAway(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000001")
	h := s.Hold(backend.OpPublishStage, 1)
	defer h.Release()
	n.write("run/checkpoint_000001/a", big(1, 2<<20))
	n.write("run/checkpoint_000001/b", big(2, 2<<20))
	<-h.Reached()
	n.unlink("run/checkpoint_000001/a", "run/checkpoint_000001/b")
	if err := n.Rmdir(ctx, "run/checkpoint_000001"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"later", "later still"} {
		n.write(p, "x")
		n.wait(p)
	}
	h.Release()
	n.wait()
	if got := allKeys(t, s); objects(t, s) != "later later still" || strings.HasPrefix(got[0], ".trainfs/") {
		t.Errorf("in the store: %q", got)
	}
}

// The commit of a directory, which is one of its mode and name alone, carries out nobody's
// deletion.
func TestCommitOfADirectoryForgetsNoDeletionInIt(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/notes", "n")
	n.wait()
	h := s.Hold(backend.OpDelete, 1)
	defer h.Release()
	n.unlink("run/notes")
	<-h.Reached()
	if err := n.Chmod(ctx, "run", 0o700); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the directory is committed", func() bool {
		_, err := s.Head(ctx, "run/")
		return err == nil
	})
	if got := n.up.Status().Deletions; got != 1 {
		t.Errorf("%d deletions to come, want 1", got)
	}
	h.Release()
	n.wait()
	if got := allKeys(t, s); strings.Join(got, " ") != "run/" {
		t.Errorf("in the store: %q", got)
	}
}

// An attempt that fails may have brought a file there all the same: then its deletion, or its
// being renamed, must be one in the store as well.
func TestDeletedOrRenamedAfterAFailedAttemptItStaysAway(t *testing.T) {
	for _, file := range []string{"run/notes", "run/latest", "run/model.ckpt", "run/checkpoint_000000/f"} {
		for how, leave := range map[string]func(n *node){
			"deleted": func(n *node) { n.unlink(file) },
			"renamed": func(n *node) { n.rename(file, "run/kept") },
		} {
			t.Run(file+" "+how, func(t *testing.T) {
				t.Parallel()
				s := newFaulty()
				n := startNode(t, s)
				n.mkdir("run")
				n.mkdir("run/checkpoint_000000")
				n.write("run/checkpoint_000000/g", "g")
				n.wait()
				nth := 1
				if strings.Contains(file, "/checkpoint_") {
					nth = 3 // after the marker and the manifest
				}
				s.FailAfter(backend.OpPut, nth, errors.New("the answer is lost"))
				n.write(file, "x")
				eventually(t, "the attempt has failed", func() bool {
					_, err := s.Head(ctx, file)
					u, ok := n.unit(n.unitOf(file))
					return err == nil && ok && u.Attempts > 0
				})
				leave(n)
				n.wait()
				want := "run/checkpoint_000000/g"
				if how == "renamed" {
					want += " run/kept"
				}
				if got := objects(t, s); got != want {
					t.Errorf("objects: %s, want %s", got, want)
				}
				if !n.missing(file) {
					t.Error("it shows again")
				}
			})
		}
	}
}

// unitOf is the path of the unit that a file counts for.
func (n *node) unitOf(path string) string { return n.cfg.Layout.Classify(path, false).Unit }
