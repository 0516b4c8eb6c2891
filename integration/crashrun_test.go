package integration

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The crash test runs by make crash.
var (
	killsFlag = flag.Int("kills", 0, "random kills of the crash test, half of them on each store")
	crashTime = flag.Duration("crash.time", 25*time.Second, "most time for random kills, and for named steps, each")
	crashSeed = flag.Uint64("crash.seed", 0, "what is random follows from this; 0: take one and print it")
	crashFast = flag.Bool("crash.fast", false, "kill a program without the race detector")
)

// tally is what a crash test has to show.
type tally struct {
	kills, closed, lost, torn int
	bytes, sent               int64
}

func (c *tally) String() string {
	return fmt.Sprintf("kills %d, files closed %d, bytes closed %d, bytes sent %d, promises broken %d, torn units kept back %d",
		c.kills, c.closed, c.bytes, c.sent, c.lost, c.torn)
}

// crash is one mount that is killed again and again.
type crash struct {
	t      *testing.T
	s      *store
	m      *mount
	b      *book
	rand   *rand.Rand
	ledger string
	round  int
	mark   int       // requests seen before this round
	log    []promise // all of them
	tally
}

// killable builds the program with its kill steps, once.
var killable = sync.OnceValues(func() (string, error) {
	program := filepath.Join(filepath.Dir(trainfs), "killable", "trainfs")
	flags := []string{"-tags", "killpoint"}
	if !*crashFast {
		flags = append(flags, "-race")
	}
	return program, buildTo(program, flags...)
})

func newCrash(t *testing.T, s *store, seed uint64, options ...string) *crash {
	program, err := killable()
	must(t, err)
	c := &crash{t: t, s: s, b: newBook(), rand: rand.New(rand.NewPCG(seed, 7)), ledger: filepath.Join(t.TempDir(), "ledger")}
	c.m = s.unmounted(t, append([]string{"settle=200ms", "part_size=5M"}, options...)...)
	c.m.program = program
	c.m.start()
	return c
}

// work starts a workload process; the func waits for its end.
func (c *crash) work(most time.Duration) (wait func()) {
	c.t.Helper()
	known := map[string]string{}
	for p, f := range c.b.files {
		if len(f.may) == 1 {
			known[p] = listed(f.may)[0]
		}
	}
	spec, err := json.Marshal(workload{Dir: c.m.dir, Ledger: c.ledger, Seed: c.rand.Uint64(), First: 100 * c.round, For: most, Known: known})
	must(c.t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(plainEnv(), c.m.env...), workloadEnv+"="+string(spec))
	output := startJob(c.t, cmd)
	return func() {
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			if err != nil {
				c.broken("workload: %v\n%s", err, output())
			}
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			c.t.Fatalf("P7: the workload hangs a minute after the kill")
		}
	}
}

func (c *crash) broken(format string, args ...any) {
	c.t.Helper()
	c.lost++
	text := fmt.Sprintf(format, args...)
	c.t.Errorf("round %d: %s%s", c.round, text, c.history(text))
}

// history is what the ledger says of the paths that a text names.
func (c *crash) history(text string) string {
	var b strings.Builder
	for _, p := range c.log {
		if p.Path != "" && (strings.Contains(text, p.Path) || p.To != "" && strings.Contains(text, p.To)) {
			fmt.Fprintf(&b, "\n\t%s %s %s %.8s", p.Op, p.Path, p.To, p.Hash)
		}
	}
	return b.String()
}

// killAtRandom is one round: work, kill, look, mount again, wait, look.
func (c *crash) killAtRandom() {
	c.t.Helper()
	c.round++
	d := c.m.daemon()
	most := time.Duration(20+c.rand.IntN(1500)) * time.Millisecond
	wait := c.work(most)
	// Most kills come while it works, some while what it did is on its way up.
	time.Sleep(time.Duration(c.rand.Float64() * 1.5 * float64(most)))
	d.signal(unix.SIGKILL)
	d.wait()
	c.kills++
	wait()
	c.afterDeath()
	c.m.start()
	if c.rand.IntN(8) == 0 { // and again while it recovers, or has just begun
		d := c.m.daemon()
		time.Sleep(time.Duration(c.rand.IntN(400)) * time.Millisecond)
		d.signal(unix.SIGKILL)
		d.wait()
		c.kills++
		c.m.start()
	}
	c.settle()
}

// afterDeath reads the ledger, and looks at the store as the kill has left it.
func (c *crash) afterDeath() {
	c.t.Helper()
	list := readLedger(c.t, c.ledger)
	c.log = append(c.log, list...)
	c.b.add(list)
	for _, text := range c.b.wrong {
		c.broken("%s", text)
	}
	c.b.wrong = nil
	s, err := c.s.snapshot()
	must(c.t, err)
	for _, text := range c.b.checkOrder(s) {
		c.broken("%s", text)
	}
}

// settle waits until everything is committed that can be, checks all of it, and clears away
// what is torn.
func (c *crash) settle() {
	c.t.Helper()
	torn := c.waitCommitted()
	c.checkNow(torn)
	if len(torn) > 0 {
		c.torn += len(torn)
		for unit := range torn {
			must(c.t, os.RemoveAll(c.m.path(unit)))
			for _, p := range c.b.below(unit) {
				c.b.file(p).is("")
			}
		}
		if left := c.waitCommitted(); len(left) > 0 {
			c.broken("still torn after their removal: %v", left)
		}
		c.checkNow(nil)
	}
	s, err := c.s.snapshot()
	must(c.t, err)
	c.b.settle(s.hashes)
	c.closed, c.bytes = c.b.closed, c.b.bytes
	c.checkSent()
}

// waitCommitted returns the torn units.
func (c *crash) waitCommitted() map[string]bool {
	c.t.Helper()
	r := run(c.t, c.m.env, trainfs, "wait", "-q", "--timeout", "60s", c.m.dir)
	torn := map[string]bool{}
	st := c.m.status()
	for _, u := range st.Units {
		if u.State == "torn" {
			torn[u.Path] = true
		}
	}
	if r.code != 0 && (r.code != 1 || len(torn) == 0) {
		text := fmt.Sprintf("%s\n%+v", r.output, st.Units)
		c.t.Fatalf("round %d: wait: exit code %d\n%s%s", c.round, r.code, text, c.history(text))
	}
	if st.LostFound > 0 {
		c.broken("I6: %d files were set aside, and nobody else writes here", st.LostFound)
	}
	return torn
}

func (c *crash) checkNow(torn map[string]bool) {
	c.t.Helper()
	s, err := c.s.snapshot()
	must(c.t, err)
	local := map[string]string{}
	for p, content := range tree(c.t, c.m.dir) {
		local[p] = sum(content)
	}
	for _, text := range c.b.checkAll(s, local, torn) {
		c.broken("%s", text)
	}
}

// checkSent fails if anything was sent in this round that nobody had touched.
func (c *crash) checkSent() {
	c.t.Helper()
	if c.s.proxy == nil {
		return
	}
	all := c.s.proxy.seen(func(r request) bool { return r.method == "PUT" || r.complete })
	for _, r := range all[c.mark:] {
		if strings.HasPrefix(r.key, ".trainfs/") {
			continue
		}
		if r.method == "PUT" {
			c.sent += r.bytes
		}
	}
	c.mark = len(all)
}

// thirdMount reads all of it on a node that has seen nothing of it.
func (c *crash) thirdMount() {
	c.t.Helper()
	m := c.s.mount(c.t)
	got := map[string]string{}
	for p, content := range tree(c.t, m.dir) {
		got[p] = sum(content)
	}
	for p, f := range c.b.files {
		if !isTemporary(p) && !f.may[got[p]] {
			c.broken("P8: a third mount reads %s with hash %q, want one of %q", p, got[p], listed(f.may))
		}
	}
	for p := range got {
		if c.b.files[p] == nil {
			c.broken("a third mount has %s, which nobody wrote", p)
		}
	}
	m.umount()
}

func seedOf(t *testing.T) uint64 {
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-crash.seed=%d", seed)
	return seed
}

// TestNothingIsLostAndNothingTornByRandomKills is P3, P4, P5 and P6.
func TestNothingIsLostAndNothingTornByRandomKills(t *testing.T) {
	if *killsFlag == 0 {
		t.Skip("it kills for minutes: see make crash")
	}
	eachStore(t, func(t *testing.T, s *store) {
		c := newCrash(t, s, seedOf(t))
		defer func() { t.Logf("%s: %s", t.Name(), &c.tally) }()
		for end := time.Now().Add(*crashTime); c.kills < (*killsFlag+1)/2 && time.Now().Before(end) && c.lost < 5; {
			c.killAtRandom()
			if c.round%20 == 0 {
				c.thirdMount()
			}
		}
		c.thirdMount()
	})
}
