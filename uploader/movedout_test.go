package uploader

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

func (n *node) rename(old, new string) {
	n.t.Helper()
	for _, p := range []string{old, new} {
		n.walkTo(p)
	}
	if err := n.Rename(ctx, old, new, 0); err != nil {
		n.t.Fatalf("rename %s %s: %v", old, new, err)
	}
}

// showsAll checks what a new node sees of a checkpoint directory and what verify says of it.
func showsAll(t *testing.T, s backend.Store, unit, names string) {
	t.Helper()
	c := startNode(t, s)
	defer c.close()
	if got := c.names(unit); got != names {
		t.Errorf("another node shows %q in %s, want %q", got, unit, names)
	}
	if _, r := c.verify(""); r.Bad() != 0 || r.Extra != 0 {
		t.Errorf("verify: %+v", r)
	}
}

// P9: nobody misses a file that was renamed out of a checkpoint, be it another node that has
// published it.
func TestWhatIsRenamedOutOfACheckpointIsNotMissed(t *testing.T) {
	const unit = "run/checkpoint_000000"
	for name, to := range map[string]string{
		"an artifact": "run/best.pt", "a one-file checkpoint": "run/best.ckpt", "another checkpoint": "run/checkpoint_best/f",
	} {
		for _, how := range []string{"remote", "local", "restarted", "restarted offline"} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				s := newFaulty()
				a, b := startNode(t, s), startNode(t, s)
				for _, d := range []string{"run", "run/checkpoint_best", unit, unit + "/sub"} {
					a.mkdir(d)
				}
				a.write("run/checkpoint_best/x", "x")
				a.write(unit+"/f", "f")
				a.write(unit+"/g", "g")
				a.write(unit+"/sub/h", "h")
				a.wait()
				if how == "local" {
					b.walkTo(unit + "/f")
					b.read(unit + "/f")
				}
				if how == "restarted offline" {
					b.walkTo(unit + "/sub/h")
					b.names(unit)
					b.walkTo(to)
					s.Offline(false)
					defer s.Online()
				}
				b.rename(unit+"/f", to)
				if how == "restarted" || how == "restarted offline" {
					b.restart()
				}
				s.Online()
				b.wait()
				if got := get(t, s, to); got != "f" {
					t.Errorf("%s: %q", to, got)
				}
				showsAll(t, s, unit, "g sub")
				b.rename(unit+"/sub", "run/out")
				b.wait()
				if got := get(t, s, "run/out/h"); got != "h" {
					t.Errorf("run/out/h: %q", got)
				}
				showsAll(t, s, unit, "g")
			})
		}
	}
}

// Two checkpoints that exchange members wait for each other's copies, not for each other.
func TestCheckpointsThatExchangeMembersAreCommitted(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	a.mkdir("run")
	for i := range 2 {
		unit := fmt.Sprintf("run/checkpoint_00000%d", i)
		a.mkdir(unit)
		a.write(unit+"/f", fmt.Sprint("f", i))
		a.write(unit+fmt.Sprint("/g", i), fmt.Sprint("g", i))
	}
	a.wait()
	b.rename("run/checkpoint_000000/g0", "run/checkpoint_000001/g0")
	b.rename("run/checkpoint_000001/g1", "run/checkpoint_000000/g1")
	b.wait()
	showsAll(t, s, "run/checkpoint_000000", "f g1")
	showsAll(t, s, "run/checkpoint_000001", "f g0")
	for p, want := range map[string]string{"run/checkpoint_000000/g1": "g1", "run/checkpoint_000001/g0": "g0"} {
		if got := get(t, s, p); got != want {
			t.Errorf("%s: %q", p, got)
		}
	}
}

// The object of the old name is there until the new one is, and until the manifest says
// that it is gone.
func TestRenamedOutOfACheckpointTheOldNameGoesLast(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000000"
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	a.mkdir("run")
	a.mkdir(unit)
	a.write(unit+"/f", big(1, 2<<20))
	a.write(unit+"/g", "g")
	a.wait()
	h := s.Hold(backend.OpCopy, 1)
	b.rename(unit+"/f", "run/f")
	<-h.Reached()
	if got := objects(t, s); got != unit+"/f "+unit+"/g" {
		t.Errorf("before the copy: %s", got)
	}
	d := s.Hold(backend.OpDelete, 1)
	h.Release()
	<-d.Reached()
	if got := objects(t, s); got != unit+"/f "+unit+"/g run/f" {
		t.Errorf("before the deletion: %s", got)
	}
	own := ".trainfs/v1/units/" + unit + "/" + b.Node()
	if got := fmt.Sprint(allKeys(t, s)); !strings.Contains(got, own+".json") || !strings.Contains(got, own+".open") {
		t.Errorf("before the deletion: %s", got)
	}
	d.Release()
	b.wait()
	showsAll(t, s, unit, "g")
}

// What is renamed out of a checkpoint while that is published does not stay there.
func TestRenamedOutOfACheckpointThatIsPublishedItIsNotThereTwice(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000000"
	for _, op := range []string{backend.OpPut, backend.OpPublishStage, backend.OpDelete} {
		t.Run(op, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
			nth := 1
			if op == backend.OpPut {
				nth = 3 // after the marker, which may come at any time now, and the manifest
			}
			h := s.Hold(op, nth)
			n.mkdir("run")
			n.mkdir(unit)
			n.write(unit+"/f", big(1, 2<<20))
			n.write(unit+"/g", "g")
			n.up.Commit(ctx, []string{""})
			<-h.Reached()
			n.rename(unit+"/f", "run/f")
			n.rename(unit+"/g", "run/g")
			n.write(unit+"/k", "k")
			h.Release()
			n.up.Commit(ctx, []string{""})
			eventually(t, "committed", func() bool {
				n.up.Commit(ctx, []string{""})
				return n.up.pending([]string{""}).Done
			})
			if got := objects(t, s); got != unit+"/k run/f run/g" {
				t.Errorf("objects: %s", got)
			}
			showsAll(t, s, unit, "k")
			if got := n.names(unit); got != "k" {
				t.Errorf("it shows %q", got)
			}
		})
	}
}

// A clean copy of what another node has moved away, or deleted, is not renamed along with its
// directory: under the new name it would go up again.
func TestFileThatAnotherNodeHasMovedAwayDoesNotComeBackWithARename(t *testing.T) {
	t.Parallel()
	store := newFaulty()
	a, b := startNode(t, store), startNode(t, store)
	a.mkdir("run")
	a.mkdir("run/t2")
	a.mkdir("run/t2/checkpoint_000000")
	a.mkdir("run/t2/checkpoint_000000/sub")
	a.write("run/t2/checkpoint_000000/f0", "f0")
	a.write("run/t2/checkpoint_000000/sub/f2", "f2")
	a.write("run/t2/notes", "notes")
	a.wait()
	eventually(t, "the other node sees it", func() bool { return !b.missing("run/t2/checkpoint_000000/sub/f2") })
	for old, new := range map[string]string{"run/t2/checkpoint_000000/sub/f2": "run/c", "run/t2/notes": "run/notes"} {
		if err := b.Rename(ctx, old, new, 0); err != nil {
			t.Fatal(err)
		}
	}
	b.wait()
	if err := a.Rename(ctx, "run/t2", "run/t1", 0); err != nil {
		t.Fatal(err)
	}
	a.wait()
	want := "run/c run/notes run/t1/checkpoint_000000/f0"
	if got := objects(t, store); got != want {
		t.Errorf("the store has %s, want %s", got, want)
	}
}
