package integration

import (
	"fmt"
	"maps"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	python = "/usr/bin/python3" // Debian's, which python3-torch is for
	epochs = 4
)

// TestTrainingJob is the main job on real input: a PyTorch program saves a checkpoint
// directory an epoch and appends to a log, and does not know of trainfs. On S3 a fstab line
// mounts for it.
func TestTrainingJob(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		// The default settle: loading a library may take the job a moment between two files.
		m := s.unmounted(t, "settle=3s", "sync_period=1s", "allow_other")
		if s.proxy != nil {
			m.startFromFstab()
		} else {
			m.start()
		}
		seen := 0
		stop := watch(50*time.Millisecond, func() { seen = max(seen, wholeCheckpoints(t, s)) })
		job := exec.Command(python, "testdata/train.py", "train", m.path("run"), fmt.Sprint(epochs))
		job.Env = append(plainEnv(), "OMP_NUM_THREADS=1")
		finish, err := job.StdinPipe()
		must(t, err)
		output := startJob(t, job)
		eventually(t, "it has trained", func() bool { return strings.Contains(output(), "trained") })

		eventually(t, "the log is in the store while it is open", func() bool {
			content, _ := s.get("run/train.log")
			return strings.Contains(content, fmt.Sprintf("epoch %d ", epochs))
		})
		must(t, finish.Close())
		if err := job.Wait(); err != nil {
			t.Fatalf("%v\n%s", err, output())
		}
		m.wait()
		stop()
		want(t, "checkpoints in the store", wholeCheckpoints(t, s), epochs)
		s.wantSame(m.path("run"), "run/")
		s.wantNoOpenMarkers()

		other := s.mount(t)
		last := fmt.Sprintf("run/checkpoint_%06d", epochs)
		eventually(t, "another mount shows it", func() bool { return exists(other.path(last)) })
		wantRun(t, nil, python, "testdata/train.py", "compare", m.path(last), other.path(last))
	})
}

// startJob starts a program and gives a way to see what it has printed.
func startJob(t *testing.T, cmd *exec.Cmd) (output func() string) {
	t.Helper()
	text := &printed{}
	cmd.Stdout, cmd.Stderr = text, text
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return text.String
}

// wholeCheckpoints counts the checkpoint directories in the raw store. Only the last one
// may be on its way: each appears after the one before it is whole.
func wholeCheckpoints(t *testing.T, s *store) (whole int) {
	objects, err := s.list("run/")
	if err != nil {
		t.Error(err)
		return 0
	}
	files := map[string]int{}
	for key := range objects {
		if dir := path.Dir(key); strings.Contains(dir, "checkpoint_") {
			files[dir]++
		}
	}
	dirs := slices.Sorted(maps.Keys(files))
	for i, dir := range dirs {
		switch {
		case files[dir] == 4:
			whole++
		case i < len(dirs)-1:
			t.Errorf("%s is not whole, and there is %s already: %v", dir, dirs[i+1], files)
		}
	}
	return whole
}
