package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// The calls of a workload. Each notes in the ledger what it is about to change, and what it
// was promised.

// died tells the errors that a mount without a daemon gives.
func died(err error) bool {
	return errors.Is(err, syscall.ENOTCONN) || errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, errDied)
}

var errDied = errors.New("the daemon has died")

// writeFile makes or replaces a file, chunk by chunk.
func (w *workload) writeFile(r *rand.Rand, p string, content string) error {
	hash := sum(content)
	w.log.write(promise{Op: opBegin, Path: p, Hash: hash})
	f, err := os.OpenFile(w.at(p), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if err := w.fill(r, f, content); err != nil {
		f.Close()
		return err
	}
	return w.finish(r, f, p, content)
}

func (w *workload) fill(r *rand.Rand, f *os.File, content string) error {
	for rest := content; rest != ""; {
		n := min(len(rest), 256<<10)
		if _, err := f.WriteString(rest[:n]); err != nil {
			return err
		}
		if rest = rest[n:]; r.IntN(4) == 0 {
			time.Sleep(time.Duration(r.IntN(3000)) * time.Microsecond) // the pace of a job, not a wait
		}
	}
	return nil
}

// finish closes a file whose content is written, sometimes after an fsync.
func (w *workload) finish(r *rand.Rand, f *os.File, p, content string) error {
	if r.IntN(3) == 0 {
		if err := f.Sync(); err != nil {
			f.Close()
			return err
		}
		w.log.write(promise{Op: opSynced, Path: p})
	}
	w.log.write(promise{Op: opClosing, Path: p})
	if err := f.Close(); err != nil {
		return err
	}
	w.log.write(promise{Op: opClosed, Path: p, Hash: sum(content), Size: int64(len(content))})
	return nil
}

func (w *workload) holdOpen(r *rand.Rand, p string) error {
	content := noise(100_000, r.Uint64())
	w.log.write(promise{Op: opBegin, Path: p, Hash: sum(content)})
	f, err := os.Create(w.at(p))
	if err != nil {
		return err
	}
	if err := w.fill(r, f, content); err != nil {
		f.Close()
		return err
	}
	time.Sleep(time.Duration(r.IntN(600)) * time.Millisecond)
	return w.finish(r, f, p, content)
}

// mkdirAll tells a daemon that has died by its own error: os.MkdirAll says that the mount
// point exists and is no directory.
func (w *workload) mkdirAll(dir string) error {
	err := os.MkdirAll(w.at(dir), 0o755)
	if err != nil && w.dead() {
		return errDied
	}
	return err
}

func (w *workload) move(from, to string) error {
	w.log.write(promise{Op: opMoving, Path: from, To: to})
	if err := os.Rename(w.at(from), w.at(to)); err != nil {
		return err
	}
	w.log.write(promise{Op: opMoved, Path: from, To: to})
	return nil
}

func (w *workload) removeAll(p string) error {
	w.log.write(promise{Op: opRemoving, Path: p})
	if err := os.RemoveAll(w.at(p)); err != nil {
		return err
	}
	w.log.write(promise{Op: opRemoved, Path: p})
	return nil
}

func (w *workload) evict(p string) error {
	if out, err := exec.Command("trainfs", "evict", w.at(p)).CombinedOutput(); err != nil && strings.Contains(string(out), "panic") {
		return fmt.Errorf("%w: evict %s: %s", errWrong, p, out)
	}
	return nil // what cannot be evicted now is not; without a daemon the next call says so
}

func (w *workload) readBack(p, hash string) error {
	b, err := os.ReadFile(w.at(p))
	switch {
	case errors.Is(err, syscall.EIO) && w.dead():
		return errDied
	case errors.Is(err, fs.ErrNotExist) && w.dead():
		return errDied
	case errors.Is(err, syscall.EIO) && w.Outage:
		return nil
	case err != nil:
		return err
	case sum(string(b)) != hash && !w.dead():
		return fmt.Errorf("%w: %s reads with hash %s, was written with %s", errWrong, p, sum(string(b)), hash)
	}
	return nil
}

// dead asks the daemon for something that the kernel does not remember.
func (w *workload) dead() bool {
	_, err := os.Lstat(w.at(fmt.Sprintf("no-such-name-%d", rand.Uint64())))
	return died(err)
}
