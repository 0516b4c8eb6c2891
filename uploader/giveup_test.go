package uploader

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

const givenUp = "run/checkpoint_000001"

// half starts two nodes that have written in one checkpoint: a has published its part; b has not,
// and has written it longer ago than a deletion may seem to be older than it is.
func half(t *testing.T, s backend.Store) (a, b *node) {
	t.Helper()
	return halfOn(t, s, s)
}

// halfOn is half with a way to the store of its own for b.
func halfOn(t *testing.T, s, ofB backend.Store) (a, b *node) {
	t.Helper()
	a = startNode(t, s)
	b = startNode(t, ofB, func(c *cache.Config) { c.Settle = time.Hour })
	for _, n := range []*node{a, b} {
		n.mkdir("run")
		n.mkdir(givenUp)
	}
	a.write(givenUp+"/rank0", "a")
	b.mkdir(givenUp + "/sub")
	b.write(givenUp+"/sub/rank1", "b")
	a.wait(givenUp)
	eventually(t, "b's open marker", func() bool { return len(b.MarkedFor(clockGrain+wordTakes)) == 1 })
	return a, b
}

// nothingOf waits until the store has nothing of the checkpoint any more, word and marker included.
func nothingOf(t *testing.T, s backend.Store) {
	t.Helper()
	eventually(t, "nothing of it is left in the store", func() bool { return !strings.Contains(strings.Join(allKeys(t, s), " "), givenUp) })
}

// P3: num_to_keep deletes a checkpoint on one node while another still has its part to publish:
// that would appear alone, and nobody would delete it again.
func TestDeletionTakesWhatAnotherNodeHasNotPublished(t *testing.T) {
	for how, then := range map[string]func(b *node){
		"that looks for its marker": func(b *node) {},
		"that commits":              func(b *node) { must(b, b.commitAll()) },
		"that starts again":         func(b *node) { b.restart() },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			a, b := half(t, s)
			a.removeAll(givenUp, "rank0")
			must(a, a.commitAll())
			then(b)
			eventually(t, "b's part is gone from b", func() bool { return b.missing(givenUp) })
			nothingOf(t, s)
			must(b, b.commitAll())
			nothingOf(t, s)
			b.restart()
			if !b.missing(givenUp) || len(b.up.Status().Units) > 0 {
				t.Error("it is back after a restart")
			}
			// The name is free again.
			b.mkdir(givenUp)
			b.write(givenUp+"/rank1", "new")
			must(b, b.commitAll())
			eventually(t, "a sees the new one", func() bool { return !a.missing(givenUp) && a.names(givenUp) == "rank1" })
			nothingBad(t, s)
		})
	}
}

func nothingBad(t *testing.T, s backend.Store) {
	t.Helper()
	c := startNode(t, s)
	defer c.close()
	if _, r := c.verify(""); r.Bad() != 0 || r.Extra != 0 {
		t.Errorf("verify: %+v", r)
	}
}

// P5: what a program writes after the deletion is of a checkpoint that is made anew, be it that
// the deletion comes to the store long after.
func TestDeletionTakesNothingThatWasWrittenSince(t *testing.T) {
	for how, write := range map[string]func(t *testing.T, b *node) (done func()){
		"closed": func(t *testing.T, b *node) func() { b.write(givenUp+"/rank1", "new"); return func() {} },
		"closed before a start": func(t *testing.T, b *node) func() {
			b.write(givenUp+"/rank1", "new")
			b.restart()
			return func() {}
		},
		"open": func(t *testing.T, b *node) func() {
			h := b.open(givenUp + "/rank1")
			return func() {
				if _, err := h.File().WriteString("new"); err != nil {
					t.Fatal(err)
				}
				b.closeHandle(h)
			}
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			a, b := half(t, s)
			held := s.Hold(backend.OpDelete, 1)
			a.removeAll(givenUp, "rank0")
			<-held.Reached() // it is at the store, or in an outage
			done := write(t, b)
			held.Release()
			must(a, a.commitAll())
			eventually(t, "b has seen it", func() bool {
				keys := strings.Join(allKeys(t, s), " ")
				return !strings.Contains(keys, layout.DeletedKey(givenUp, b.Node())) && strings.Contains(keys, layout.OpenKey(givenUp, b.Node()))
			})
			done()
			must(b, b.commitAll())
			eventually(t, "a sees b's part", func() bool { return !a.missing(givenUp) && a.names(givenUp) == "rank1 sub" })
			if got := a.read(givenUp + "/rank1"); got != "new" {
				t.Errorf("it is %q", got)
			}
		})
	}
}

// P5: a checkpoint that is renamed takes what others write in it along, as far as anybody knows.
func TestRenameTakesNothingOfOtherNodes(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := half(t, s)
	a.rename(givenUp, "run/checkpoint_000002")
	must(a, a.commitAll())
	must(b, b.commitAll())
	if got := objects(t, s); !strings.Contains(got, givenUp+"/sub/rank1") {
		t.Errorf("the store has %s", got)
	}
}

// P5: a file with another name, or that came from elsewhere, is not only of the checkpoint.
func TestDeletionTakesNothingThatHasAnotherName(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := half(t, s)
	if _, err := b.Link(ctx, givenUp+"/sub/rank1", "run/best"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that is long ago", func() bool { return len(b.MarkedFor(2*(clockGrain+wordTakes))) == 1 })
	a.removeAll(givenUp, "rank0")
	must(a, a.commitAll())
	must(b, b.commitAll())
	if b.read("run/best") != "b" || b.read(givenUp+"/sub/rank1") != "b" {
		t.Error("it is gone")
	}
}

// P3: a trial that is tried again makes the directory anew, and does not get what a node has left
// of the attempt before.
func TestCheckpointThatIsMadeAnewTakesNothingOfTheOneBefore(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := half(t, s)
	tracker := s.Hold(backend.OpDelete, 1) // the directory is there again before its deletion
	a.removeAll(givenUp, "rank0")
	a.mkdir(givenUp)
	a.write(givenUp+"/rank0", "anew")
	tracker.Release()
	must(a, a.commitAll())
	must(b, b.commitAll())
	eventually(t, "only the new one is there", func() bool {
		keys := strings.Join(allKeys(t, s), " ")
		return strings.Contains(keys, givenUp+"/rank0") && !strings.Contains(keys, "rank1") && !strings.Contains(keys, ".open") && !strings.Contains(keys, ".deleted")
	})
	if got := b.names(givenUp); got != "rank0" {
		t.Errorf("b shows %q", got)
	}
}

// The word for a node that is dead stays until it is collected.
func TestGcTakesTheWordForADeadNode(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := half(t, s)
	b.close()
	a.removeAll(givenUp, "rank0")
	must(a, a.commitAll())
	left := func() (out []string) {
		for _, k := range allKeys(t, s) {
			if strings.Contains(k, givenUp) {
				out = append(out, k)
			}
		}
		return out
	}
	if got := left(); len(got) != 1 || !strings.HasSuffix(got[0], ".deleted") {
		t.Fatalf("left: %q", got)
	}
	if _, err := CollectGarbage(ctx, s, GarbageOptions{OlderThan: time.Hour}, func(g Garbage) { t.Errorf("too young: %+v", g) }); err != nil {
		t.Fatal(err)
	}
	if _, err := CollectGarbage(ctx, s, GarbageOptions{OlderThan: time.Hour, Now: time.Now().Add(2 * time.Hour)}, func(Garbage) {}); err != nil {
		t.Fatal(err)
	}
	if got := left(); len(got) != 0 {
		t.Errorf("left: %q", got)
	}
}

// P5: the deletion waits long between the removal and the word: in a queue, or because the directory was
// made again and its commit takes long. What is written meanwhile is younger than the removal.
func TestDeletionThatIsLateTakesNothingThatWasWrittenSince(t *testing.T) {
	const wait = 2 * (clockGrain + wordTakes)
	for how, remove := range map[string]func(t *testing.T, s *faulty.Store, a, b *node) (then func()){
		"made again": func(t *testing.T, s *faulty.Store, a, b *node) func() {
			deleting, staging := s.Hold(backend.OpDelete, 1), s.Hold(backend.OpBeginStage, 1)
			a.removeAll(givenUp, "rank0")
			a.mkdir(givenUp)
			a.write(givenUp+"/rank0", big(1, 3<<20))
			deleting.Release()
			<-staging.Reached()
			return staging.Release
		},
		"in a queue": func(t *testing.T, s *faulty.Store, a, b *node) func() {
			a.mkdir("run/checkpoint_000000")
			a.write("run/checkpoint_000000/f", "f")
			a.wait()
			deleting := s.Hold(backend.OpDelete, 1)
			a.mkdir("run/checkpoint_000009")
			h := a.open("run/checkpoint_000009/f")
			a.write("run/latest", "checkpoint_000009") // holds both back: they come in one list
			a.removeAll("run/checkpoint_000000", "f")
			a.removeAll(givenUp, "rank0")
			a.closeHandle(h)
			<-deleting.Reached()
			return deleting.Release
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			a, b := half(t, s)
			then := remove(t, s, a, b)
			b.write(givenUp+"/sub/rank1", "new")
			late := time.Now().Add(wait)
			eventually(t, "it is late", func() bool { return time.Now().After(late) })
			then()
			must(a, a.commitAll())
			must(b, b.commitAll())
			if b.missing(givenUp+"/sub/rank1") || !strings.Contains(objects(t, s), givenUp+"/sub/rank1") {
				t.Errorf("it is lost; the store has %s", objects(t, s))
			}
		})
	}
}

// P3: half of what is given up, because a kill or an error came in between, is not published.
func TestWhatIsLeftOfAPartThatWasGivenUpIsTorn(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := half(t, s)
	b.write(givenUp+"/rank2", "b")
	stuck := b.cfg.Dir + "/tree/" + givenUp + "/sub/rank1"
	if out, err := exec.Command("chattr", "+i", stuck).CombinedOutput(); err != nil {
		t.Skipf("the file system has no immutable files: %s", out)
	}
	free := func() { exec.Command("chattr", "-i", stuck).Run() }
	t.Cleanup(free)
	eventually(t, "that is long ago", func() bool { return len(b.MarkedFor(3*(clockGrain+wordTakes))) == 1 })
	a.removeAll(givenUp, "rank0")
	must(a, a.commitAll())
	torn := func() bool {
		must(b, b.up.Commit(ctx, []string{""}))
		u, ok := b.unit(givenUp)
		return ok && u.State == cache.StateTorn
	}
	eventually(t, "it is torn", torn)
	b.restart()
	eventually(t, "it is torn after a start", torn)
	if got := objects(t, s); strings.Contains(got, "rank") {
		t.Errorf("the store has %s", got)
	}
}

// P3: a deletion that comes while another node publishes its part has taken some of it, and does
// not know of what comes after it: that part goes on, be it that an attempt fails or the daemon dies.
func TestPartThatIsBeingPublishedIsNotGivenUp(t *testing.T) {
	for how, then := range map[string]func(b *node){
		"the attempt fails": func(b *node) {},
		"the daemon dies":   func(b *node) { b.restart() },
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := mem.New()
			last := givenUp + "/sub/rank2"
			var once sync.Once
			reached, released := make(chan struct{}), make(chan struct{})
			release := sync.OnceFunc(func() { close(released) })
			ofB := backend.Intercept(s, func(ctx context.Context, op, key string, next func(context.Context) error) (err error) {
				if op == backend.OpPut && strings.HasPrefix(key, givenUp+"/sub/") {
					once.Do(func() {
						close(reached)
						err = errors.New("the answer is lost")
					})
					<-released
				}
				return errors.Join(next(ctx), err)
			})
			a, b := halfOn(t, s, ofB)
			t.Cleanup(release)
			b.write(last, "b")
			eventually(t, "that is long ago", func() bool { return len(b.MarkedFor(3*(clockGrain+wordTakes))) == 1 })
			committed := make(chan error)
			go func() { committed <- b.up.Commit(ctx, []string{""}) }()
			<-reached
			a.removeAll(givenUp, "rank0")
			must(a, a.commitAll())
			release()
			<-committed
			then(b)
			must(b, b.commitAll())
			got := objects(t, s)
			if !strings.Contains(got, givenUp+"/sub/rank1") || !strings.Contains(got, last) || b.missing(last) {
				t.Errorf("the store has %s", got)
			}
			nothingBad(t, s)
		})
	}
}

// P3: what a kill has left half written goes with the deletion as well. It would keep its open
// marker, and hide what is made anew under that name.
func TestDeletionTakesATornPartAfterAStart(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := half(t, s)
	h := b.open(givenUp + "/rank2")
	if _, err := h.File().WriteString("half"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that is long ago", func() bool { return len(b.MarkedFor(3*(clockGrain+wordTakes))) == 1 })
	b.close() // the file is open: as after a kill
	h.File().Close()
	a.removeAll(givenUp, "rank0")
	must(a, a.commitAll())
	b.start()
	nothingOf(t, s)
	eventually(t, "b's part is gone from b", func() bool { return b.missing(givenUp) })
	a.mkdir(givenUp)
	a.write(givenUp+"/rank0", "new")
	must(a, a.commitAll())
	if c := startNode(t, s); c.missing(givenUp) {
		t.Error("what a has made anew is hidden")
	}
}

// Two nodes that delete a checkpoint at the same time leave no word.
func TestTwoDeletionsLeaveNothing(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	for _, n := range []*node{a, b} {
		n.mkdir("run")
		n.mkdir(givenUp)
	}
	a.write(givenUp+"/rank0", "a")
	b.write(givenUp+"/rank1", "b")
	a.wait()
	b.wait()
	held := s.Hold(backend.OpDelete, 1)
	defer held.Release()
	b.removeAll(givenUp, "rank0", "rank1")
	<-held.Reached() // its marker is there, and says deleting
	a.removeAll(givenUp, "rank0", "rank1")
	must(a, a.commitAll())
	held.Release()
	must(b, b.commitAll())
	nothingOf(t, s)
}

// A store that is too slow for the age in a word gets none, and the deletion goes on.
func TestDeletionDoesNotWaitForASlowWord(t *testing.T) {
	t.Parallel()
	s := mem.New()
	var puts atomic.Int32
	slow := backend.Intercept(s, func(ctx context.Context, op, key string, next func(context.Context) error) error {
		if op == backend.OpPut && strings.HasSuffix(key, ".deleted") {
			time.Sleep(time.Duration(puts.Add(1)) * 1100 * time.Millisecond) // a slow store
		}
		return next(ctx)
	})
	a, b := startNode(t, slow), startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	for _, n := range []*node{a, b} {
		n.mkdir("run")
		n.mkdir(givenUp)
	}
	a.write(givenUp+"/rank0", "a")
	b.write(givenUp+"/rank1", "b")
	a.wait(givenUp)
	eventually(t, "b's open marker", func() bool { return len(b.MarkedFor(0)) == 1 })
	a.removeAll(givenUp, "rank0")
	must(a, a.commitAll())
	if puts.Load() > wordTries {
		t.Errorf("it was put %d times", puts.Load())
	}
}

// P5: a directory that looked empty to the program that removed it has no part that it has deleted.
func TestRemovalOfADirectoryThatLooksEmptyTakesNothingOfOthers(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour }), startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	for _, n := range []*node{a, b} {
		n.mkdir("run")
		n.mkdir(givenUp)
	}
	b.write(givenUp+"/rank1", "b")
	a.write(givenUp+"/probe", "a")
	eventually(t, "both open markers", func() bool {
		return len(a.MarkedFor(0)) == 1 && len(b.MarkedFor(2*(clockGrain+wordTakes))) == 1
	})
	a.removeAll(givenUp, "probe")
	must(a, a.commitAll())
	must(b, b.commitAll())
	if got := objects(t, s); !strings.Contains(got, givenUp+"/rank1") {
		t.Errorf("the store has %q", got)
	}
}
