package integration

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What Ray Train does to its storage path, as pyarrow's local file system carries it out,
// from two nodes. The operations and their order were taken from Ray 2.60; Ray itself runs
// in scripts/ray.

const (
	raySnapshot = "checkpoint_manager_snapshot.json"
	rayMarker   = ".validate_storage_marker"
)

// rayFiles are what each rank reports: a large file and two small ones.
var rayFiles = map[string]int{"model.pt": 2*mib + 100, "optimizer.pt": 300_000, "rng.json": 40}

// rayRun is a run's directory on two nodes. Node 0 has the controller, and rank 0.
type rayRun struct {
	t     *testing.T
	s     *store
	nodes [2]*mount
	dir   string // below the storage path
}

func newRayRun(t *testing.T, dir string, options ...string) *rayRun {
	s := s3Store(t)
	return &rayRun{t: t, s: s, nodes: [2]*mount{s.mount(t, options...), s.mount(t, options...)}, dir: dir}
}

// copyFile is pyarrow's copy: create or truncate, 1 MiB at a time, close. No fsync, no rename.
func copyFile(path, content string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	for len(content) > 0 {
		n := min(mib, len(content))
		if _, err := f.WriteString(content[:n]); err != nil {
			f.Close()
			return err
		}
		content = content[n:]
	}
	return f.Close()
}

// persist is one rank's part of train.report: the marker is looked for, the directory is
// made if it is missing, and all files are copied at the same time.
func (r *rayRun) persist(rank int, checkpoint string, seed uint64) {
	dir := r.nodes[rank].path(r.dir, checkpoint)
	if _, err := os.Stat(r.nodes[rank].path(r.dir, rayMarker)); err != nil {
		r.t.Errorf("rank %d: unable to set up cluster storage: %v", rank, err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		r.t.Error(err)
	}
	var threads sync.WaitGroup
	for name, bytes := range rayFiles {
		threads.Go(func() {
			if err := copyFile(filepath.Join(dir, rankFile(rank, name)), noise(bytes, seed+uint64(rank))); err != nil {
				r.t.Errorf("rank %d: %v", rank, err)
			}
		})
	}
	threads.Wait()
}

func rankFile(rank int, name string) string { return fmt.Sprintf("rank%d-%s", rank, name) }

// report is what all ranks do at once.
func (r *rayRun) report(checkpoint string, seed uint64) {
	var ranks sync.WaitGroup
	for rank := range r.nodes {
		ranks.Go(func() { r.persist(rank, checkpoint, seed) })
	}
	ranks.Wait()
}

// setUp is what the controller does at every start of a worker group.
func (r *rayRun) setUp() {
	must(r.t, os.MkdirAll(r.nodes[0].path(r.dir), 0o777))
	must(r.t, copyFile(r.nodes[0].path(r.dir, rayMarker), ""))
}

// snapshot is the commit point of Ray Train V2, rewritten in place.
func (r *rayRun) snapshot(kept []string) {
	r.t.Helper()
	must(r.t, copyFile(r.nodes[0].path(r.dir, raySnapshot), runs["ray"].names(kept)))
}

// remove is how pyarrow deletes a directory: it is looked at first, then taken apart. Not
// before all nodes have published their part: what happens otherwise has tests of its own.
func (r *rayRun) remove(node int, checkpoint string) {
	r.t.Helper()
	eventually(r.t, checkpoint+" is complete", func() bool { return len(r.missing(checkpoint)) == 0 })
	dir := r.nodes[node].path(r.dir, checkpoint)
	if _, err := os.Stat(dir); err != nil {
		r.t.Errorf("the checkpoint to be removed: %v", err)
	}
	must(r.t, os.RemoveAll(dir))
}

// missing is what the bucket lacks of a checkpoint.
func (r *rayRun) missing(checkpoint string) (missing []string) {
	objects, err := r.s.list(filepath.Join(r.dir, checkpoint) + "/")
	if err != nil {
		r.t.Error(err)
	}
	for rank := range r.nodes {
		for name, bytes := range rayFiles {
			key := filepath.Join(r.dir, checkpoint, rankFile(rank, name))
			if objects[key].Size != int64(bytes) {
				missing = append(missing, fmt.Sprintf("%s has %d of %d bytes", key, objects[key].Size, bytes))
			}
		}
	}
	return missing
}

// watchTracker looks at the bucket until the end: what the tracker names is whole in it.
func (r *rayRun) watchTracker(tracker string, named func(content string) []string) *sightings {
	seen := &sightings{}
	key := filepath.Join(r.dir, tracker)
	r.t.Cleanup(watch(20*time.Millisecond, func() {
		content, ok := r.s.get(key)
		if !ok {
			return
		}
		var missing []string
		for _, name := range named(content) {
			missing = append(missing, r.missing(name)...)
		}
		if again, _ := r.s.get(key); len(missing) > 0 && again == content {
			r.t.Errorf("%s names %q, and %q", tracker, named(content), missing)
		}
		seen.add(content)
	}))
	return seen
}

// wantLeft fails unless these checkpoints are left, with the files of both ranks, and
// nothing speaks of any other one: no object, no marker, no unfinished upload.
func (r *rayRun) wantLeft(seeds map[string]uint64) {
	r.t.Helper()
	for _, m := range r.nodes {
		m.wait()
	}
	want(r.t, "checkpoints in the bucket", fmt.Sprint(r.checkpoints()), fmt.Sprint(sortedKeys(seeds)))
	for name, seed := range seeds {
		for rank := range r.nodes {
			for file, bytes := range rayFiles {
				key := filepath.Join(r.dir, name, rankFile(rank, file))
				got, _ := r.s.get(key)
				want(r.t, key, sum(got), sum(noise(bytes, seed+uint64(rank))))
			}
		}
	}
	r.s.wantNoOpenMarkers()
	for key := range r.s.objects(".trainfs/v1/units/" + r.dir + "/") {
		name, _, _ := strings.Cut(strings.TrimPrefix(key, ".trainfs/v1/units/"+r.dir+"/"), "/")
		if _, kept := seeds[name]; !kept {
			r.t.Errorf("orphaned: %s", key)
		}
	}
	r.s.wantNoUnfinishedUploads()
}

func (r *rayRun) checkpoints() []string {
	found := map[string]bool{}
	for key := range r.s.objects(r.dir + "/checkpoint_") {
		if name, _, ok := strings.Cut(strings.TrimPrefix(key, r.dir+"/"), "/"); ok {
			found[name] = true
		}
	}
	return sortedKeys(found)
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// wantNoUnfinishedUploads looks where the server keeps the parts of uploads that nobody sees.
func (s *store) wantNoUnfinishedUploads() {
	s.t.Helper()
	left := func() (parts []string) {
		_ = filepath.WalkDir(filepath.Join(s.server.Dir, s.server.Bucket, ".sgwtmp", "multipart"), func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				parts = append(parts, path)
			}
			return nil
		})
		return parts
	}
	// Those of what has changed meanwhile go with a sweep.
	eventually(s.t, "no unfinished uploads are left", func() bool { return len(left()) == 0 })
}

func TestRayV2FromTwoNodesNeverNamesAnIncompleteCheckpoint(t *testing.T) {
	t.Parallel()
	r := newRayRun(t, "run")
	r.setUp()
	seen := r.watchTracker(raySnapshot, runs["ray"].named)
	var kept []string
	for i := range 8 {
		if i == 4 {
			r.setUp() // a worker group starts again
		}
		name := fmt.Sprintf("checkpoint_2026-11-25_15-00-%02d.%06d", i, i)
		r.report(name, uint64(10*i))
		kept = append(kept, name)
		old := kept[:max(0, len(kept)-2)]
		kept = kept[len(old):]
		r.snapshot(kept)
		for _, o := range old {
			r.remove(0, o)
		}
	}
	r.wantLeft(map[string]uint64{kept[0]: 60, kept[1]: 70})
	got, _ := r.s.get("run/" + raySnapshot)
	want(t, "the snapshot at the end", got, runs["ray"].names(kept))
	eventually(t, "the watcher has seen it", func() bool { return seen.values() > 0 })

	// A restart on the other node finds what the controller has left, at once.
	var told struct {
		Latest struct {
			Name string `json:"checkpoint_dir_name"`
		} `json:"latest_checkpoint_result"`
	}
	must(t, json.Unmarshal([]byte(read(t, r.nodes[1].path("run", raySnapshot))), &told))
	want(t, "names of the newest checkpoint", len(names(t, r.nodes[1].path("run", told.Latest.Name))), 2*len(rayFiles))
}

func TestRayV1FromTwoNodesNeverNamesAnIncompleteCheckpoint(t *testing.T) {
	t.Parallel()
	const trial = "exp/TorchTrainer_5f1c2_00000_0_2026-11-25_15-00-00"
	r := newRayRun(t, trial)
	head := r.nodes[0]
	must(t, os.MkdirAll(head.path("exp"), 0o777))
	for _, name := range []string{rayMarker, "trainer.pkl", "tuner.pkl"} {
		must(t, copyFile(head.path("exp", name), strings.Repeat("p", len(name))))
		if _, err := os.Stat(r.nodes[1].path("exp", name)); err != nil {
			t.Errorf("%s does not show at once: %v", name, err)
		}
	}
	r.setUp()
	const state = "experiment_state-2026-11-25_15-00-00.json"
	named := func(content string) (dirs []string) {
		for _, word := range strings.Split(content, `"`) {
			if strings.HasPrefix(word, "checkpoint_0") {
				dirs = append(dirs, word)
			}
		}
		return dirs
	}
	// The experiment state lies beside the trial directory.
	r.watchTracker("../"+state, named)
	var result strings.Builder
	for i := range 5 {
		name := fmt.Sprintf("checkpoint_%06d", i)
		r.report(name, uint64(10*i))
		for rank, m := range r.nodes { // after the copy, by every rank
			must(t, copyFile(m.path(trial, name, ".metadata.json"), fmt.Sprintf(`{"rank": %d}`, rank)))
		}
		fmt.Fprintf(&result, `{"checkpoint_dir_name": %q, "epoch": %d}`+"\n", name, i)
		for _, log := range []string{"result.json", "progress.csv", "events.out.tfevents.1700000000.host"} {
			must(t, copyFile(head.path(trial, log), result.String())) // copied whole each time
		}
		must(t, copyFile(head.path("exp", state), fmt.Sprintf(`{"trials": [["%s"]]}`, name)))
		if i >= 2 {
			r.remove(0, fmt.Sprintf("checkpoint_%06d", i-2))
		}
	}
	r.wantLeft(map[string]uint64{"checkpoint_000003": 30, "checkpoint_000004": 40})
	got, _ := r.s.get(trial + "/result.json")
	want(t, "result.json", got, result.String())
}

// A trial that is tried again takes the names of the dead attempt's checkpoints. The node
// that died, come back, does not mix its old files into the new ones.
func TestRetriedTrialDoesNotInheritADeadAttemptsFiles(t *testing.T) {
	t.Parallel()
	const name = "checkpoint_000003"
	r := newRayRun(t, "exp/trial")
	r.setUp()
	dead := r.nodes[1]
	var once atomic.Bool
	r.s.proxy.holdIf(func(q request) bool {
		return q.part > 0 && strings.Contains(q.key, rankFile(1, "model.pt")) && !once.Load()
	})
	r.report(name, 100)
	eventually(t, "the dying node's upload is on its way", func() bool { return r.s.proxy.holding() > 0 })
	dead.kill()
	once.Store(true)
	r.s.proxy.release()

	// The new attempt runs on the head and on a node that takes the dead one's place.
	r.nodes[1] = r.s.mount(t)
	r.setUp()
	r.report(name, 200)
	for _, m := range r.nodes {
		m.wait()
	}
	dead.start()
	eventually(t, "the old files are set aside", func() bool { return dead.status().LostFound > 0 })
	dead.wait()
	r.wantLeft(map[string]uint64{name: 200})
}
