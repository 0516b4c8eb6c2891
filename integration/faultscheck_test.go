package integration

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// isIn counts the files of a checkpoint that a listing has, whole.
func (s saved) isIn(objects map[string]backend.Object) (n int) {
	for name, size := range s.files {
		if o, ok := objects[s.dir+"/"+name]; ok && o.Size == size {
			n++
		}
	}
	return n
}

func (s saved) anyIn(objects map[string]backend.Object) bool {
	for name := range s.files {
		if _, ok := objects[s.dir+"/"+name]; ok {
			return true
		}
	}
	return false
}

// watch looks at the raw store all the while (P4): where something of a checkpoint was to be
// seen, or a tracker that names it, all that were closed before it are whole.
func (f *faultRun) watch(stop <-chan struct{}) {
	var earlier map[string]backend.Object
	for {
		tracker, _ := f.s.get("run/latest")
		objects, err := f.s.list("run/")
		if err != nil {
			f.breaks("the raw store: %v", err)
			return
		}
		f.wantOrder(earlier, tracker, objects)
		earlier = objects
		select {
		case <-stop:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (f *faultRun) wantOrder(earlier map[string]backend.Object, tracker string, objects map[string]backend.Object) {
	f.mu.Lock()
	saves := slices.Clone(f.saves)
	f.mu.Unlock()
	newest, why := -1, ""
	for i, s := range saves {
		if s.anyIn(earlier) {
			newest, why = max(newest, i-1), "something of "+s.dir+" was there"
		}
		if path.Base(s.dir) == tracker && i >= newest {
			newest, why = i, "the tracker names "+tracker
		}
	}
	for _, s := range saves[:newest+1] {
		if n := s.isIn(objects); n < len(s.files) {
			f.breaks("P4: %s, and of %s, closed before, %d of %d files are there", why, s.dir, n, len(s.files))
		}
	}
}

// checkOrderOfAnswers holds the order in which the server did what it was asked against P4: once
// a checkpoint has begun to show, nothing of those before it is new.
func (f *faultRun) checkOrderOfAnswers() {
	shown := map[string]bool{}
	newest := ""
	for _, r := range f.s.proxy.seen(func(r request) bool { return r.shows() && strings.HasPrefix(r.key, "run/checkpoint_") }) {
		if dir := path.Dir(r.key); dir >= newest {
			newest = dir
		} else if !shown[r.key] {
			f.breaks("P4: %s became visible after something of %s", r.key, newest)
		}
		shown[r.key] = true
	}
}

// checkArchive reads everything once more, now that nothing is wrong.
func (f *faultRun) checkArchive() {
	f.t.Helper()
	for i := range archiveFiles {
		b, err := os.ReadFile(f.m.path(f.archived(i)))
		if err != nil || sum(string(b)) != sum(noise(archiveSize(i), uint64(i))) {
			f.breaks("P9: %s, when all is well again: %d bytes, %v", f.archived(i), len(b), err)
		}
	}
}

// What a fault may cost, on a machine that does nothing else. The short form runs on busy
// machines, and gives room.
const (
	mostRecovery   = 10 * time.Second // from the end of an outage to the first commit
	mostRSS        = 192 << 20
	mostGoroutines = 400
	mostSave       = 3 * time.Second // one save, in a fault: a program waits for store_timeout once
	mostPerSecond  = 100             // requests and dials of one node, on the average of an outage
)

func (f *faultRun) checkBounds() {
	f.t.Helper()
	if f.worst.goroutines > mostGoroutines {
		f.breaks("goroutines: %d", f.worst.goroutines)
	}
	n, _ := f.front.rate(f.began, f.ended, time.Second)
	if perSecond := float64(n) / f.ended.Sub(f.began).Seconds(); f.kind.outage && !f.kind.refusal && perSecond > mostPerSecond {
		f.breaks("%.0f requests a second in an outage", perSecond)
	}
	if *faultsTime == 0 {
		return
	}
	if f.worst.rss > mostRSS {
		f.breaks("memory: %s", f.worst)
	}
	if f.kind.outage && !f.kind.refusal && f.first > mostRecovery {
		f.breaks("%s until the first commit after the end of %s", f.first, f.kind.kind)
	}
	if _, longest := f.during(); longest > mostSave {
		f.breaks("P7: a save took %s", longest)
	}
}

// before and during give the times of saves.
func (f *faultRun) before() (median time.Duration) {
	median, _ = f.times(time.Time{}, f.began)
	return median
}

func (f *faultRun) during() (median, longest time.Duration) { return f.times(f.began, f.ended) }

func (f *faultRun) times(from, to time.Time) (median, longest time.Duration) {
	var all []time.Duration
	for _, s := range f.saves {
		if s.at.After(from) && s.at.Before(to) {
			all = append(all, s.took)
		}
	}
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1]
}

// faultsHead is above the rows.
const faultsHead = "| fault | lasted | requests met | checkpoints | a save before / in it / longest | requests a second before / in it / most |" +
	" first / all committed after its end | reads right / refused | memory | goroutines | broken |\n" +
	"|---|---|---|---|---|---|---|---|---|---|---|\n"

func (f *faultRun) row() string {
	median, longest := f.during()
	calm, _ := f.front.rate(f.spanBefore, f.began, time.Second)
	n, most := f.front.rate(f.began, f.ended, time.Second)
	seconds := f.ended.Sub(f.began).Seconds()
	ms := func(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
	s := func(d time.Duration) string {
		if d == 0 {
			return "–"
		}
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("| %s | %.0f s | %d | %d | %s / %s / %s | %.0f / %.0f / %d | %s / %s | %d / %d | %d MiB | %d | %d |",
		f.kind.kind, seconds, f.injected.Load(), len(f.saves), ms(f.before()), ms(median), ms(longest),
		float64(calm)/f.began.Sub(f.spanBefore).Seconds(), float64(n)/seconds, most, s(f.first), s(f.all),
		f.right, f.refused, f.worst.rss/mib, f.worst.goroutines, f.broken)
}
