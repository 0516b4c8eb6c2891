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
// it, keeps the last three, and looks at the bucket as a resume would.
func TestTrackerNeverShowsBeforeTheCheckpointsThatItNames(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		for name, r := range runs {
			t.Run(name, func(t *testing.T) { r.test(t, s, name) })
		}
	})
}

func (r trainingRun) test(t *testing.T, s *store, dir string) {
	m := s.mount(t)
	var mu sync.Mutex
	var values []string // of the tracker, as the bucket showed them
	stop := watch(20*time.Millisecond, func() {
		content, ok := s.get(path.Join(dir, r.tracker))
		if !ok {
			return
		}
		bad := r.incomplete(t, s, dir, content)
		if again, _ := s.get(path.Join(dir, r.tracker)); again != content {
			return // while we looked, it went on: what it named may be deleted by now
		}
		if len(bad) > 0 {
			t.Errorf("tracker %q names what is not whole: %q", content, bad)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(values) == 0 || values[len(values)-1] != content {
			values = append(values, content)
		}
	})
	defer stop()

	advanced := func(n int) bool { mu.Lock(); defer mu.Unlock(); return len(values) >= n }
	var kept []string
	pace := time.NewTicker(30 * time.Millisecond)
	defer pace.Stop()
	start := time.Now()
	i := 1
	for ; i < 12 || !advanced(3) && i < 59; i++ {
		<-pace.C
		next := r.dirName(i)
		for member, bytes := range memberBytes {
			write(t, path.Join(mkdir(t, m.path(dir, next)), member), noise(bytes, uint64(i)))
		}
		kept = append(kept, next)
		old := kept[:max(0, len(kept)-3)]
		kept = kept[len(old):]
		write(t, m.path(dir, r.tracker), r.names(kept)) // in place, and before the deletion
		for _, o := range old {
			must(t, os.RemoveAll(m.path(dir, o)))
		}
	}
	if !advanced(3) {
		t.Errorf("in %s of saving, the tracker in the bucket never advanced", time.Since(start))
	}
	m.wait()
	content, _ := s.get(path.Join(dir, r.tracker))
	want(t, "the tracker at the end", content, r.names(kept))
	s.wantSame(m.path(dir), dir+"/")
	s.wantNoOpenMarkers()
}

// incomplete names what a tracker names and the bucket has not whole.
func (r trainingRun) incomplete(t *testing.T, s *store, dir, tracker string) (bad []string) {
	for _, name := range r.named(tracker) {
		objects, err := s.list(path.Join(dir, name) + "/")
		if err != nil {
			t.Error(err)
			return nil
		}
		for member, bytes := range memberBytes {
			if key := path.Join(dir, name, member); objects[key].Size != int64(bytes) {
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
