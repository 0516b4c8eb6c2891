package uploader

import (
	"context"
	testflag "flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

var (
	stressTime = testflag.Duration("stress.time", 3*time.Second, "how long TestNamesChangeWhileTheirUploadsAreUnderWay changes names")
	stressSeed = testflag.Uint64("stress.seed", 0, "what it draws follows from this, but not when uploads end; 0: take one and print it")
)

// stress is a program that changes a few names of one node, again and again, while a slow store
// takes and gives what was there before.
type stress struct {
	t     *testing.T
	n     *node
	r     *rand.Rand
	files map[string]string
	calls []string // the last ones
	seq   int
}

var (
	stressDirs  = []string{"run", "run/checkpoint_000001", "run/checkpoint_000002", "run/logs"}
	stressNames = []string{"a", "b", "c"}
)

func (s *stress) note(format string, args ...any) {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
	if len(s.calls) > 200 {
		s.calls = s.calls[1:]
	}
}

func (s *stress) any() string {
	return stressDirs[s.r.IntN(len(stressDirs))] + "/" + stressNames[s.r.IntN(len(stressNames))]
}

// of is a file that is there, if one is.
func (s *stress) of() (string, bool) {
	all := slices.Sorted(maps.Keys(s.files))
	if len(all) == 0 {
		return "", false
	}
	return all[s.r.IntN(len(all))], true
}

// ensure makes a directory, and those above it.
func (s *stress) ensure(dir string) {
	if dir == "." || s.n.walkTo(dir) == nil {
		return
	}
	s.ensure(path.Dir(dir))
	s.n.mkdir(dir)
}

func (s *stress) step() {
	p, there := s.of()
	what := s.r.IntN(20)
	switch {
	case what < 6 || !there:
		p = s.any()
		s.seq++
		content := fmt.Sprintf("%d:", s.seq) + big(byte(s.seq), s.r.IntN(3000))
		s.note("write %s %d", p, s.seq)
		s.ensure(path.Dir(p))
		_ = s.n.walkTo(p)
		s.n.write(p, content)
		s.files[p] = content
	case what < 11:
		to := s.any()
		if to == p {
			return
		}
		s.note("rename %s %s", p, to)
		s.ensure(path.Dir(to))
		must(s.n, s.n.walkTo(p))
		_ = s.n.walkTo(to)
		must(s.n, s.n.Rename(ctx, p, to, 0))
		s.files[to] = s.files[p]
		delete(s.files, p)
	case what < 13:
		s.note("unlink %s", p)
		must(s.n, s.n.walkTo(p))
		must(s.n, s.n.Unlink(ctx, p))
		delete(s.files, p)
	case what < 16:
		s.note("evict")
		if _, _, err := s.n.Evict(ctx, []string{""}); err != nil {
			s.t.Fatal(err)
		}
	case what < 18:
		s.check(p)
	case what < 19:
		s.changeDir()
	case s.r.IntN(10) == 0:
		s.note("restart")
		s.n.restart()
	default:
		time.Sleep(time.Duration(s.r.IntN(20)) * time.Millisecond)
	}
}

// changeDir renames a directory to a name that is free, or removes it with all that is in it.
func (s *stress) changeDir() {
	from, to := stressDirs[1+s.r.IntN(len(stressDirs)-1)], stressDirs[1+s.r.IntN(len(stressDirs)-1)]
	var inside []string
	for p := range s.files {
		switch path.Dir(p) {
		case from:
			inside = append(inside, p)
		case to:
			return
		}
	}
	if from == to || len(inside) == 0 {
		return
	}
	slices.Sort(inside)
	must(s.n, s.n.walkTo(from))
	if s.r.IntN(2) == 0 {
		s.note("rm -r %s", from)
		for _, p := range inside {
			must(s.n, s.n.walkTo(p))
			must(s.n, s.n.Unlink(ctx, p))
			delete(s.files, p)
		}
		must(s.n, s.n.Rmdir(ctx, from))
		return
	}
	if s.n.walkTo(to) == nil {
		s.note("rmdir %s", to)
		must(s.n, s.n.Rmdir(ctx, to))
	}
	s.note("rename %s %s", from, to)
	must(s.n, s.n.Rename(ctx, from, to, 0))
	for _, p := range inside {
		s.files[to+"/"+path.Base(p)] = s.files[p]
		delete(s.files, p)
	}
}

func (s *stress) check(p string) {
	s.t.Helper()
	s.note("read %s", p)
	must(s.n, s.n.walkTo(p))
	if got := s.n.read(p); got != s.files[p] {
		s.t.Errorf("%s reads %s, was written with %s", p, short(got), short(s.files[p]))
	}
}

// P5, P8: files are written, renamed onto each other, deleted, evicted and read while what was there
// before is on its way to the store or from it.
func TestNamesChangeWhileTheirUploadsAreUnderWay(t *testing.T) {
	seed := *stressSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-stress.seed=%d", seed)
	store := newFaulty()
	slow := backend.Intercept(store, func(ctx context.Context, _, _ string, next func(context.Context) error) error {
		sleep(ctx, time.Duration(rand.IntN(4000))*time.Microsecond)
		err := next(ctx)
		sleep(ctx, time.Duration(rand.IntN(4000))*time.Microsecond)
		return err
	})
	s := &stress{t: t, r: rand.New(rand.NewPCG(seed, 1)), files: map[string]string{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last calls:\n%s", strings.Join(s.calls, "\n"))
		}
	})
	s.n = startNode(t, slow, func(c *cache.Config) {
		c.Settle, c.SyncPeriod, c.ListTTL = 3*time.Millisecond, 5*time.Millisecond, time.Minute
	})
	for end := time.Now().Add(*stressTime); time.Now().Before(end) && !t.Failed(); {
		for range 20 {
			s.step()
		}
		if s.r.IntN(10) == 0 {
			s.compare(store)
		}
	}
	s.compare(store)
	t.Logf("%d files written", s.seq)
}

// compare has everything committed, and the store compared.
func (s *stress) compare(store backend.Store) {
	s.t.Helper()
	s.note("compare")
	must(s.n, s.n.commitAll())
	for p, want := range s.files {
		if _, err := store.Head(ctx, p); err != nil {
			s.t.Errorf("the store has no %s: %v", p, err)
		} else if got := get(s.t, store, p); got != want {
			s.t.Errorf("the store has %s as %s, want %s", short(got), p, short(want))
		}
	}
	for _, key := range strings.Fields(objects(s.t, store)) {
		if _, ok := s.files[key]; !ok && !strings.HasSuffix(key, "/") {
			s.t.Errorf("the store has %s, which is deleted", key)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(s.files)) {
		s.check(p)
	}
}
