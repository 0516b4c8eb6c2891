package uploader

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache"
)

// What real kills have found.

// P4: a checkpoint directory without a file is none yet. A kill between mkdir and the first
// file must not make what comes after it wait for ever.
func TestEmptyCheckpointDirectoryAtAKillHoldsUpNobody(t *testing.T) {
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
