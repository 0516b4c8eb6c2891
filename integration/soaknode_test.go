package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// soakNode is one of the nodes of a soak: its workload lives below a directory of its own,
// and its cache is smaller than what it reads.
type soakNode struct {
	t      *testing.T
	s      *store
	m      *mount
	name   string
	b      *book
	rand   *rand.Rand
	ledger string
	socket string
	round  int
	log    []promise   // of this round
	down   atomic.Bool // it is being mounted again

	awaitWorkload func()

	lost, torn, lives    int
	late                 int // files that came after their deletion
	read, refused        int // files read while the network was bad; those that could not be
	first, last, highest vitals
}

func newSoakNode(t *testing.T, s *store, program, name string, seed uint64) *soakNode {
	n := &soakNode{t: t, s: s, name: name, b: newBook(), rand: rand.New(rand.NewPCG(seed, 11)), lives: 1}
	n.ledger = filepath.Join(t.TempDir(), "ledger")
	n.socket = filepath.Join(t.TempDir(), "m")
	n.m = s.unmounted(t, "settle=300ms", "part_size=5M", "store_timeout=3s", "cache_size=48M", "full_timeout=10m", "metrics=unix:"+n.socket)
	n.m.program = program
	n.m.start()
	mkdir(t, n.m.path(name))
	stat(t, n.m.path("archive")) // in an outage a name at the top that was never looked at seems missing (gap G15)
	return n
}

// work starts a workload process; awaitWorkload then waits for its end.
func (n *soakNode) work(most time.Duration) {
	n.t.Helper()
	n.round++
	spec, err := json.Marshal(workload{
		Dir: n.m.path(n.name), Ledger: n.ledger, Seed: n.rand.Uint64(), First: 100 * n.round, For: most, Known: n.b.sure(),
		Pace: 1500 * time.Millisecond, Outage: true,
	})
	must(n.t, err)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(plainEnv(), n.m.env...), workloadEnv+"="+string(spec))
	output := startJob(n.t, cmd)
	n.awaitWorkload = sync.OnceFunc(func() {
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		select {
		case err := <-done:
			if err != nil {
				n.broken("workload: %v\n%s", err, output())
			}
		case <-time.After(most + 2*time.Minute):
			_ = cmd.Process.Kill()
			n.t.Fatalf("P7: the workload of %s hangs", n.name)
		}
	})
}

func (n *soakNode) broken(format string, args ...any) {
	n.t.Helper()
	n.lost++
	text := fmt.Sprintf(format, args...)
	var history strings.Builder
	for _, p := range n.log {
		if p.Path != "" && (strings.Contains(text, p.Path) || p.To != "" && strings.Contains(text, p.To)) {
			fmt.Fprintf(&history, "\n\t%s %s %s %.8s", p.Op, p.Path, p.To, p.Hash)
		}
	}
	n.t.Errorf("%s, round %d: %s%s", n.name, n.round, text, history.String())
}

// below is what a snapshot says of one directory, with names from there.
func (s snapshot) below(dir string) snapshot {
	return snapshot{under(s.hashes, dir), under(s.latest, dir), under(s.open, dir)}
}

func under[V any](all map[string]V, dir string) map[string]V {
	out := map[string]V{}
	for p, v := range all {
		if rest, ok := strings.CutPrefix(p, dir+"/"); ok {
			out[rest] = v
		}
	}
	return out
}

func (n *soakNode) snapshot() snapshot {
	n.t.Helper()
	s, err := n.s.snapshot()
	must(n.t, err)
	return s.below(n.name)
}

// account reads the ledger of a workload that has ended, and looks at the store while the daemon
// goes on uploading.
func (n *soakNode) account() {
	n.t.Helper()
	n.log = readLedger(n.t, n.ledger)
	n.b.add(n.log)
	for _, text := range n.b.wrong {
		n.broken("%s", text)
	}
	n.b.wrong = nil
	seen := n.snapshot()
	for _, text := range n.b.checkOrder(seen, n.snapshot()) {
		n.broken("%s", text)
	}
}

// settle waits until all is committed, and holds it against the ledger.
func (n *soakNode) settle() (took time.Duration) {
	n.t.Helper()
	start := time.Now()
	torn := n.waitCommitted()
	took = time.Since(start)
	n.check(torn)
	if len(torn) > 0 {
		n.torn += len(torn)
		for unit := range torn {
			must(n.t, os.RemoveAll(n.m.path(n.name, unit)))
			for _, p := range n.b.below(unit) {
				n.b.file(p).is("")
			}
		}
		if left := n.waitCommitted(); len(left) > 0 {
			n.broken("still torn after their removal: %v", left)
		}
		n.check(nil)
	}
	n.b.settle(n.snapshot().hashes)
	return took
}

// waitCommitted returns the torn units.
func (n *soakNode) waitCommitted() map[string]bool {
	n.t.Helper()
	r := run(n.t, n.m.env, trainfs, "wait", "-q", "--timeout", patience.String(), n.m.dir)
	st := n.m.status()
	torn := map[string]bool{}
	for _, u := range st.Units {
		if u.State == "torn" {
			torn[strings.TrimPrefix(u.Path, n.name+"/")] = true
		}
	}
	if r.code != 0 && (r.code != 1 || len(torn) == 0) {
		n.t.Fatalf("%s, round %d: wait: exit code %d\n%s\n%+v", n.name, n.round, r.code, r.output, st.Units)
	}
	if st.LostFound > 0 {
		n.broken("I6: %d files were set aside, and nobody else writes here", st.LostFound)
	}
	return torn
}

// dropLate deletes what is there again though it was deleted here: the daemon had given up a request
// for it, and toxiproxy, which had all of it, passed it on later (gap G14).
func (n *soakNode) dropLate() {
	n.t.Helper()
	gaveUp := map[string]bool{}
	for line := range strings.Lines(n.m.log()) {
		if _, rest, ok := strings.Cut(line, " unit="+n.name+"/"); ok && strings.Contains(rest, "the request was given up") {
			unit, _, _ := strings.Cut(rest, " ")
			gaveUp[unit] = true
		}
	}
	for p, hash := range n.snapshot().hashes {
		f := n.b.files[p]
		if unit, _ := unitOf(p); f != nil && !f.may[hash] && f.may[""] && gaveUp[unit] {
			n.late++
			n.t.Logf("%s, round %d: %s came after its deletion (gap G14)", n.name, n.round, p)
			must(n.t, n.s.raw.Delete(context.Background(), n.name+"/"+p))
			eventually(n.t, "the mount does not show it either", func() bool { return !exists(n.m.path(n.name, p)) })
		}
	}
}

func (n *soakNode) check(torn map[string]bool) {
	n.t.Helper()
	n.dropLate()
	local := map[string]string{}
	for p, content := range tree(n.t, n.m.path(n.name)) {
		local[p] = sum(content)
	}
	for _, text := range n.b.checkAll(n.snapshot(), local, torn) {
		n.broken("%s", text)
	}
}

// wants waits for a mount to show another node's files as that node's ledger has them.
func (n *soakNode) wants(other *soakNode) {
	n.t.Helper()
	should := map[string]string{}
	for p, f := range other.b.files {
		if !isTemporary(p) {
			should[p] = listed(f.may)[0]
		}
	}
	var got map[string]string
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if got, err = hashesBelow(n.m.path(other.name)); err == nil && maps.Equal(got, should) {
			return
		}
	}
	for p := range merge(got, should) {
		if got[p] != should[p] {
			n.broken("P8: %s of %s reads with hash %q, want %q (%v)", p, other.name, got[p], should[p], err)
		}
	}
}

func hashesBelow(dir string) (map[string]string, error) {
	out := map[string]string{}
	return out, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir+"/")] = sum(string(b))
		return err
	})
}

// readArchive reads files that the cache has no room for, all the time, until stop.
func (n *soakNode) readArchive(archive map[string]string, seed uint64, stop <-chan struct{}) (wait func()) {
	var done sync.WaitGroup
	r := rand.New(rand.NewPCG(seed, 3))
	keys := slices.Sorted(maps.Keys(archive))
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(700 * time.Millisecond): // the pace of a job
			}
			key := keys[r.IntN(len(keys))]
			down := n.down.Load()
			b, err := os.ReadFile(n.m.path(key))
			switch {
			case err == nil && sum(string(b)) == archive[key]:
				n.read++
			case err == nil:
				n.t.Errorf("%s: P9: %s reads with hash %s, want %s", n.name, key, sum(string(b)), archive[key])
			case died(err) || errors.Is(err, syscall.EIO) || n.down.Load() || down:
				n.refused++
			default:
				n.t.Errorf("%s: %s cannot be read: %v", n.name, key, err)
			}
		}
	})
	return done.Wait
}

// wantArchive reads some of it when nothing is wrong with the network.
func (n *soakNode) wantArchive(archive map[string]string) {
	n.t.Helper()
	for i, key := range slices.Sorted(maps.Keys(archive)) {
		if (i+n.round)%8 != 0 {
			continue
		}
		if b, err := os.ReadFile(n.m.path(key)); err != nil || sum(string(b)) != archive[key] {
			n.broken("P9: %s, with a good network: %v, hash %s, want %s", key, err, sum(string(b)), archive[key])
		}
	}
}

// measure takes the daemon's vitals; quiet are those that are kept.
func (n *soakNode) measure(quiet bool) {
	v, err := vitalsAt(n.socket)
	if err != nil {
		return // it is being killed
	}
	n.highest = n.highest.most(v)
	if quiet {
		if n.first.rss == 0 {
			n.first = v
		}
		n.last = v
	}
}
