package integration

import (
	"fmt"
	"math/rand/v2"
	"os/exec"

	"golang.org/x/sys/unix"
)

// everyStep crosses each step of the protocols (cache/killpoint), in a fixed order: two
// checkpoints with their tracker, one of them under another name first; artifacts; then, with
// all of it committed, eviction, hydration, and each kind of change to what is there.
func (w *workload) everyStep(r *rand.Rand) error {
	first, second := "run/a/checkpoint_000001", "run/a/checkpoint_000002"
	return w.inOrder(
		func() error { return w.mkdirAll("run/a") },
		func() error { return w.mkdirAll("run/files") },
		func() error {
			return w.files(r, "run/files/large", 1_200_000, "run/files/small", 3000, "run/files/other", 300)
		},
		func() error { return w.checkpoint(r, first, first) },
		func() error { return w.writeFile(r, "run/a/latest", "checkpoint_000001") },
		func() error { return w.checkpoint(r, "run/a/new-checkpoint_000002", second) },
		func() error { return w.writeFile(r, "run/a/latest", "checkpoint_000002") },
		w.committed,

		func() error { return w.evict("run/files") },
		func() error { return w.evict(first) },
		func() error { return w.readBack(first+"/shard0", w.wrote[first+"/shard0"]) },
		func() error { return w.readBack("run/files/small", w.wrote["run/files/small"]) },
		func() error { return w.files(r, "run/files/small", 4000) },          // hydrated, and written anew
		func() error { return w.move("run/files/large", "run/files/there") }, // only in the store
		func() error { return w.move("run/files/small", "run/files/new") },
		func() error { return w.removeAll("run/files/other") },
		func() error { return w.removeAll(second + "/shard1") }, // a member that goes, of a checkpoint that stays
		func() error { return w.files(r, second+"/shard2", 2000) },
		func() error { return w.commitNow(second) },
		func() error { return w.removeAll(first) },
		w.committed,
	)
}

func (w *workload) inOrder(calls ...func() error) error {
	for _, call := range calls {
		if err := call(); err != nil {
			return err
		}
	}
	return nil
}

// files writes files of so many bytes.
func (w *workload) files(r *rand.Rand, namesAndSizes ...any) error {
	for i := 0; i < len(namesAndSizes); i += 2 {
		p, content := namesAndSizes[i].(string), noise(namesAndSizes[i+1].(int), r.Uint64())
		if err := w.writeFile(r, p, content); err != nil {
			return err
		}
		w.wrote[p] = sum(content)
	}
	return nil
}

// checkpoint writes one that is staged in part, and says that it is finished.
func (w *workload) checkpoint(r *rand.Rand, at, dir string) error {
	w.log.write(promise{Op: opStarted, Path: dir})
	if err := w.mkdirAll(at); err != nil {
		return err
	}
	if err := w.files(r, at+"/shard0", 2_000_000, at+"/shard1", 5000); err != nil {
		return err
	}
	if at != dir {
		if err := w.move(at, dir); err != nil {
			return err
		}
	}
	for i := range 2 {
		p := fmt.Sprintf("/shard%d", i)
		w.wrote[dir+p] = w.wrote[at+p]
	}
	w.log.write(promise{Op: opFinished, Path: dir})
	return w.commitNow(dir)
}

func (w *workload) commitNow(dir string) error {
	return unix.Setxattr(w.at(dir), "user.trainfs.commit", []byte("1"), 0)
}

// committed waits until everything is.
func (w *workload) committed() error {
	out, err := exec.Command("trainfs", "wait", "-q", "--timeout", patience.String(), w.Dir).CombinedOutput()
	switch {
	case err != nil && w.dead():
		return errDied
	case err != nil:
		return fmt.Errorf("%w: wait: %w\n%s", errWrong, err, out)
	}
	return nil
}
