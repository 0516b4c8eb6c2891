package integration

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache/killpoint"
)

const cutsInNormalTests = 4

// make powercut runs the long form.
var (
	cutsFlag = flag.Int("cuts", cutsInNormalTests, "power cuts, half of them on each file system")
	cutsTime = flag.Duration("cuts.time", time.Minute, "most time for them, on each")
	cutsStep = flag.String("cuts.step", "", "cut at this named step each time")
)

// powerCut is one mount whose cache directory is on a disk that loses its power again and
// again.
type powerCut struct {
	*crash
	disk    *powerDisk
	book    *powerBook
	steps   []killpoint.Step
	boot    int
	atStep  map[killpoint.Step]int // cuts right at a named step
	mangled int                    // local copies that the disk had damaged, set aside

	cuts, synced, committed, sealed int
}

func (c *powerCut) String() string {
	return fmt.Sprintf("power cuts %d (%d right at one of %d named steps), files fsynced before them %d, committed before them %d, bytes closed %d, "+
		"promises broken %d, torn units kept back %d, damaged copies set aside %d",
		c.cuts, total(c.atStep), len(c.atStep), c.synced, c.committed, c.bytes, c.lost, c.torn, c.mangled)
}

func total(counts map[killpoint.Step]int) (n int) {
	for _, k := range counts {
		n += k
	}
	return n
}

func newPowerCut(t *testing.T, s *store, disk *powerDisk, seed uint64) *powerCut {
	c := &powerCut{
		crash: newCrash(t, s, seed, "settle=1s"), disk: disk, book: newPowerBook(nil),
		steps: slices.Clone(killpoint.Steps), atStep: map[killpoint.Step]int{},
	}
	if *cutsStep != "" {
		c.steps = []killpoint.Step{killpoint.Step(*cutsStep)}
	}
	c.mayAside = true
	must(t, os.WriteFile(c.ledger, nil, 0o600))
	program, err := killable()
	must(t, err)
	c.m.program, c.m.cache = program, disk.dir+"/cache"
	c.rand.Shuffle(len(c.steps), func(i, j int) { c.steps[i], c.steps[j] = c.steps[j], c.steps[i] })
	return c
}

// start mounts as on a machine that was booted for the n-th time, with a daemon that dies
// where step says.
func (c *powerCut) start(step string) result {
	c.t.Helper()
	env := c.m.env
	defer func() { c.m.env = env }()
	c.m.env = append(slices.Clone(env), fmt.Sprintf("%s=boot %d", killpoint.BootEnv, c.boot))
	if step != "" {
		c.m.env = append(c.m.env, killpoint.Env+"="+step)
	}
	return c.m.tryStart()
}

// cutPower is one round: work, cut, boot, wait, look.
func (c *powerCut) cutPower() {
	c.t.Helper()
	c.round++
	var step killpoint.Step
	var spec string
	if c.round%2 == 0 || *cutsStep != "" {
		step = c.steps[c.round/2%len(c.steps)]
		spec = fmt.Sprintf("%s:%d", step, 1+c.rand.IntN(3))
	}
	recovering := strings.HasPrefix(string(step), "recover-")
	if recovering { // that step comes in the next start
		spec = ""
	}
	if r := c.start(spec); r.code != 0 && spec == "" {
		c.t.Fatalf("round %d: mount: exit code %d\n%s", c.round, r.code, r.output)
	}
	sealed := map[string]int{}
	var cutAt time.Time
	if isMounted(c.m.dir) {
		cutAt = c.workAndCut(step, spec != "", sealed)
	} else {
		cutAt = time.Now()
		c.cut(nil)
	}
	c.ledgerSince(cutAt)
	before, err := c.s.snapshot()
	must(c.t, err)
	for p, f := range c.book.files {
		if before.hashes[p] != "" && before.hashes[p] == f.latest {
			c.committed++
		}
	}
	c.reboot()
	if recovering {
		if r := c.start(fmt.Sprintf("%s:1", step)); r.code == 0 {
			c.t.Fatalf("%s was not crossed by a start\n%s", step, r.output)
		}
		c.atStep[step]++
		c.cut(nil)
		c.reboot()
	}
	c.look(before, sealed)
}

func (c *powerCut) reboot() {
	c.t.Helper()
	c.disk.unmount()
	c.disk.mount()
	c.boot++
}

// workAndCut lets a job work, and takes the power away. It returns when that was.
func (c *powerCut) workAndCut(step killpoint.Step, stepped bool, sealed map[string]int) (at time.Time) {
	c.t.Helper()
	d := c.daemonNow()
	most := time.Duration(100+c.rand.IntN(2500)) * time.Millisecond
	stop := make(chan struct{})
	written := make(chan struct{})
	r := rand.New(rand.NewPCG(c.rand.Uint64(), 1))
	go func() { defer close(written); c.disk.writeBack(r, stop) }()
	wait := c.launch(most)
	end := time.Now().Add(time.Duration((0.2 + 1.2*c.rand.Float64()) * float64(most)))
	if stepped { // it takes what it takes, or is not crossed
		end = time.Now().Add(most + 2*time.Second)
	}
	for time.Now().Before(end) && d != nil && !d.ended() {
		time.Sleep(2 * time.Millisecond)
	}
	switch {
	case d != nil && !d.ended():
		if c.rand.IntN(2) == 0 {
			c.lookSealed(sealed)
		}
	case stepped:
		c.atStep[step]++
	default:
		c.broken("the daemon has died by itself:\n%s", lastLines(c.m.log(), 40))
	}
	close(stop)
	<-written
	at = time.Now()
	c.cut(d)
	wait()
	return at
}

// daemonNow is nil if it has died at its step already.
func (c *powerCut) daemonNow() *daemon {
	c.t.Helper()
	st, ok := c.m.tryStatus()
	if !ok {
		return nil
	}
	fd, err := unix.PidfdOpen(st.PID, 0)
	if err != nil {
		return nil
	}
	c.t.Cleanup(func() { unix.Close(fd) })
	return &daemon{c.t, st.PID, fd}
}

// cut takes the power away from disk and daemon: at once, or from the disk first.
func (c *powerCut) cut(d *daemon) {
	c.t.Helper()
	c.cuts++
	kill := func() {
		if d != nil && !d.ended() {
			_ = unix.PidfdSendSignal(d.fd, unix.SIGKILL, nil, 0)
		}
		if d != nil {
			d.wait()
		}
	}
	diskFirst := c.rand.IntN(3) == 0
	if !diskFirst {
		kill()
	}
	c.disk.cut(c.rand.IntN(3) == 0)
	if diskFirst { // a daemon that lives on with a dead disk must not publish what it cannot read
		time.Sleep(time.Duration(c.rand.IntN(300)) * time.Millisecond)
		kill()
	}
	for isMounted(c.m.dir) {
		must(c.t, unix.Unmount(c.m.dir, unix.MNT_DETACH))
	}
}

// lookSealed notes what status calls safe on the local disk.
func (c *powerCut) lookSealed(sealed map[string]int) {
	c.t.Helper()
	written, err := os.ReadFile(c.ledger)
	must(c.t, err)
	n := strings.Count(string(written), "\n")
	st, _ := c.m.tryStatus() // it may have died just now
	for _, u := range st.Units {
		if u.State == "sealed" || u.State == "uploading" {
			sealed[u.Path] = n
			c.sealed++
		}
	}
}

// ledgerSince reads what the job was promised. What went wrong after the cut is no wonder.
func (c *powerCut) ledgerSince(cutAt time.Time) {
	c.t.Helper()
	list := readLedger(c.t, c.ledger)
	must(c.t, os.WriteFile(c.ledger, nil, 0o600))
	c.log = append(c.log, list...)
	for _, p := range list {
		if p.Op == opWrong && p.At < cutAt.UnixNano() {
			c.broken("%s", p.Text)
		}
	}
	c.book.add(list)
	c.synced += c.book.synced
	c.bytes += c.book.bytes
}

// look boots, waits for all that goes up, compares, and clears away what is torn.
func (c *powerCut) look(before snapshot, sealed map[string]int) {
	c.t.Helper()
	if r := c.start(""); r.code != 0 {
		c.broken("P5: after a power cut: mount: exit code %d\n%s", r.code, r.output)
		c.t.FailNow()
	}
	if log := c.m.log(); strings.Contains(log, "journal is damaged") {
		c.broken("P5: a power cut has damaged the journal\n%s", lastLines(log, 20))
	}
	torn, held := c.waitForAllThatGoesUp()
	maps.Copy(held, torn)
	after, local, wrong := c.checkUntilRight(before, torn, held, sealed)
	for _, text := range wrong {
		c.broken("%s", text)
	}
	c.mangled += c.m.status().LostFound
	if len(torn) > 0 {
		c.torn += len(torn)
		for unit := range torn {
			must(c.t, os.RemoveAll(c.m.path(unit)))
		}
		if left := c.waitCommitted(); len(left) > 0 {
			c.broken("still torn after their removal: %v", left)
		}
		after, local = c.now()
	}
	maps.DeleteFunc(local, func(p, _ string) bool { return isTemporary(p) })
	for p := range merge(after.hashes, local) {
		if after.hashes[p] != local[p] {
			c.broken("P8: settled, and %s has hash %q in the store and %q here", p, after.hashes[p], local[p])
		}
	}
	c.book = newPowerBook(after.hashes)
	c.b = newBook()
	for p, hash := range after.hashes {
		c.b.file(p).is(hash)
	}
	c.m.umount()
	must(c.t, os.RemoveAll(c.m.cache+"/lost+found"))
}

// waitForAllThatGoesUp returns the torn units, and the trackers that wait for them.
func (c *powerCut) waitForAllThatGoesUp() (torn, held map[string]bool) {
	c.t.Helper()
	var last []unitStatus
	defer func() {
		if c.t.Failed() {
			c.t.Logf("round %d: units not committed: %+v", c.round, last)
		}
	}()
	eventually(c.t, "only torn units are left, and trackers that name them", func() bool {
		torn, held = map[string]bool{}, map[string]bool{}
		list := c.m.status().Units
		last = list
		for _, u := range list {
			if u.State == "torn" {
				torn[u.Path] = true
			}
		}
		for _, u := range list {
			if u.Reason == "nothing is in it yet" {
				continue // an empty checkpoint directory waits for its first file
			}
			if of, ok := strings.CutPrefix(u.Reason, "waits for "); ok && u.Kind == "tracker" && torn[of] {
				held[u.Path] = true
			} else if !torn[u.Path] {
				return false
			}
		}
		return true
	})
	if len(torn) == 0 {
		return c.waitCommitted(), held
	}
	return torn, held
}

// checkUntilRight gives deletions time, which wait does not end with while a unit is torn.
// What must never be is wrong at the end as well.
func (c *powerCut) checkUntilRight(before snapshot, torn, held map[string]bool, sealed map[string]int) (after snapshot, local map[string]string, wrong []string) {
	c.t.Helper()
	for end := time.Now().Add(patience / 6); ; time.Sleep(100 * time.Millisecond) {
		after, local = c.now()
		wrong = c.book.check(before, after, local, torn, held, sealed)
		if len(wrong) == 0 || len(torn) == 0 || time.Now().After(end) {
			return after, local, wrong
		}
	}
}

func (c *powerCut) now() (snapshot, map[string]string) {
	c.t.Helper()
	s, err := c.s.snapshot()
	must(c.t, err)
	return s, hashesOf(tree(c.t, c.m.dir))
}

// TestPowerCutLosesNothingAndPublishesNothingTorn is P5 and P6 on a disk that keeps what
// was synced, and no more.
func TestPowerCutLosesNothingAndPublishesNothingTorn(t *testing.T) {
	t.Parallel()
	for kind, open := range map[string]func(*testing.T) *store{"xfs": s3Store, "ext4": fileStore} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			c := newPowerCut(t, open(t), newPowerDisk(t, kind), seedOf(t))
			defer func() { t.Logf("%s: %s", t.Name(), c) }()
			for end := time.Now().Add(*cutsTime); c.cuts < (*cutsFlag+1)/2 && time.Now().Before(end) && c.lost < 5; {
				c.cutPower()
			}
		})
	}
}
