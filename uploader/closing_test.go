package uploader

import (
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
)

// P4 of checkpoints that their program has closed, and that do not count as closed yet.

const closedFirst, closedSecond = "run/checkpoint_000001", "run/checkpoint_000002"

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

// P4: close(2) waits for FLUSH and not for RELEASE, which comes late on a busy machine.
func TestLateReleaseOfAnEarlierCheckpointLetsNoLaterOneOvertake(t *testing.T) {
	t.Parallel()
	s := mem.New()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir(closedFirst)
	h := n.open(closedFirst + "/model.pt")
	if _, err := h.File().WriteString("content"); err != nil {
		t.Fatal(err)
	}
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
			n.mkdir("run")
			n.mkdir(closedFirst)
			h := n.open(closedFirst + "/model.pt")
			if _, err := h.File().WriteString("content"); err != nil {
				t.Fatal(err)
			}
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
