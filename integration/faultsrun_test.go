package integration

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/toxiproxy"
)

// faultRun is one mount with one fault: some time without it, some with it, and a while in
// which all has to arrive. Between the mount and the server are a front that counts, a
// faulty network, and a proxy that meddles.
type faultRun struct {
	t       *testing.T
	kind    faultKind
	s       *store
	m       *mount
	front   *front
	network *toxiproxy.Proxy
	socket  string
	rand    *rand.Rand

	injected atomic.Int64 // requests met, or toxics

	mu      sync.Mutex
	saves   []saved
	broken  int
	right   int // files of the archive read
	refused int // and those that gave an error

	began, ended time.Time // of the fault
	calm, worst  vitals
	first, all   time.Duration // from its end to the first commit, and to that of all that was closed in it
	spanBefore   time.Time
}

// saved is a checkpoint whose files are all closed.
type saved struct {
	dir   string
	files map[string]int64
	took  time.Duration
	at    time.Time // its end
}

const archiveFiles = 24

func newFaultRun(t *testing.T, k faultKind, seed uint64) *faultRun {
	f := &faultRun{t: t, kind: k, s: s3Store(t), rand: rand.New(rand.NewPCG(seed, 17))}
	var puts sync.WaitGroup
	for i := range archiveFiles {
		puts.Go(func() { f.s.put(f.archived(i), noise(archiveSize(i), uint64(i))) })
	}
	puts.Wait()
	f.network = toxiproxy.Start(t, strings.TrimPrefix(f.s.proxy.url, "http://"))
	f.front = newFront(t, f.network.Endpoint)
	f.s.source = strings.Replace(f.s.source, f.s.proxy.url, f.front.url, 1)
	f.socket = filepath.Join(t.TempDir(), "m")
	f.m = f.s.unmounted(t, "part_size=5M", "store_timeout=2s", "metrics=unix:"+f.socket)
	if *faultsTime > 0 {
		program, err := plainProgram()
		must(t, err)
		f.m.program = program
	}
	f.m.start()
	stat(t, f.m.path("archive")) // in an outage a name at the top that was never looked at seems missing (gap G15)
	mkdir(t, f.m.path("run/files"))
	return f
}

func (f *faultRun) archived(i int) string { return fmt.Sprintf("archive/%02d", i) }

// archiveSize has one file among the small ones that is read in several ranges.
func archiveSize(i int) int {
	if i == 7 {
		return 12 * mib
	}
	return 200_000
}

func (f *faultRun) breaks(format string, args ...any) {
	f.t.Helper()
	f.mu.Lock()
	f.broken++
	n := f.broken
	f.mu.Unlock()
	if n <= 10 { // the rest says the same
		f.t.Errorf(format, args...)
	}
}

func (f *faultRun) run() {
	t := f.t
	calm, lasts := time.Second, 3*time.Second
	if long := *faultsTime; long > 0 {
		calm, lasts = 5*time.Second, long
		if f.kind.outage {
			lasts = 3 * long
		}
	}
	defer func() {
		if t.Failed() {
			f.m.dump()
		}
	}()
	end := f.startJobs()
	defer end() // before the mount goes, also if this ends here
	f.spanBefore = time.Now()
	time.Sleep(calm)
	f.setBegan()
	heal := f.kind.start(f)
	time.Sleep(lasts)
	eventually(t, "a request has met the fault", func() bool { return f.injected.Load() > 0 })
	before := f.closed()
	heal()
	f.setEnded()
	f.recover(before)
	time.Sleep(calm / 2)
	end()
	f.m.wait()
	f.s.wantSame(f.m.path("run"), "run/")
	f.s.wantNoOpenMarkers()
	want(t, "I6: files set aside", f.m.status().LostFound, 0)
	f.checkOrderOfAnswers()
	f.checkArchive()
	f.checkBounds()
	t.Logf("%s", f.row())
}

// startJobs returns what ends them.
func (f *faultRun) startJobs() (end func()) {
	stop := make(chan struct{})
	var jobs sync.WaitGroup
	for _, job := range []func(stop <-chan struct{}){f.train, f.logLines, f.read(0), f.read(1), f.measure, f.watch} {
		jobs.Go(func() { job(stop) })
	}
	ended := make(chan struct{})
	return sync.OnceFunc(func() {
		close(stop)
		go func() { jobs.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(patience):
			f.breaks("P7: a program hangs %s after it was to end", patience)
			f.m.dump()
			<-ended
		}
	})
}

func (f *faultRun) setBegan() { f.mu.Lock(); f.began = time.Now(); f.mu.Unlock() }
func (f *faultRun) setEnded() { f.mu.Lock(); f.ended = time.Now(); f.mu.Unlock() }

// phase tells whether the fault is there, or was.
func (f *faultRun) phase() (began, ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.began.IsZero(), !f.ended.IsZero()
}

func (f *faultRun) closed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.saves)
}

// train writes checkpoints, and a tracker after each.
func (f *faultRun) train(stop <-chan struct{}) {
	for n := 1; ; n++ {
		s := saved{dir: fmt.Sprintf("run/checkpoint_%06d", n), files: map[string]int64{"model.pt": 1_200_000, "optimizer.pt": 300_000, "meta.json": 20}}
		if n%5 == 0 {
			s.files["model.pt"] = 6_000_000 // two parts
		}
		contents := map[string]string{}
		for name, size := range s.files {
			contents[name] = noise(int(size), f.rand.Uint64())
		}
		start := time.Now()
		err := f.save(s, contents)
		s.took, s.at = time.Since(start), time.Now()
		if err == nil {
			f.mu.Lock()
			f.saves = append(f.saves, s)
			f.mu.Unlock()
		} else if began, _ := f.phase(); !(f.kind.refusal && began && errors.Is(err, syscall.EACCES)) {
			f.breaks("P7: save of %s: %v", s.dir, err)
		} else if err := os.RemoveAll(f.m.path(s.dir)); err != nil && !errors.Is(err, syscall.EACCES) {
			f.breaks("P7: removal of %s: %v", s.dir, err)
		}
		select {
		case <-stop:
			return
		case <-time.After(350 * time.Millisecond): // an epoch
		}
	}
}

func (f *faultRun) save(s saved, contents map[string]string) error {
	if err := os.Mkdir(f.m.path(s.dir), 0o755); err != nil {
		return err
	}
	for name, content := range contents {
		if err := os.WriteFile(f.m.path(s.dir, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(f.m.path("run/latest"), []byte(filepath.Base(s.dir)), 0o644)
}

// logLines keeps a log open, and makes small files beside it.
func (f *faultRun) logLines(stop <-chan struct{}) {
	log, err := os.Create(f.m.path("run/progress.csv"))
	if err != nil {
		f.breaks("P7: log: %v", err)
		return
	}
	for n := 0; ; n++ {
		select {
		case <-stop:
			if err := log.Close(); err != nil {
				f.breaks("P7: log: %v", err)
			}
			return
		case <-time.After(200 * time.Millisecond): // the pace of a job
		}
		if _, err := fmt.Fprintf(log, "%d,%f\n", n, 1/float64(n+1)); err != nil {
			f.breaks("P7: log: %v", err)
		}
		err := os.WriteFile(f.m.path("run/files", fmt.Sprint(n)), []byte(noise(3000, uint64(n))), 0o644)
		if began, _ := f.phase(); err != nil && !(f.kind.refusal && began && errors.Is(err, syscall.EACCES)) {
			f.breaks("P7: file %d: %v", n, err)
		}
	}
}

// read gives a reader of every second file that is only in the store, again and again: right, or
// not at all.
func (f *faultRun) read(first int) func(stop <-chan struct{}) {
	return func(stop <-chan struct{}) { f.readFrom(first, stop) }
}

func (f *faultRun) readFrom(first int, stop <-chan struct{}) {
	for n := first; ; n += 2 {
		key := f.archived(n % archiveFiles)
		b, err := os.ReadFile(f.m.path(key))
		began, _ := f.phase()
		f.mu.Lock()
		if err == nil {
			f.right++
		} else {
			f.refused++
		}
		f.mu.Unlock()
		switch {
		case err == nil && sum(string(b)) != sum(noise(archiveSize(n%archiveFiles), uint64(n%archiveFiles))):
			f.breaks("P9: %s reads with wrong bytes", key)
		case err != nil && !(began && (errors.Is(err, syscall.EIO) || f.kind.refusal && errors.Is(err, syscall.EACCES))):
			f.breaks("P7: %s: %v", key, err)
		}
		_ = run(f.t, f.m.env, cmp.Or(f.m.program, trainfs), "evict", f.m.path(key)) // where it is not here there is nothing to drop
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// measure looks at the daemon's memory and goroutines.
func (f *faultRun) measure(stop <-chan struct{}) {
	for {
		if v, err := vitalsAt(f.socket); err == nil {
			began, _ := f.phase()
			f.mu.Lock()
			if began {
				f.worst = f.worst.most(v)
			} else {
				f.calm = f.calm.most(v)
			}
			f.mu.Unlock()
		}
		select {
		case <-stop:
			return
		case <-time.After(250 * time.Millisecond):
		}
	}
}

// recover waits until all is visible that was closed when the fault ended.
func (f *faultRun) recover(closed int) {
	f.t.Helper()
	start := f.ended
	objects := f.s.objects("run/")
	f.mu.Lock()
	saves := slices.Clone(f.saves[:closed])
	f.mu.Unlock()
	left := slices.DeleteFunc(saves, func(s saved) bool { return s.isIn(objects) == len(s.files) })
	if len(left) == 0 {
		return // it did not hold them up
	}
	eventually(f.t, "the first of what waited is committed", func() bool {
		return left[0].isIn(f.s.objects("run/")) == len(left[0].files)
	})
	f.first = time.Since(start)
	eventually(f.t, "all that waited is committed", func() bool {
		objects := f.s.objects("run/")
		return !slices.ContainsFunc(left, func(s saved) bool { return s.isIn(objects) < len(s.files) })
	})
	f.all = time.Since(start)
}
