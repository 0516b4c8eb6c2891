package integration

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A step of a training run that writes checkpoints of its own, and a tracker after each.
type trainingRun struct {
	tracker string // its name
	names   func(checkpoints []string) string
	named   func(content string) []string
	dirName func(i int) string
}

var runs = map[string]trainingRun{
	"deepspeed": {
		tracker: "latest",
		names:   func(c []string) string { return c[len(c)-1] },
		named:   func(content string) []string { return []string{content} },
		dirName: func(i int) string { return fmt.Sprintf("global_step%d", i) },
	},
	"ray": {
		tracker: "checkpoint_manager_snapshot.json",
		names: func(c []string) string {
			var results []string
			for _, dir := range c {
				results = append(results, fmt.Sprintf(`{"checkpoint_dir_name": %q}`, dir))
			}
			return fmt.Sprintf(`{"checkpoint_results": [%s], "latest_checkpoint_result": %s}`,
				strings.Join(results, ", "), results[len(results)-1])
		},
		named: func(content string) (dirs []string) {
			for _, piece := range strings.Split(content, `"`) {
				if strings.HasPrefix(piece, "checkpoint_2026") && !slices.Contains(dirs, piece) {
					dirs = append(dirs, piece)
				}
			}
			return dirs
		},
		dirName: func(i int) string { return fmt.Sprintf("checkpoint_2026-01-01_00-00-%02d.000000", i) },
	},
}

// A checkpoint has two large files and a small one.
var memberBytes = map[string]int{"a.pt": 3 * mib, "b.pt": 3 * mib, "meta.json": 10}

// TestTrackerNeverShowsBeforeTheCheckpointsThatItNames saves faster than the store takes
// it, and looks at the bucket as a resume would: at any moment.
func TestTrackerNeverShowsBeforeTheCheckpointsThatItNames(t *testing.T) {
	eachRun(t, func(t *testing.T, s *store, r trainingRun) {
		m := s.mount(t, "settle=1h") // the tracker, or the next checkpoint, says that one is finished
		seen := r.watch(t, s)
		var saved []string
		pace := time.NewTicker(30 * time.Millisecond)
		defer pace.Stop()
		// However fast the checkpoints come, the tracker goes forward.
		for i := 1; i < 12 || seen.values() < 3 && i < 59; i++ {
			<-pace.C
			if i == 12 { // the machine is busy: more of them would only make it busier
				pace.Reset(time.Second)
			}
			saved = append(saved, r.save(t, m, i))
			write(t, m.path("run", r.tracker), r.names(saved)) // in place, as all do
		}
		if seen.values() < 3 {
			t.Error("while checkpoints were coming, the tracker in the bucket stood still")
		}
		m.wait()
		r.wantAllThere(t, s, m, saved)
	})
}

// TestDeletedCheckpointsGoAfterTheTrackersThatNameThem is num_to_keep: the tracker is
// rewritten first, then the old directory is removed.
func TestDeletedCheckpointsGoAfterTheTrackersThatNameThem(t *testing.T) {
	eachRun(t, func(t *testing.T, s *store, r trainingRun) {
		m := s.mount(t, "settle=1h")
		r.watch(t, s)
		var kept []string
		for i := range 15 {
			kept = append(kept, r.save(t, m, i))
			old := kept[:max(0, len(kept)-3)]
			kept = kept[len(old):]
			write(t, m.path("run", r.tracker), r.names(kept))
			for _, o := range old {
				must(t, os.RemoveAll(m.path("run", o)))
			}
		}
		m.wait()
		r.wantAllThere(t, s, m, kept)
	})
}

func eachRun(t *testing.T, test func(t *testing.T, s *store, r trainingRun)) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T) *store{"file": fileStore, "s3": s3Store} {
		for framework, r := range runs {
			t.Run(name+" "+framework, func(t *testing.T) {
				t.Parallel()
				test(t, open(t), r)
			})
		}
	}
}

// save writes a checkpoint.
func (r trainingRun) save(t *testing.T, m *mount, i int) (dir string) {
	t.Helper()
	dir = r.dirName(i)
	mkdir(t, m.path("run", dir))
	for member, bytes := range memberBytes {
		write(t, m.path("run", dir, member), noise(bytes, uint64(i)))
	}
	return dir
}

// wantAllThere looks at the end of a run.
func (r trainingRun) wantAllThere(t *testing.T, s *store, m *mount, kept []string) {
	t.Helper()
	content, _ := s.get("run/" + r.tracker)
	want(t, "the tracker at the end", content, r.names(kept))
	s.wantSame(m.path("run"), "run/")
	s.wantNoOpenMarkers()
}

// sightings are the contents of a tracker that the bucket has shown.
type sightings struct {
	mu   sync.Mutex
	last string
	n    int
}

func (s *sightings) add(content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if content != s.last {
		s.last, s.n = content, s.n+1
	}
}

func (s *sightings) values() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// watch looks at the bucket until the test ends: whatever the tracker names is whole.
func (r trainingRun) watch(t *testing.T, s *store) *sightings {
	seen := &sightings{}
	t.Cleanup(watch(20*time.Millisecond, func() {
		content, ok := s.get("run/" + r.tracker)
		if !ok {
			return
		}
		bad := r.incomplete(t, s, content)
		if again, _ := s.get("run/" + r.tracker); again != content {
			return // while we looked, it went on: what it named may be deleted by now
		}
		if len(bad) > 0 {
			t.Errorf("the tracker says %.40q…, and is to name nothing that is not whole: %q", content, bad)
		}
		seen.add(content)
	}))
	return seen
}

// incomplete names what a tracker names and the bucket has not whole.
func (r trainingRun) incomplete(t *testing.T, s *store, tracker string) (bad []string) {
	for _, name := range r.named(tracker) {
		objects, err := s.list(path.Join("run", name) + "/")
		if err != nil {
			t.Error(err)
			return nil
		}
		for member, bytes := range memberBytes {
			if key := path.Join("run", name, member); objects[key].Size != int64(bytes) {
				bad = append(bad, key)
			}
		}
	}
	return bad
}

func TestCheckpointsShowInTheOrderInWhichTheyWereClosed(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	m := s.mount(t)
	// The first one is held up in the middle; the others must wait, and a log need not.
	s.proxy.holdIf(func(r request) bool { return r.part == 1 && strings.Contains(r.key, "checkpoint_000001/") })
	for i := 1; i <= 3; i++ {
		dir := fmt.Sprintf("checkpoint_%06d", i)
		write(t, path.Join(mkdir(t, m.path(dir)), "model.pt"), noise(2*mib, uint64(i)))
	}
	write(t, m.path("progress.csv"), "step,loss\n")
	eventually(t, "the log is there", func() bool { _, ok := s.get("progress.csv"); return ok })
	eventually(t, "the second one waits for the first", func() bool {
		_, reason := m.unit("checkpoint_000002")
		return strings.Contains(reason, "checkpoint_000001")
	})
	s.wantKeys("progress.csv")
	s.proxy.release()
	m.wait()
	var shown []string
	for _, r := range s.proxy.seen(func(r request) bool { return r.complete }) {
		shown = append(shown, path.Dir(r.key))
	}
	want(t, "order", fmt.Sprint(shown), "[checkpoint_000001 checkpoint_000002 checkpoint_000003]")
}

func TestLogsArriveWhileTheyAreOpen(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t)
		f, err := os.Create(m.path("train.log"))
		must(t, err)
		defer f.Close()
		for _, line := range []string{"epoch 1\n", "epoch 2\n"} {
			_, err := f.WriteString(line)
			must(t, err)
			eventually(t, line, func() bool { content, _ := s.get("train.log"); return strings.HasSuffix(content, line) })
		}
	})
}
