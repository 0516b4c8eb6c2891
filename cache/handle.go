package cache

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// Handle is an open file of the tree. Its owner closes File and then calls
// Released, once.
type Handle struct {
	c     *Cache
	file  *os.File
	write bool
	flags int // of open(2)
	slot  int32
	ino   uint64
	path  atomic.Pointer[string] // moves with renames, under Cache.mu

	stream *fetch // where the content comes from, if it was not all there at open

	killed atomic.Bool // whoever closed it last was being killed

	doubtful atomic.Bool // it went up, and a mapping may change it since

	flush   sync.Mutex // one snapshot of a tracker at a time
	flushed Identity
	synced  Identity // at the last fsync
}

// File is the file itself; for passthrough, too.
func (h *Handle) File() *os.File { return h.file }

// Path is where the file is now.
func (h *Handle) Path() string { return *h.path.Load() }

// Open opens an existing file. A remote one is fetched first, unless it is to be
// truncated anyway. flags are those of open(2).
func (c *Cache) Open(ctx context.Context, path string, flags int) (*Handle, error) {
	write := flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0
	if write && c.cfg.ReadOnly {
		return nil, syscall.EROFS
	}
	if !write {
		return c.openRead(ctx, path, flags)
	}
	if err := c.admit(ctx); err != nil {
		return nil, err
	}
	slot, err := c.opens.take(path)
	if err != nil {
		return nil, err
	}
	killpoint.At(killpoint.OpenSlot)
	var h *Handle
	err = c.onLocal(ctx, path, flags&unix.O_TRUNC != 0, func() error {
		err := c.takeOver(path)
		if err == nil {
			h, err = c.openCounted(path, flags, slot)
		}
		return err
	})
	if err != nil {
		c.opens.release(slot)
		return nil, err
	}
	f := h.file
	killpoint.At(killpoint.OpenInode)
	if flags&unix.O_TRUNC != 0 {
		c.rewritten(path)
		if err := unix.Ftruncate(int(f.Fd()), 0); err != nil {
			f.Close()
			h.Released()
			return nil, err
		}
		killpoint.At(killpoint.OpenCut)
	}
	return h, nil
}

// openCounted opens a local file for writing, and counts the handle before anybody can take the
// file away: what is written to one that has left the tree would be lost. Its inode goes into
// the table of open files before O_TRUNC can destroy anything.
func (c *Cache) openCounted(path string, flags int, slot int32) (*Handle, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := c.tree.open(path, flags&^(unix.O_CREAT|unix.O_TRUNC))
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, err
	}
	c.opens.opened(slot, st.Ino)
	return c.count(f, path, flags, slot, st.Ino), nil
}

// takeOver notes, before a fetched file can be changed, that what is in it is no longer
// only what was fetched: after a power cut it is not taken for a damaged copy.
func (c *Cache) takeOver(path string) error {
	var r fileRecord
	found, err := c.journal.get(tableFile, path, &r)
	if err != nil || !found || r.Mine {
		return err
	}
	r.Mine = true
	err = c.journal.durably(put(tableFile, path, r))
	killpoint.At(killpoint.OpenTakenOver)
	return err
}

// openRead opens a file for reading; a large remote one before it is all here.
func (c *Cache) openRead(ctx context.Context, path string, flags int) (*Handle, error) {
	for range leftTries {
		stream, err := c.localOrStream(ctx, path)
		if err != nil {
			return nil, err
		}
		if stream != nil {
			f, err := stream.reopen()
			if err != nil {
				stream.leave()
				return nil, err
			}
			h := c.newHandle(f, path, unix.O_RDONLY, 0, 0)
			h.stream = stream
			return h, nil
		}
		f, err := c.tree.open(path, flags&^unix.O_CREAT)
		if err == nil {
			return c.newHandle(f, path, unix.O_RDONLY, 0, 0), nil
		}
		if !errors.Is(err, fs.ErrNotExist) { // else it was evicted in between
			return nil, err
		}
	}
	return nil, fs.ErrNotExist
}

// Create makes a file, or opens it as Open does if it is there and flags have no
// O_EXCL.
func (c *Cache) Create(ctx context.Context, path string, flags int, mode uint32, o Owner) (*Handle, Info, error) {
	if err := c.creating(ctx, path); err != nil {
		return nil, Info{}, err
	}
	// The kernel has just looked the name up, and with it the store: that is not asked again.
	if flags&unix.O_EXCL == 0 && c.tree.exists(path) {
		h, err := c.Open(ctx, path, flags&^unix.O_CREAT)
		return c.withInfo(h, err)
	}
	if err := c.admit(ctx); err != nil {
		return nil, Info{}, err
	}
	slot, err := c.opens.take(path)
	if err != nil {
		return nil, Info{}, err
	}
	killpoint.At(killpoint.CreateSlot)
	f, err := c.tree.create(path, flags|unix.O_EXCL, mode)
	if err != nil {
		c.opens.release(slot)
		return nil, Info{}, err
	}
	killpoint.At(killpoint.CreateFile)
	c.own(f, path, o)
	st, born, err := statx(int(f.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		f.Close()
		c.opens.release(slot)
		return nil, Info{}, err
	}
	c.opens.opened(slot, st.Ino)
	killpoint.At(killpoint.CreateInode)
	h := c.newHandle(f, path, flags, slot, st.Ino)
	return h, c.info(st, born), nil
}

func (c *Cache) withInfo(h *Handle, err error) (*Handle, Info, error) {
	if err != nil {
		return nil, Info{}, err
	}
	st, born, err := statx(int(h.file.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		h.file.Close()
		h.Released()
		return nil, Info{}, err
	}
	return h, c.info(st, born), nil
}

// own gives a new file to the program's user; its group is the directory's, if that
// is set-group-id.
func (c *Cache) own(f *os.File, path string, o Owner) {
	if os.Geteuid() == 0 && (o.UID != 0 || o.GID != 0) {
		unix.Fchown(int(f.Fd()), int(o.UID), c.groupFor(path, o))
	}
}

func (c *Cache) groupFor(path string, o Owner) int {
	if st, err := c.tree.lstat(parent(path)); err == nil && st.Mode&syscall.S_ISGID != 0 {
		return -1 // the kernel has set it
	}
	return int(o.GID)
}

// newHandle counts an open file; one without a slot is open for reading.
func (c *Cache) newHandle(f *os.File, path string, flags int, slot int32, ino uint64) *Handle {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count(f, path, flags, slot, ino)
}

// count is newHandle for those who hold mu.
func (c *Cache) count(f *os.File, path string, flags int, slot int32, ino uint64) *Handle {
	write := slot != 0
	h := &Handle{c: c, file: f, write: write, flags: flags, slot: slot, ino: ino}
	h.path.Store(&path)
	c.mu.opened[path]++
	if !write {
		return h
	}
	c.mu.handles[h] = struct{}{}
	c.mu.unclosed[ino]++
	c.mu.writers[path]++
	delete(c.mu.closed, path)
	delete(c.mu.unknown, path)
	if _, unasked := c.mu.unasked[path]; unasked {
		delete(c.mu.unasked, path)
		c.mu.unknown[path] = struct{}{}
	}
	for _, p := range c.sharing(ino, path) {
		if u := c.touch(p, false); u != nil && p == path {
			u.writers++
		}
	}
	return h
}

// sharing is path and the other names of its inode. Callers hold mu.
func (c *Cache) sharing(ino uint64, path string) []string {
	names := c.mu.links[ino]
	if len(names) < 2 {
		return []string{path}
	}
	out := []string{path}
	for p := range names {
		if p != path {
			out = append(out, p)
		}
	}
	return out
}

// Touched says that a write or a truncate went through the daemon.
func (h *Handle) Touched() {
	h.c.mu.Lock()
	for _, p := range h.c.sharing(h.ino, h.Path()) {
		h.c.touch(p, false)
	}
	h.c.mu.Unlock()
}

// Flush is called when a program closes a descriptor of the file, perhaps not the
// last one. What it returns is what close returns.
func (h *Handle) Flush(ctx context.Context) error {
	if !h.write {
		return nil
	}
	h.settleDoubt()
	var st unix.Stat_t
	if err := unix.Fstat(int(h.file.Fd()), &st); err != nil {
		return err
	}
	h.c.opens.flushed(h.slot, st.Size, st.Mtim.Nano())
	killpoint.At(killpoint.CloseNoted)
	if err := h.closing(ctx, &st); err != nil {
		return err
	}
	// What close has waited for may have taken longer than the release gets.
	h.c.opens.flushed(h.slot, st.Size, st.Mtim.Nano())
	return nil
}

// closing does what close waits for.
func (h *Handle) closing(ctx context.Context, st *unix.Stat_t) error {
	path := h.Path()
	if st.Nlink == 0 || path == "" { // see orphan.go
		return nil
	}
	switch class := h.c.cfg.Layout.Classify(path, false); {
	case class.Kind == layout.Tracker && !h.killed.Load():
		if err := h.snapshotTracker(st); err != nil {
			return err
		}
		killpoint.At(killpoint.CloseVersion)
	case class.Kind == layout.Control && h.c.committer != nil:
		return h.c.commitControl(ctx, path)
	}
	if h.c.cfg.CommitOnClose && h.c.committer != nil {
		return h.c.committer.CommitFile(ctx, path)
	}
	return nil
}

// commitControl waits for a control file to be in the store, but no longer than
// control_timeout: then the upload goes on behind.
func (c *Cache) commitControl(ctx context.Context, path string) error {
	wait, cancel := context.WithTimeout(ctx, c.cfg.ControlTimeout)
	defer cancel()
	err := c.committer.CommitFile(wait, path)
	if err != nil && ctx.Err() == nil {
		c.log.Warn("control file is not in the store yet, the upload goes on behind", "path", path, "err", err)
		err = nil
	}
	return err
}

// Fsync makes the file durable: on the local disk, or with fsync=remote in the store.
func (h *Handle) Fsync(ctx context.Context) error {
	if err := h.file.Sync(); err != nil {
		return err
	}
	if h.write {
		h.noteSynced()
		if h.c.waitsForDeletion(h.Path()) {
			// A power cut that takes the deletion alone would make this, made since and perhaps with
			// the same inode number, look like a damaged copy of what was deleted.
			if err := h.c.journal.durably(); err != nil {
				return err
			}
		}
	}
	if h.write && h.Path() != "" && h.c.cfg.FsyncRemote && h.c.committer != nil {
		var st unix.Stat_t
		if err := unix.Fstat(int(h.file.Fd()), &st); err != nil {
			return err
		}
		if h.c.cfg.Layout.Classify(h.Path(), false).Kind == layout.Tracker {
			if err := h.snapshotTracker(&st); err != nil {
				return err
			}
		}
		return h.c.committer.CommitFile(ctx, h.Path())
	}
	return nil
}

// noteSynced remembers what a tracker looked like when it was synced: the version that its
// close keeps is then to survive a power cut too.
func (h *Handle) noteSynced() {
	var st unix.Stat_t
	if h.c.cfg.Layout.Classify(h.Path(), false).Kind != layout.Tracker || unix.Fstat(int(h.file.Fd()), &st) != nil {
		return
	}
	s := fromUnix(&st)
	h.flush.Lock()
	h.synced = identityOf(&s)
	h.flush.Unlock()
}

// CanTear tells whether half of the file, taken for the whole, would mislead a reader.
func (h *Handle) CanTear() bool {
	return h.write && canTear(h.c.cfg.Layout.Classify(h.Path(), false))
}

// Killed tells, before Flush, whether the program that closes the file is doing so because
// a signal kills it: then nobody has finished the file.
func (h *Handle) Killed(yes bool) { h.killed.Store(yes) }

// Released says that the last descriptor is gone and File has been closed. A file that is
// still mapped for writing stays open for the cache.
func (h *Handle) Released() {
	if h.write {
		h.closed()
		if h.mapped() {
			h.c.hold(h)
			return
		}
	}
	h.release()
}

// release takes the handle off all counts. A rename may come at any moment of it: the path
// under which a handle is counted is the one that it has under mu.
func (h *Handle) release() {
	c := h.c
	if h.stream != nil {
		h.stream.leave()
	}
	c.mu.Lock()
	path := h.Path()
	c.usedNow(path)
	if !h.write {
		c.closedAs(path)
	}
	c.mu.Unlock()
	if !h.write {
		return
	}
	killpoint.At(killpoint.CloseRelease)
	h.settleDoubt()
	if st, err := c.tree.lstat(path); err == nil && isRegular(&st) && st.Ino == h.ino {
		c.mu.Lock()
		c.account(path, &st, time.Now())
		c.mu.Unlock()
		h.lastVersion(path, &st)
	}
	if h.killed.Load() {
		c.abandoned(path, h.ino)
	}
	c.mu.Lock()
	path = h.Path()
	unit, closes := c.cfg.Layout.Closes(path, false, layout.Closed)
	c.closedAs(path)
	delete(c.mu.handles, h)
	if c.mu.writers[path]--; c.mu.writers[path] <= 0 {
		delete(c.mu.writers, path)
	}
	if u := c.mu.units[c.unitPath(path)]; u != nil && u.writers > 0 {
		u.writers--
		said := u.said
		u.touchNow()
		u.said = said // asked for while it was still open
		if c.cfg.Layout.Classify(path, false).Kind == layout.Checkpoint && c.mu.writers[path] == 0 {
			c.mu.closed[path] = time.Now()
		}
		if closes && unit == u.Path {
			u.said = true
		}
	}
	c.mu.Unlock()
	c.opens.release(h.slot)
	killpoint.At(killpoint.CloseReleased)
	c.poke()
}

// Writing tells whether path is open for writing.
func (c *Cache) Writing(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.writers[path] > 0
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Streaming tells that the content is still being fetched: it must be read through
// ReadAt. It is fixed for the life of the handle.
func (h *Handle) Streaming() bool { return h.stream != nil }

// Wait waits for a range to arrive, and tells whether it can be read from File then.
func (h *Handle) Wait(ctx context.Context, off int64, n int) (inFile bool, err error) {
	if h.stream == nil {
		return true, nil
	}
	return h.stream.wait(ctx, off, n)
}

// ReadAt reads, and waits for the range to arrive. It is short only at the end of the
// file.
func (h *Handle) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if h.stream != nil {
		return h.stream.readAt(ctx, p, off)
	}
	n, err := h.file.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
