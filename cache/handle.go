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

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache/killpoint"
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

	noted atomic.Pointer[flushNote] // of its last close

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
		if errors.Is(err, errTakenAway) {
			continue // another file may have that name now
		}
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
