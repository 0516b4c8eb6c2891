package integration

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// tally is what a crash test has to show.
type tally struct {
	kills, closed, torn int
	bytes, sent         int64

	lost    int // promises broken, all of them
	missing int // of which P5: something that was closed is not there
	half    int // of which P6: something half written is published
}

func (c *tally) add(o tally) {
	c.kills, c.closed, c.torn = c.kills+o.kills, c.closed+o.closed, c.torn+o.torn
	c.bytes, c.sent = c.bytes+o.bytes, c.sent+o.sent
	c.lost, c.missing, c.half = c.lost+o.lost, c.missing+o.missing, c.half+o.half
}

func (c *tally) count(wrong string) {
	c.lost++
	switch {
	case strings.HasPrefix(wrong, "P5"):
		c.missing++
	case strings.HasPrefix(wrong, "P6"):
		c.half++
	}
}

func (c *tally) String() string {
	return fmt.Sprintf("kills %d, files closed %d, bytes closed %d, bytes sent %d, lost %d, torn published %d, other promises broken %d, torn units kept back %d",
		c.kills, c.closed, c.bytes, c.sent, c.missing, c.half, c.lost-c.missing-c.half, c.torn)
}

// crash is one mount, the workloads that run on it, and the book of what they were promised.
// Whoever kills its daemon, cuts the power or makes the store fail does it in rounds:
//
//	wait := c.work(time.Second) // a workload process has begun
//	…                           // c.kill(), or another misfortune
//	wait()                      // it has ended, and its ledger is in the book
//	c.look()                    // the raw store at this moment keeps P3 and P4
//	c.start()                   // if the daemon is dead
//	c.settle()                  // all that goes up has gone; store and mount are as promised
type crash struct {
	t      *testing.T
	s      *store
	m      *mount
	d      *daemon
	b      *book
	rand   *rand.Rand
	ledger string
	round  int
	script string    // of the workload; "": what a job does, at random
	mark   int       // requests seen before this round
	log    []promise // all of them

	killedAt time.Time

	mayAside bool // damaged copies are set aside, as after a power cut
	tally
}

func newCrash(t *testing.T, s *store, seed uint64, options ...string) *crash {
	c := &crash{t: t, s: s, b: newBook(), rand: rand.New(rand.NewPCG(seed, 7)), ledger: filepath.Join(t.TempDir(), "ledger")}
	if s.proxy != nil {
		s.proxy.carry = true
	}
	c.m = s.unmounted(t, append([]string{"settle=200ms", "part_size=5M"}, options...)...)
	return c
}

// work starts a workload process. The func waits for its end, and enters its ledger in the
// book.
func (c *crash) work(most time.Duration) (wait func()) {
	c.t.Helper()
	end := c.launch(most)
	return func() {
		c.t.Helper()
		end()
		c.read()
	}
}

// launch starts a workload process. The func waits for its end.
func (c *crash) launch(most time.Duration) (wait func()) {
	c.t.Helper()
	spec, err := json.Marshal(workload{
		Dir: c.m.dir, Ledger: c.ledger, Seed: c.rand.Uint64(), First: 100 * c.round, For: most, Known: c.b.sure(), Script: c.script,
	})
	must(c.t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(plainEnv(), c.m.env...), workloadEnv+"="+string(spec))
	output := startJob(c.t, cmd)
	return func() {
		c.t.Helper()
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			if err != nil {
				c.broken("workload: %v\n%s", err, output())
			}
		case <-time.After(most + time.Minute):
			_ = cmd.Process.Kill()
			c.t.Fatalf("P7: the workload hangs a minute after its time")
		}
	}
}

// read enters the ledger in the book.
func (c *crash) read() {
	c.t.Helper()
	list := readLedger(c.t, c.ledger)
	c.log = append(c.log, list...)
	c.b.add(list)
	for _, text := range c.b.wrong {
		c.broken("%s", text)
	}
	c.b.wrong = nil
}

// start mounts. Requests that the daemon makes from now on are those of another life. What the last
// one has asked the store is done by then: see gap G14 in docs/guarantees.md.
func (c *crash) start() {
	c.t.Helper()
	c.s.untilLanded()
	c.s.nextLife()
	c.m.start()
	c.d = c.m.daemon()
}

// kill ends the daemon.
func (c *crash) kill() {
	c.t.Helper()
	c.killedAt = time.Now()
	c.d.signal(unix.SIGKILL)
	c.d.wait()
	c.kills++
}

func (c *crash) broken(format string, args ...any) {
	c.t.Helper()
	text := fmt.Sprintf(format, args...)
	c.count(text)
	c.t.Errorf("round %d, last kill at %s: %s%s", c.round, c.killedAt.UTC().Format("15:04:05.000"), text, c.history(text))
}

// history is what the ledger says of the paths that a text names, and what was asked of an S3 server
// for them since the last round; the keys of deletions are in their bodies.
func (c *crash) history(text string) string {
	var b strings.Builder
	for _, p := range c.log {
		if p.Path != "" && (strings.Contains(text, p.Path) || p.To != "" && strings.Contains(text, p.To)) {
			fmt.Fprintf(&b, "\n\t%s %s %s %.8s", p.Op, p.Path, p.To, p.Hash)
		}
	}
	if c.s.proxy == nil {
		return b.String()
	}
	for _, r := range c.s.proxy.requests(func(r request) bool { return r.life >= c.s.proxy.life-2 }) {
		if r.method != "GET" && r.method != "HEAD" && (r.key == "" || strings.Contains(text, r.key)) {
			fmt.Fprintf(&b, "\n\tasked %s", r)
		}
	}
	for _, r := range c.s.proxy.seen(func(r request) bool {
		return r.method != "GET" && r.method != "HEAD" && r.key != "" && strings.Contains(text, r.key)
	}) {
		fmt.Fprintf(&b, "\n\tanswered %s", r)
	}
	return b.String()
}

// look holds the store as it is now, perhaps as a kill has left it, against P3 and P4.
func (c *crash) look() {
	c.t.Helper()
	c.checkWhole()
	s, err := c.s.snapshot()
	must(c.t, err)
	for _, text := range c.b.checkOrder(s, s) {
		c.broken("%s", text)
	}
}

// settle waits until everything is committed that can be, checks all of it, and clears away
// what is torn.
func (c *crash) settle() {
	c.t.Helper()
	torn := c.waitCommitted()
	c.checkAll(torn)
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
		c.checkAll(nil)
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
	r := run(c.t, c.m.env, trainfs, "wait", "-q", "--timeout", patience.String(), c.m.dir)
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
	if st.LostFound > 0 && !c.mayAside {
		c.broken("I6: %d files were set aside, and nobody else writes here", st.LostFound)
	}
	return torn
}

// checkAll holds store and mount against the book.
func (c *crash) checkAll(torn map[string]bool) {
	c.t.Helper()
	s, err := c.s.snapshot()
	must(c.t, err)
	for _, text := range c.b.checkAll(s, c.m.hashes(), torn) {
		c.broken("%s", text)
	}
}

// hashes reads every file of the mount.
func (m *mount) hashes() map[string]string {
	m.t.Helper()
	out := map[string]string{}
	for p, content := range tree(m.t, m.dir) {
		out[p] = sum(content)
	}
	return out
}

// thirdMount reads all of it on a node that has seen nothing of it.
func (c *crash) thirdMount() {
	c.t.Helper()
	m := c.s.mount(c.t)
	got := m.hashes()
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

// collectGarbage runs gc, after which nothing unfinished may be left in the store.
func (c *crash) collectGarbage() {
	c.t.Helper()
	r := run(c.t, c.m.env, trainfs, "gc", "--older-than", "0s", c.s.source)
	if r.code != 0 {
		c.broken("gc: exit code %d\n%s", r.code, r.output)
	}
	for _, name := range c.s.unfinished() {
		c.broken("after gc the store has an unfinished upload: %s", name)
	}
}
