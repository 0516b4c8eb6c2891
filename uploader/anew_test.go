package uploader

import (
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/faulty"
)

// P5: a file that is made again while the store is still at the deletion of the one before it.
func TestFileMadeAgainWhileItsDeletionIsUnderWayIsInTheStore(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"artifact": "run/notes", "tracker": "run/latest", "one-file checkpoint": "run/model.ckpt", "member": "run/checkpoint_000001/a"} {
		t.Run(name, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s)
			n.mkdir("run")
			n.mkdir("run/checkpoint_000001")
			n.write(file, "old")
			n.wait()
			h := s.Hold(backend.OpDelete, 1)
			defer h.Release()
			if file == "run/checkpoint_000001/a" {
				n.removeAll("run/checkpoint_000001", "a")
				reached(t, h)
				n.mkdir("run/checkpoint_000001")
			} else {
				n.unlink(file)
				reached(t, h)
			}
			n.write(file, "anew")
			for _, p := range []string{"later", "later still"} { // it would have gone up by now
				n.write(p, "x")
				n.wait(p)
			}
			h.Release()
			n.wait()
			if got := get(t, s, file); got != "anew" {
				t.Errorf("%q", got)
			}
		})
	}
}

func reached(t *testing.T, h *faulty.Hold) {
	t.Helper()
	select {
	case <-h.Reached():
	case <-time.After(20 * time.Second):
		t.Fatal("the call to be held never came")
	}
}
