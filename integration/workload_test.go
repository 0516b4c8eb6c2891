package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// workload is what a training job does, and more of it at once: it runs in a process of its
// own, against a mount whose daemon may die at any moment, and keeps a ledger of what it
// was promised. It ends at the first error, or when its time is over.
type workload struct {
	Dir    string            // the mount
	Ledger string            // outside of it
	Seed   uint64            //
	First  int               // number of the first checkpoint
	For    time.Duration     // how long
	Pace   time.Duration     // to be waited after each checkpoint; a quarter of it after each other file
	Outage bool              // the store may be out of reach: what is only there may not be read
	Known  map[string]string // what is there: path -> hash
	Script string            // a fixed sequence of calls by this name; "": a job, at random

	log   *ledger
	stop  time.Time
	wrote map[string]string // hashes
}

// everyStep is a script.
const everyStep = "every step"

const workloadEnv = "TRAINFS_INTEGRATION_WORKLOAD"

// errWrong is a promise that was broken while the daemon was alive.
var errWrong = errors.New("wrong")

// runWorkload is the whole life of such a process.
func runWorkload(spec string) {
	var w workload
	if err := json.Unmarshal([]byte(spec), &w); err != nil {
		panic(err)
	}
	f, err := os.OpenFile(w.Ledger, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		panic(err)
	}
	w.log, w.stop = &ledger{file: f}, time.Now().Add(w.For)
	w.wrote = map[string]string{}
	var jobs sync.WaitGroup
	var broken atomic.Bool
	for i, job := range w.jobs() {
		jobs.Add(1)
		go func() {
			defer jobs.Done()
			err := job(rand.New(rand.NewPCG(w.Seed, uint64(i))))
			if errors.Is(err, syscall.EIO) && w.dead() {
				err = errDied // what the kernel says of a request that the daemon was just reading when it died
			}
			if err != nil && !died(err) {
				w.log.write(promise{Op: opWrong, Text: err.Error(), At: time.Now().UnixNano()})
			}
			if err != nil {
				broken.Store(true)
			}
		}()
	}
	if jobs.Wait(); !broken.Load() {
		w.log.write(promise{Op: opDone})
	}
}

// jobs run at the same time.
func (w *workload) jobs() []func(*rand.Rand) error {
	switch w.Script {
	case everyStep:
		return []func(*rand.Rand) error{w.everyStep}
	case "":
		return []func(*rand.Rand) error{
			func(r *rand.Rand) error { return w.train(r, "run/a") },
			func(r *rand.Rand) error { return w.train(r, "run/b") },
			w.artifacts,
		}
	}
	panic("no such script: " + w.Script)
}

func (w *workload) over() bool { return time.Now().After(w.stop) }

func (w *workload) at(p string) string { return filepath.Join(w.Dir, p) }

// known lists the paths below dir that were there at the start, in order.
func (w *workload) known(dir string) (list []string) {
	for p := range w.Known {
		if strings.HasPrefix(p, dir+"/") {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

var sizes = []int{100, 5000, 200_000, 1_500_000}

func someSize(r *rand.Rand) int {
	if r.IntN(12) == 0 {
		return 6_000_000 // two parts
	}
	return sizes[r.IntN(len(sizes))] + r.IntN(50)
}

// train writes checkpoints and a tracker, and keeps the last two.
func (w *workload) train(r *rand.Rand, trial string) error {
	if err := w.mkdirAll(trial); err != nil {
		return err
	}
	var there []string
	for _, p := range w.known(trial) {
		if dir := path.Dir(p); dir != trial && !slices.Contains(there, dir) {
			there = append(there, dir)
		}
	}
	for n := w.First; !w.over(); n++ {
		dir := fmt.Sprintf("%s/checkpoint_%06d", trial, n)
		if err := w.save(r, dir); err != nil {
			return err
		}
		if err := w.writeFile(r, trial+"/latest", path.Base(dir)); err != nil {
			return err
		}
		if r.IntN(4) == 0 {
			if err := unix.Setxattr(w.at(dir), "user.trainfs.commit", []byte("1"), 0); err != nil {
				return err
			}
		}
		there = append(there, dir)
		for len(there) > 2 {
			if err := w.removeAll(there[0]); err != nil {
				return err
			}
			there = there[1:]
		}
		time.Sleep(w.Pace + time.Duration(r.IntN(120))*time.Millisecond) // an epoch
	}
	return nil
}

func (w *workload) save(r *rand.Rand, dir string) error {
	w.log.write(promise{Op: opStarted, Path: dir})
	at := dir
	if r.IntN(4) == 0 { // under another name first
		at = path.Dir(dir) + "/tmp-checkpoint-" + path.Base(dir)
		if r.IntN(3) == 0 { // that trainfs does not know to be temporary
			at = path.Dir(dir) + "/new-" + path.Base(dir)
		}
	}
	if err := os.Mkdir(w.at(at), 0o755); err != nil {
		return err
	}
	for i := range 1 + r.IntN(3) {
		p := fmt.Sprintf("%s/shard%d", at, i)
		if err := w.writeFile(r, p, noise(someSize(r), r.Uint64())); err != nil {
			return err
		}
		if r.IntN(10) == 0 {
			if err := w.writeFile(r, p, noise(someSize(r), r.Uint64())); err != nil {
				return err
			}
		}
	}
	if at != dir {
		if r.IntN(2) == 0 { // long enough for some of it to go up under this name
			time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
		}
		if err := w.move(at, dir); err != nil {
			return err
		}
	}
	if r.IntN(5) == 0 { // one file stays open for a while
		if err := w.holdOpen(r, dir+"/held"); err != nil {
			return err
		}
	}
	w.log.write(promise{Op: opFinished, Path: dir})
	return nil
}

// openLog is open as long as a workload runs.
const openLog = "run/progress.csv"

// artifacts works on files outside of checkpoints, and keeps a log open all the time.
func (w *workload) artifacts(r *rand.Rand) error {
	if err := w.mkdirAll("run/files"); err != nil {
		return err
	}
	log, text := openLog, ""
	w.log.write(promise{Op: opBegin, Path: log, Hash: "?"})
	f, err := os.Create(w.at(log))
	if err != nil {
		return err
	}
	there := filesBelow(w.Known, "run/files")
	for n := 0; !w.over(); n++ {
		line := fmt.Sprintf("%d,%d\n", w.First, n)
		if _, err := f.WriteString(line); err != nil {
			f.Close()
			return err
		}
		text += line
		time.Sleep(w.Pace / 4)
		if err := w.artifact(r, fmt.Sprintf("run/files/%d-%d", w.First, n), there); err != nil {
			f.Close()
			return err
		}
	}
	return w.finish(r, f, log, text)
}

func filesBelow(known map[string]string, dir string) map[string]string {
	out := map[string]string{}
	for p, hash := range known {
		if strings.HasPrefix(p, dir+"/") {
			out[p] = hash
		}
	}
	return out
}

// artifact does one thing to one file.
func (w *workload) artifact(r *rand.Rand, fresh string, there map[string]string) error {
	var old string
	if list := slices.Sorted(maps.Keys(there)); len(list) > 0 {
		old = list[r.IntN(len(list))]
	}
	what := r.IntN(12)
	if len(there) > 12 {
		what = 4
	}
	switch {
	case old == "" || what < 3:
		return w.artifactWrite(r, fresh, there)
	case what == 3:
		return w.artifactWrite(r, old, there)
	case what < 6:
		delete(there, old)
		return w.removeAll(old)
	case what < 9:
		to := fresh
		if len(there) > 1 && r.IntN(3) == 0 {
			for p := range there {
				if p != old {
					to = p
				}
			}
			// What is replaced is gone, whichever of the two the ledger says.
			w.log.write(promise{Op: opRemoving, Path: to})
		}
		there[to] = there[old]
		delete(there, old)
		return w.move(old, to)
	case what == 9:
		return w.evict(old)
	}
	return w.readBack(old, there[old])
}

func (w *workload) artifactWrite(r *rand.Rand, p string, there map[string]string) error {
	content := noise(someSize(r), r.Uint64())
	if err := w.writeFile(r, p, content); err != nil {
		return err
	}
	there[p] = sum(content)
	return nil
}
