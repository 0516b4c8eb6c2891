package integration

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend/storetest/toxiproxy"
)

var (
	soakTime = flag.Duration("soak.time", 0, "how long the soak runs; by make soak")
	soakSeed = flag.Uint64("soak.seed", 0, "what is random in it follows from this; 0: take one and print it")
)

// soak is two nodes on one store, one of which is killed again and again.
type soak struct {
	t       *testing.T
	s       *store
	network *toxiproxy.Proxy
	rand    *rand.Rand
	archive map[string]string // what is in the store from the start

	killed, steady *soakNode
	faults         map[string]int
	kills          int
	recovery       time.Duration // the longest from the end of all faults until all was committed
	started        time.Time
	lines          []string
}

// TestSoak is everything at once, for an hour: what a day of a cluster has in it.
func TestSoak(t *testing.T) {
	if *soakTime == 0 {
		t.Skip("it takes an hour: see make soak")
	}
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-soak.seed=%d", seed)
	k := newSoak(t, seed)
	defer k.print()
	for end := k.started.Add(*soakTime); time.Now().Before(end) && k.killed.lost+k.steady.lost == 0 && !t.Failed(); {
		k.round()
	}
	for _, n := range []*soakNode{k.killed, k.steady} {
		n.m.umount()
	}
	k.checkBounds()
}

func newSoak(t *testing.T, seed uint64) *soak {
	program := filepath.Join(filepath.Dir(trainfs), "plain", "trainfs") // memory is measured without the race detector
	must(t, buildTo(program))
	k := &soak{
		t: t, s: s3Store(t), rand: rand.New(rand.NewPCG(seed, 5)), archive: map[string]string{},
		faults: map[string]int{}, started: time.Now(),
	}
	for i := range 32 { // twice what a cache holds
		key, content := fmt.Sprintf("archive/%02d", i), noise(3*mib, uint64(i))
		k.s.put(key, content)
		k.archive[key] = sum(content)
	}
	k.network = k.s.faultyNetwork(t)
	k.killed = newSoakNode(t, k.s, program, "killed", k.rand.Uint64())
	k.steady = newSoakNode(t, k.s, program, "steady", k.rand.Uint64())
	return k
}

func (k *soak) between(least, most time.Duration) time.Duration { return least + rand.N(most-least) }

// round is work on both nodes under faults, one kill or two, and then peace, in which all
// has to be as it was promised.
func (k *soak) round() {
	k.t.Helper()
	length := k.between(15*time.Second, 45*time.Second)
	stop := make(chan struct{})
	var waits []func()
	for _, n := range []*soakNode{k.killed, k.steady} {
		n.work(length)
		waits = append(waits, n.awaitWorkload, n.readArchive(k.archive, k.rand.Uint64(), stop))
	}
	end := time.Now().Add(length)
	killAt := time.Now().Add(time.Duration(k.rand.Float64() * float64(length)))
	for time.Now().Before(end) {
		f := networkFaults[k.rand.IntN(len(networkFaults))]
		k.faults[f.kind]++
		off := f.start(k.s, k.network)
		k.pass(time.Now().Add(k.between(f.least, f.most)), &killAt)
		off()
		k.pass(time.Now().Add(k.between(0, 5*time.Second)), &killAt)
	}
	close(stop)
	for _, wait := range waits {
		wait()
	}
	k.peace()
}

// pass lets time go by, with the kill in it if it is due.
func (k *soak) pass(until time.Time, killAt *time.Time) {
	k.t.Helper()
	for time.Now().Before(until) {
		if !killAt.IsZero() && time.Now().After(*killAt) {
			k.kill()
			*killAt = time.Time{}
			if k.rand.IntN(4) == 0 {
				*killAt = time.Now().Add(k.between(0, 3*time.Second)) // while it recovers
			}
		}
		k.killed.measure(false)
		k.steady.measure(false)
		time.Sleep(500 * time.Millisecond)
	}
}

// kill ends the daemon and starts it again. What was on the wire is lost with it: a request
// that arrives long after its sender's death is gap G14 of the guarantees.
func (k *soak) kill() {
	k.t.Helper()
	d := k.killed.m.daemon()
	d.signal(unix.SIGKILL)
	d.wait()
	k.kills++
	if k.network.Enabled() {
		k.network.Enable(false)
		k.network.Enable(true)
	}
	k.killed.awaitWorkload() // it must not meet the next daemon
	k.killed.down.Store(true)
	k.killed.m.start()
	k.killed.down.Store(false)
	k.killed.lives++
}

func (k *soak) peace() {
	k.t.Helper()
	for _, n := range []*soakNode{k.killed, k.steady} {
		n.account()
	}
	start := time.Now()
	for _, n := range []*soakNode{k.killed, k.steady} {
		n.settle()
	}
	took := time.Since(start)
	k.recovery = max(k.recovery, took)
	k.killed.wants(k.steady)
	k.steady.wants(k.killed)
	for _, n := range []*soakNode{k.killed, k.steady} {
		n.wantArchive(k.archive)
		n.measure(true)
	}
	line := fmt.Sprintf("%5.1f min: round %d, kills %d, steady: %s; killed (life %d): %s; settled in %s", time.Since(k.started).Minutes(), k.steady.round,
		k.kills, k.steady.last, k.killed.lives, k.killed.last, took.Round(100*time.Millisecond))
	k.lines = append(k.lines, line)
	k.t.Log(line)
}

// checkBounds fails if the daemon that was not killed has grown without end.
func (k *soak) checkBounds() {
	k.t.Helper()
	a, b := k.steady.first, k.steady.last
	if b.goroutines > a.goroutines+50 || b.files > a.files+50 || b.rss > 2*a.rss+64*mib {
		k.t.Errorf("memory or goroutines grow: %s after the first round, %s after the last", a, b)
	}
}

func (k *soak) print() {
	var faults []string
	total := 0
	for _, kind := range slices.Sorted(maps.Keys(k.faults)) {
		faults = append(faults, fmt.Sprintf("%s %d", kind, k.faults[kind]))
		total += k.faults[kind]
	}
	k.t.Logf("soak: %s", time.Since(k.started).Round(time.Second))
	k.t.Logf("rounds %d, kills %d, faults %d (%s)", k.steady.round, k.kills, total, strings.Join(faults, ", "))
	for _, n := range []*soakNode{k.killed, k.steady} {
		k.t.Logf("%s: files closed %d, bytes closed %d, promises broken %d, came after their deletion (gap G14) %d, torn units kept back %d, archive files read %d, refused in an outage %d",
			n.name, n.b.closed, n.b.bytes, n.lost, n.late, n.torn, n.read, n.refused)
	}
	k.t.Logf("steady daemon at the first rest: %s; at the last: %s; most ever: %s; processor time %.0f s", k.steady.first, k.steady.last, k.steady.highest, k.steady.last.cpu)
	k.t.Logf("killed daemon, %d lives, at rest: %s in its first, %s in its last; most ever: %s", k.killed.lives, k.killed.first, k.killed.last, k.killed.highest)
	k.t.Logf("longest from the end of all faults until all was committed and compared: %s", k.recovery.Round(100*time.Millisecond))
}
