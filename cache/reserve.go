package cache

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// reserve keeps a full disk from killing the daemon. Badger writes its files through
// shared mappings, and the first store to a page for which the disk has no block is a
// SIGBUS. So every byte that Badger writes has a block before it is written:
//
//   - the log of the records in memory (NNNNN.mem) gets blocks ahead of what is written;
//   - so does the log of large values, before the first of them;
//   - when it may be full, Badger begins another one and writes the old one out as a table,
//     in the background. For that the disk must have turnBytes free, or the journal refuses
//     the records with ENOSPC;
//   - a ballast file holds as many blocks as that takes. It is given back for the moment in
//     which Badger needs them, so that commits and evictions, which make room, go on when the
//     disk is full.
//
// What the disk says it has free is not believed alone: of a quota it knows nothing. So blocks are
// taken for a moment, to see that they can be had.
//
// Between giving the ballast back and Badger's taking of it, a tenth of a second in some fifty
// thousand records, a program can fill the disk once more. Then the daemon dies as by kill -9,
// and loses no more than that (docs/guarantees.md, "Gaps").
//
// Only the journal's writer calls it, so it has no lock.
type reserve struct {
	dir     string // Badger's
	ballast string
	log     *slog.Logger

	mem    string // the log that is written
	used   int64  // upper bound of what is in it, and of what its records take in memory
	backed int64  // so much of it has blocks
	held   bool   // the ballast is there
	lent   bool   // it was given back for Badger
	rest   func() bool

	allocate func(name string, n int64) error
}

const (
	memTableBytes  = 8 << 20
	memFileBytes   = 2 * memTableBytes // as Badger maps it
	valueLogBytes  = 32 << 20          // no record can be larger; Badger maps twice that
	valueThreshold = 1 << 20           // bytes; Badger allows no more
	aheadBytes     = 1 << 20
	tightBytes     = 4 << 30  // a disk with less is filling up
	turnBytes      = 32 << 20 // a log of 16 MiB, a table of 9, and what compaction writes first
	recordOverhead = 160      // of a node of Badger's skip list, and of an entry of its log
	reserveEvery   = time.Second
	restTimeout    = 3 * time.Second // that a write waits for Badger to be done with what was lent
)

// newReserve makes sure that Badger can be opened in dir. Call opened when it is.
func newReserve(dir string, log *slog.Logger, allocate func(string, int64) error) (*reserve, error) {
	r := &reserve{dir: dir, ballast: dir + ".reserve", log: log, allocate: allocate}
	return r, r.ready()
}

// ready makes sure that there is room for what Badger does when it is opened.
func (r *reserve) ready() error {
	r.drop() // what the last daemon left
	logs, err := r.logs()
	if err != nil {
		return err
	}
	need := int64(turnBytes + len(logs)*memTableBytes)
	if err := r.has(need); err != nil {
		r.hold()
		return fmt.Errorf("the disk of %s, or a quota there, has not the %d MiB that the journal needs: make room there (CACHE/tree holds the data): %w",
			r.dir, need>>20, err)
	}
	return nil
}

// opened is called with Badger open; rest tells whether it has nothing to write out.
func (r *reserve) opened(rest func() bool) error {
	r.rest = rest
	if err := r.backFile("DISCARD"); err != nil {
		return err
	}
	r.turned()
	r.tend()
	return r.back(aheadBytes)
}

// before makes room for ops, or says that there is none.
func (r *reserve) before(group []*journalWrite) error {
	var need, values int64
	for _, w := range group {
		for _, o := range w.ops {
			n := int64(len(o.key) + len(o.value) + recordOverhead)
			if len(o.value) >= valueThreshold {
				values += n
				n = int64(len(o.key) + 2*recordOverhead)
			}
			need += n
		}
	}
	need += 2 * recordOverhead * (1 + need/(512<<10)) // an end entry a transaction
	if r.used+need >= memTableBytes || values > 0 {
		if err := r.room(turnBytes + 3*(need+values)); err != nil {
			return err
		}
	}
	if values > 0 {
		if err := r.backFile("*.vlog"); err != nil {
			return err
		}
	}
	if err := r.back(min(r.used+need, memFileBytes)); err != nil {
		return err
	}
	r.used += need
	return nil
}

// after looks whether Badger has begun another log.
func (r *reserve) after() {
	if r.used >= memTableBytes && r.turned() {
		if err := r.back(aheadBytes); err != nil {
			r.log.Warn("the disk is full", "path", r.dir, "err", err)
		}
	}
	if r.lent {
		r.regain(restTimeout)
	}
}

// turned finds the log that is written now, and tells whether it is a new one.
func (r *reserve) turned() bool {
	logs, err := r.logs()
	if err != nil || len(logs) == 0 || logs[len(logs)-1] == r.mem {
		return false
	}
	r.mem, r.used, r.backed = logs[len(logs)-1], 0, 0
	return true
}

// back sees that the first n bytes of the log have blocks.
func (r *reserve) back(n int64) error {
	if n <= r.backed || r.mem == "" {
		return nil
	}
	ahead := min(n+aheadBytes, memFileBytes)
	if r.held {
		ahead = memFileBytes
	}
	name := filepath.Join(r.dir, r.mem)
	err := r.allocate(name, ahead)
	if isNoSpace(err) {
		ahead = n
		err = r.allocate(name, ahead)
	}
	if isNoSpace(err) && r.held {
		r.lend()
		err = r.allocate(name, ahead)
	}
	if err != nil {
		return err
	}
	r.backed = ahead
	return nil
}

// backFile gives blocks to the whole of the last file of a pattern, whose size is fixed.
func (r *reserve) backFile(pattern string) error {
	names, err := filepath.Glob(filepath.Join(r.dir, pattern)) // sorted
	if err != nil || len(names) == 0 {
		return err
	}
	name := names[len(names)-1]
	st, err := os.Stat(name)
	if err != nil {
		return err
	}
	return r.allocate(name, st.Size())
}

// room sees that the disk has n bytes for Badger.
func (r *reserve) room(n int64) error {
	err := r.has(n)
	if err != nil && r.held {
		r.lend()
		err = r.has(n)
	}
	if err != nil {
		return fmt.Errorf("the journal in %s needs %d MiB for a moment: %w", r.dir, n>>20, err)
	}
	return nil
}

// has tells whether n bytes can be had.
func (r *reserve) has(n int64) error {
	if free := r.free(); free < n {
		return fmt.Errorf("%d MiB are left: %w", free>>20, unix.ENOSPC)
	}
	probe := r.dir + ".probe"
	err := r.take(probe, n)
	if rerr := os.Remove(probe); err == nil && !os.IsNotExist(rerr) {
		err = rerr
	}
	return err
}

// take makes a file of n bytes with blocks for all of them.
func (r *reserve) take(name string, n int64) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return r.allocate(name, n)
}

// tend takes the ballast, should it not be there: there was no room for it, or Badger had it.
func (r *reserve) tend() {
	switch {
	case r.lent:
		r.regain(0)
	case !r.held:
		r.hold()
		if r.held {
			if err := r.back(memFileBytes); err != nil {
				r.log.Warn("the disk is full", "path", r.dir, "err", err)
			}
		}
	}
}

func (r *reserve) hold() {
	if err := r.take(r.ballast, turnBytes+aheadBytes); err != nil {
		r.drop()
		return
	}
	r.held = true
}

func (r *reserve) drop() {
	if err := os.Remove(r.ballast); err != nil && !os.IsNotExist(err) {
		r.log.Warn("reserve of the journal", "path", r.ballast, "err", err)
	}
	r.held = false
}

func (r *reserve) lend() {
	r.drop()
	r.lent = true
}

// regain takes the ballast back once Badger has written what it had to. While it still
// writes, the blocks are its own, however long that takes: tend comes back.
func (r *reserve) regain(patience time.Duration) {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if logs, err := r.logs(); err != nil || len(logs) <= 1 && r.rest() {
			break
		}
		if time.Now().After(end) {
			return
		}
	}
	r.lent = false
	if r.hold(); !r.held {
		r.log.Warn("the disk is full: no room is left in reserve for the journal", "path", r.dir)
	}
}

// closing makes room for the last table; closed takes the ballast again, for the next start,
// if the disk is filling up. Without room Badger must not be closed.
func (r *reserve) closing() (closed func(), err error) {
	r.drop()
	closed = func() {
		if r.free() < tightBytes {
			r.hold()
		}
	}
	if err := r.room(turnBytes / 2); err != nil {
		closed()
		return nil, err
	}
	return closed, nil
}

// free is what the disk has for this process, bytes.
func (r *reserve) free() int64 {
	var fs unix.Statfs_t
	if err := unix.Statfs(r.dir, &fs); err != nil {
		return 0
	}
	if os.Geteuid() == 0 {
		return int64(fs.Bfree) * fs.Bsize
	}
	return int64(fs.Bavail) * fs.Bsize
}

// logs are the names of Badger's logs, the one that is written last.
func (r *reserve) logs() ([]string, error) {
	d, err := os.ReadDir(r.dir) // sorted, and the names have leading zeros
	var out []string
	for _, e := range d {
		if strings.HasSuffix(e.Name(), ".mem") {
			out = append(out, e.Name())
		}
	}
	return out, err
}

// allocate gives the first n bytes of a file blocks, and makes it so long at least.
func allocate(name string, n int64) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), 0, 0, n)
	if errors.Is(err, unix.EOPNOTSUPP) { // a disk that cannot promise space; nothing can be done
		return nil
	}
	if err != nil {
		return fmt.Errorf("reserve %s: %w", name, err)
	}
	return nil
}
