package integration

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend/storetest/versitygw"
	"github.com/trainfs/trainfs/cache/killpoint"
)

var (
	stepsFlag = flag.String("crash.steps", "publish-object,rename-tree,recover-torn", "kill at every crossing of these named steps: all, or a list with commas")
	stepsMost = flag.Int("crash.crossings", 1, "at most so many crossings of one step")
)

// stepCase is a kill at the n-th crossing of a step. after is where the daemon died before
// that, for the steps of a start: there is more than nothing to be recovered then.
type stepCase struct {
	after string
	step  killpoint.Step
	n     int
}

func (k stepCase) String() string {
	name := fmt.Sprintf("%s:%d", k.step, k.n)
	if k.after != "" {
		name += " after " + k.after
	}
	return name
}

// of a start are the steps that are crossed while nobody can work yet.
func ofAStart(s killpoint.Step) bool { return strings.HasPrefix(string(s), "recover-") }

// beforeAStart is where a daemon dies so that a start has something to do: half of each
// protocol.
var beforeAStart = []string{
	"create-file:5", "close-noted:6", "close-version:1", "seal-journal:1", "stage-part:1", "publish-object:2", "publish-shown:1",
	"tracker-put:1", "plain-put:2", "evict-file:2", "hydrate-record:1", "rename-planted:2", "rename-tree:2", "unlink-tomb:1", "rmdir-tree:1",
}

// killAtStep is the life of one case: the daemon dies at the step while a workload runs; the
// next one does again what was not finished, and dies at the same step once more, or when all
// is done; the third lives. It tells whether the step was crossed so often.
func (c *crash) killAtStep(k stepCase) (crossed bool) {
	c.t.Helper()
	first, second := fmt.Sprintf("%s:%d", k.step, k.n), string(k.step)+":1"
	if k.after != "" {
		first, second = k.after, first
	}
	c.script = everyStep
	if c.startDyingAt(first) {
		c.work(2 * time.Minute)()
		crossed = !c.b.done
		c.endLife(crossed)
		c.look()
	}
	if k.after != "" || crossed {
		again := c.startDyingAt(second)
		if again {
			again = c.goesUpAlive()
			c.endLife(!again)
		}
		if k.after != "" {
			crossed = !again
		}
		c.look()
	}
	c.start()
	return crossed
}

// startDyingAt mounts with a daemon that dies at a crossing of a step. It is false if it died
// before the mount was there.
func (c *crash) startDyingAt(at string) bool {
	c.t.Helper()
	c.s.nextLife()
	env := c.m.env
	c.m.env = append(slices.Clone(env), killpoint.Env+"="+at)
	r := c.m.tryStart()
	c.m.env = env
	if r.code != 0 {
		if !strings.Contains(r.output, "killed") {
			c.t.Fatalf("mount: exit code %d\n%s", r.code, r.output)
		}
		c.kills++
		return false
	}
	pid := daemonOf(c.t, c.m.dir)
	if pid == 0 { // it has died since
		c.kills++
		return false
	}
	c.d = process(c.t, pid)
	return true
}

// endLife waits for the end of a daemon that is dying, and kills another one.
func (c *crash) endLife(dying bool) {
	c.t.Helper()
	if !dying && !c.d.ended() {
		c.d.signal(unix.SIGKILL)
	}
	c.d.wait()
	c.kills++
}

// goesUpAlive waits until all is committed, and tells whether the daemon is alive then.
func (c *crash) goesUpAlive() bool {
	c.t.Helper()
	r := run(c.t, c.m.env, trainfs, "wait", "-q", "--timeout", patience.String(), c.m.dir)
	if r.code == 0 || r.code == 1 && strings.Contains(r.output, "torn") {
		return !c.d.ended()
	}
	for range 500 { // it is not quite dead when its last client hears of it
		if c.d.ended() {
			return false
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.t.Fatalf("wait, in the second life: exit code %d\n%s", r.code, r.output)
	return false
}

// stepsToKillAt are those that were asked for.
func stepsToKillAt(t *testing.T) []killpoint.Step {
	if *stepsFlag == "all" {
		return slices.Clone(killpoint.Steps)
	}
	var list []killpoint.Step
	for name := range strings.SplitSeq(*stepsFlag, ",") {
		if !slices.Contains(killpoint.Steps, killpoint.Step(name)) {
			t.Fatalf("-crash.steps: no step is called %q", name)
		}
		list = append(list, killpoint.Step(name))
	}
	return list
}

// stepRun kills at steps, in rounds: at the first crossing of each, at the second, and so on,
// until it has been clean once.
type stepRun struct {
	end     time.Time
	mu      sync.Mutex
	open    []killpoint.Step       // not clean yet
	crossed map[killpoint.Step]int // so often
	cases   int
	kind    string // of store
	tally
}

func (r *stepRun) crossing(k stepCase, crossed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case crossed:
		r.crossed[k.step]++
	case k.after == "":
		r.open = slices.DeleteFunc(r.open, func(s killpoint.Step) bool { return s == k.step })
	}
}

func (r *stepRun) note(c *crash) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cases++
	r.kind = c.s.kind()
	r.add(c.tally)
}

// round is the n-th crossing of every step that is not clean yet.
func (r *stepRun) round(n int) (cases []stepCase) {
	for _, s := range r.open {
		switch {
		case !ofAStart(s):
			cases = append(cases, stepCase{step: s, n: n})
		case n <= len(beforeAStart):
			cases = append(cases, stepCase{after: beforeAStart[n-1], step: s, n: 1})
		}
	}
	return cases
}

// TestNothingIsLostAndNothingTornByKillsAtEveryStep is P3, P4, P5 and P6.
func TestNothingIsLostAndNothingTornByKillsAtEveryStep(t *testing.T) {
	t.Parallel()
	server := versitygw.Start(t)
	for name, open := range map[string]func(*testing.T, string) *store{
		"file": func(t *testing.T, _ string) *store { return fileStore(t) },
		"s3":   func(t *testing.T, bucket string) *store { return s3StoreIn(t, server, bucket) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &stepRun{open: stepsToKillAt(t), crossed: map[killpoint.Step]int{}, end: time.Now().Add(*crashTime)}
			all := slices.Clone(r.open)
			n := 1
			for ; n <= *stepsMost && len(r.round(n)) > 0 && time.Now().Before(r.end) && r.lost < 5; n++ {
				t.Run(fmt.Sprint(n), func(t *testing.T) { r.kill(t, n, open) })
			}
			for _, s := range all {
				if r.crossed[s] == 0 && r.lost == 0 && time.Now().Before(r.end) {
					t.Errorf("the workload never crosses %s", s)
				}
			}
			figure("named steps, %s: steps %d of %d, at up to %d crossings, cases %d, not yet clean then %v: %s",
				r.kind, len(r.crossed), len(all), n-1, r.cases, r.open, &r.tally)
		})
	}
}

// kill does a round: all cases of it, some at the same time, each on a store and a mount of
// its own.
func (r *stepRun) kill(t *testing.T, n int, open func(*testing.T, string) *store) {
	program, err := killable()
	must(t, err)
	for i, k := range r.round(n) {
		t.Run(k.String(), func(t *testing.T) {
			t.Parallel()
			if time.Now().After(r.end) {
				return
			}
			c := newCrash(t, open(t, fmt.Sprintf("b%d-%d", n, i)), 1)
			c.m.program = program
			defer r.note(c) // also of a case that ends early
			crossed := c.killAtStep(k)
			c.settle()
			c.thirdMount()
			c.collectGarbage()
			r.crossing(k, crossed)
		})
	}
}
