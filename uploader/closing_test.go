package uploader

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
)

// P4 of checkpoints that their program has closed, and that do not count as closed yet.

const closedFirst, closedSecond = "run/checkpoint_000001", "run/checkpoint_000002"

// writesFirst has a file of the first checkpoint open, and written.
func writesFirst(t *testing.T, n *node) *cache.Handle {
	t.Helper()
	n.mkdir("run")
	n.mkdir(closedFirst)
	h := n.open(closedFirst + "/model.pt")
	if _, err := h.File().WriteString("content"); err != nil {
		t.Fatal(err)
	}
	return h
}

// waitsForFirst waits until the second checkpoint says that it waits for the first.
func waitsForFirst(t *testing.T, n *node, s backend.Store) {
	t.Helper()
	eventually(t, "the second waits for the first", func() bool {
		if strings.Contains(objects(t, s), closedSecond) {
			t.Fatal("the second is in the store, and the first, closed before, is not")
		}
		u, _ := n.unit(closedSecond)
		return strings.Contains(u.Reason, closedFirst)
	})
}

// inOrder waits for both, and fails if the second comes first.
func inOrder(t *testing.T, n *node, s backend.Store, members ...string) {
	t.Helper()
	eventually(t, "the second is there", func() bool { return strings.Contains(objects(t, s), closedSecond) })
	for _, m := range members {
		if !strings.Contains(objects(t, s), closedFirst+"/"+m) {
			t.Errorf("the second is in the store, and %s of the first, closed before, is not", m)
		}
	}
	n.wait()
}

// notOvertaken fails if the second comes while the first is not all there.
func notOvertaken(t *testing.T, s backend.Store, long time.Duration) {
	t.Helper()
	for end := time.Now().Add(long); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(objects(t, s), closedSecond) {
			t.Fatal("the second is in the store, and the first, closed before, is not")
		}
	}
}

// P4: the first is closed before the second, gets its place after it (the second is said to be
// finished, quiet tells of the first), and is opened again while it is being published.
func TestCheckpointOpenedAgainWhileItIsPublishedIsNotOvertaken(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Second; c.StoreTimeout = time.Hour })
	n.mkdir("run")
	n.mkdir(closedFirst)
	n.mkdir(closedSecond)
	n.write(closedSecond+"/model.pt", "content")
	n.write(closedFirst+"/model.pt", big(1, 3<<20))
	n.write(closedSecond+"/optimizer.pt", "content")
	held := s.Hold(backend.OpPublishStage, 1)
	defer held.Release()
	if err := n.RequestCommit(ctx, closedSecond); err != nil {
		t.Fatal(err)
	}
	<-held.Reached()
	waitsForFirst(t, n, s)
	h := n.open(closedFirst + "/log.txt")
	notOvertaken(t, s, 2*time.Second)
	n.closeHandle(h)
	held.Release()
	inOrder(t, n, s, "model.pt")
}

// P4: the publication of the first fails once, and it was opened again meanwhile, or the daemon was
// killed: half of it is in the store.
func TestCheckpointWhosePublicationFailsIsNotOvertaken(t *testing.T) {
	for how, c := range map[string]struct {
		times int32 // that it fails
		then  func(t *testing.T, n *node, s backend.Store, begins, fail func())
	}{
		"opened again": {1, func(t *testing.T, n *node, s backend.Store, _, fail func()) {
			h := n.open(closedFirst + "/log.txt")
			fail()
			notOvertaken(t, s, 2*time.Second)
			n.closeHandle(h)
		}},
		"written again before a start": {1, func(_ *testing.T, n *node, _ backend.Store, _, fail func()) {
			n.write(closedFirst+"/log.txt", "more")
			n.stop()
			fail()
			n.restart()
		}},
		"written again after a start": {2, func(_ *testing.T, n *node, _ backend.Store, begins, fail func()) {
			n.stop()
			fail()
			n.restart()
			begins()
			n.write(closedFirst+"/log.txt", "more")
			fail()
		}},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := mem.New()
			begun, failed, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
			var calls atomic.Int32
			n := startNode(t, backend.Intercept(s, func(ctx context.Context, op, key string, next func(context.Context) error) (err error) {
				if op == backend.OpPublishStage && calls.Add(1) <= c.times {
					for _, step := range []chan struct{}{begun, failed} {
						select {
						case <-step:
						case <-ended:
						}
					}
					err = errors.New("the answer is lost")
				}
				return errors.Join(next(ctx), err)
			}), func(c *cache.Config) { c.StoreTimeout = time.Hour })
			t.Cleanup(func() { close(ended) })
			begins, fail := func() { begun <- struct{}{} }, func() { failed <- struct{}{} }
			n.mkdir("run")
			n.mkdir(closedFirst)
			n.write(closedFirst+"/model.pt", big(1, 3<<20))
			begins()
			n.mkdir(closedSecond)
			n.write(closedSecond+"/model.pt", "content")
			waitsForFirst(t, n, s)
			c.then(t, n, s, begins, fail)
			inOrder(t, n, s, "model.pt", "log.txt")
		})
	}
}

// P6: a later checkpoint begins while a file of the first is being written. The program has not
// finished the first, for all that this says: it gets all of settle, from that file's close.
func TestCheckpointThatIsWrittenWhenALaterOneBeginsGetsAllOfSettle(t *testing.T) {
	t.Parallel()
	const settle = 4 * time.Second
	s := mem.New()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = settle })
	h := writesFirst(t, n)
	n.mkdir(closedSecond)
	later := n.open(closedSecond + "/model.pt") // closed, the first would wait for it
	defer n.closeHandle(later)
	n.closeHandle(h)
	closed := time.Now()
	eventually(t, "the first is there", func() bool { return strings.Contains(objects(t, s), closedFirst) })
	if took := time.Since(closed); took < settle {
		t.Errorf("published %v after the close", took)
	}
}

// P4: close(2) waits for FLUSH and not for RELEASE, which comes late on a busy machine.
func TestLateReleaseOfAnEarlierCheckpointLetsNoLaterOneOvertake(t *testing.T) {
	t.Parallel()
	s := mem.New()
	n := startNode(t, s)
	h := writesFirst(t, n)
	if err := h.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	n.write("run/latest", "checkpoint_000001")
	n.mkdir(closedSecond)
	n.write(closedSecond+"/model.pt", "content")
	n.write("run/latest", "checkpoint_000002")
	waitsForFirst(t, n, s)
	h.File().Close()
	h.Released()
	inOrder(t, n, s, "model.pt")
}

// A copy of a descriptor that stays open, in a child say, is no close: what is closed later waits
// only as long as a RELEASE may take. And nobody waits for what is being written.
func TestOpenFileOfAnEarlierCheckpointHoldsNoLaterOneBack(t *testing.T) {
	for name, write := range map[string]func(t *testing.T, n *node, h *cache.Handle){
		"a copy of the descriptor is open": func(t *testing.T, n *node, h *cache.Handle) {},
		"and is written to": func(t *testing.T, n *node, h *cache.Handle) {
			if _, err := h.File().WriteString("more"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mem.New()
			n := startNode(t, s)
			h := writesFirst(t, n)
			if err := h.Flush(ctx); err != nil {
				t.Fatal(err)
			}
			write(t, n, h)
			n.mkdir(closedSecond)
			n.write(closedSecond+"/model.pt", "content")
			n.wait(closedSecond)
			h.File().Close()
			h.Released()
			n.wait()
		})
	}
}

// P4: something says that the second is finished while quiet has still to say so of the first.
func TestCheckpointThatIsSaidToBeFinishedWaitsForAnEarlierOneToBeQuiet(t *testing.T) {
	t.Parallel()
	s := mem.New()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Second })
	n.mkdir("run")
	n.mkdir(closedFirst)
	n.mkdir(closedSecond)
	n.write(closedSecond+"/model.pt", "content")
	n.write(closedFirst+"/model.pt", "content")
	n.write(closedSecond+"/optimizer.pt", "content")
	if err := n.RequestCommit(ctx, closedSecond); err != nil {
		t.Fatal(err)
	}
	waitsForFirst(t, n, s)
	inOrder(t, n, s, "model.pt")
}

// P4: the store is deleting what was there before at the moment at which the first is closed.
func TestCheckpointMadeAgainDuringItsDeletionIsNotOvertaken(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir(closedFirst)
	n.write(closedFirst+"/old.pt", "old")
	n.wait()
	h := s.Hold(backend.OpDelete, 1)
	defer h.Release()
	n.removeAll(closedFirst, "old.pt")
	<-h.Reached()
	n.mkdir(closedFirst)
	n.write(closedFirst+"/model.pt", "content")
	n.write("run/latest", "checkpoint_000001")
	n.mkdir(closedSecond)
	n.write(closedSecond+"/model.pt", "content")
	n.write("run/latest", "checkpoint_000002")
	waitsForFirst(t, n, s)
	h.Release()
	inOrder(t, n, s, "model.pt")
}

// P4: the order is that of the closes, also where a RELEASE comes after that of a later checkpoint.
func TestOrderOfClosingIsThatOfFlushAndNotOfRelease(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	hangs := s.Hold(backend.OpPublishStage, 1)
	defer hangs.Release()
	n.mkdir("run")
	n.mkdir(closedFirst)
	n.mkdir(closedSecond)
	var handles []*cache.Handle
	for _, dir := range []string{closedFirst, closedSecond} {
		h := n.open(dir + "/model.pt")
		if _, err := h.File().WriteString(big(1, 3<<20)); err != nil {
			t.Fatal(err)
		}
		if err := h.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		handles = append(handles, h)
	}
	for _, h := range []*cache.Handle{handles[1], handles[0]} {
		h.File().Close()
		h.Released()
	}
	<-hangs.Reached()
	waitsForFirst(t, n, s)
	hangs.Release()
	inOrder(t, n, s, "model.pt")
}

// P4: a tracker that names neither waits for what counted as closed before it, also where that
// waits for a checkpoint that has still to be quiet.
func TestTrackerDoesNotOvertakeWhatWaitsForQuiet(t *testing.T) {
	t.Parallel()
	s := mem.New()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = 2 * time.Second })
	n.mkdir("run")
	n.mkdir(closedFirst)
	n.mkdir(closedSecond)
	n.write(closedFirst+"/model.pt", "content")
	n.write(closedSecond+"/model.pt", "content")
	if err := n.RequestCommit(ctx, closedSecond); err != nil {
		t.Fatal(err)
	}
	waitsForFirst(t, n, s)
	n.write("run/latest", "nothing")
	eventually(t, "the tracker is there", func() bool { return strings.Contains(objects(t, s), "run/latest") })
	if got := objects(t, s); !strings.Contains(got, closedSecond) {
		t.Errorf("it is there before the second: %s", got)
	}
	n.wait()
}
