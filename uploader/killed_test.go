package uploader

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
)

// What real kills have found.

// P4: a checkpoint directory without a file is none yet. A kill between mkdir and the first
// file must not make what comes after it wait for ever.
func TestEmptyCheckpointDirectoryAtAKillHoldsUpNobody(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000001")
	n.restart()
	n.mkdir("run/checkpoint_000002")
	n.write("run/checkpoint_000002/model", "m")
	n.wait("run/checkpoint_000002")
	if got := objects(t, s); got != "run/checkpoint_000002/model" {
		t.Errorf("in the store: %s", got)
	}
}

// P10: wait names the torn unit, and does not wait for what waits for that.
func TestDeletionThatWaitsForATornUnitIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	n := startNode(t, newFaulty(), func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	n.write("run/notes", "n")
	n.wait("run/notes")
	n.mkdir("run/checkpoint_000001")
	if err := n.Rename(ctx, "run/notes", "run/checkpoint_000001/notes", 0); err != nil {
		t.Fatal(err)
	}
	n.open("run/checkpoint_000001/half").File().WriteString("h")
	n.restart()
	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := n.up.Wait(limit, []string{""}, nil); !errors.Is(err, ErrTorn) {
		t.Errorf("wait: %v, want ErrTorn", err)
	}
}

// P5: a tracker that was open at a kill is a file after every start, and goes up once it is
// written again.
func TestTornTrackerGoesUpWhenWrittenAgainAfterTwoStarts(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/latest", "checkpoint_1")
	n.wait()
	if _, err := n.Open(ctx, "run/latest", unix.O_WRONLY); err != nil { // and not written to
		t.Fatal(err)
	}
	for range 2 {
		n.restart()
		if u, ok := n.unit("run/latest"); !ok || u.State != cache.StateTorn {
			t.Fatalf("after a start: %+v", u)
		}
	}
	n.write("run/latest", "checkpoint_2")
	n.wait()
	if got := get(t, s, "run/latest"); got != "checkpoint_2" {
		t.Errorf("in the store: %q", got)
	}
}

// unanswered puts one key, once, and never says so: the daemon dies before it hears of it.
type unanswered struct {
	backend.Store
	key  string
	put  chan struct{}
	once sync.Once
}

func (s *unanswered) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	obj, err := s.Store.Put(ctx, key, c, o)
	if key == s.key && err == nil {
		s.once.Do(func() {
			close(s.put)
			<-ctx.Done()
			err = ctx.Err()
		})
	}
	return obj, err
}

// P5: the store has what this node was just putting when it died, and knows no more of it than
// the store does. What the program has written since must not be taken for a stranger's clash
// with that, and set aside.
func TestRewrittenWhileItsPutWasNotRecordedItGoesUpAfterAKill(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"artifact": "run/notes", "tracker": "run/latest", "one-file checkpoint": "run/model.ckpt", "member": "run/checkpoint_000001/model",
	} {
		t.Run(name, func(t *testing.T) {
			s := &unanswered{Store: mem.New(), key: file, put: make(chan struct{})}
			n := startNode(t, s)
			n.mkdir("run")
			n.mkdir("run/checkpoint_000001")
			n.write("run/checkpoint_000001/other", "o")
			n.write(file, "first")
			<-s.put
			n.write(file, "second")
			n.restart()
			n.wait()
			if got := get(t, s, file); got != "second" {
				t.Errorf("in the store: %q", got)
			}
			if got := n.read(file); got != "second" {
				t.Errorf("in the mount: %q", got)
			}
			if got := n.up.Status().LostFound; got != 0 {
				t.Errorf("%d files were set aside", got)
			}
		})
	}
}
