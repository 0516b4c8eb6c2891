package cache

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// A shared mapping can outlive the last descriptor of its file. Without passthrough the
// kernel sends RELEASE when the mapping is gone as well. With passthrough the mapping is of
// the file in the tree itself, RELEASE comes with the last close, and what is written
// through the mapping from then on is seen by nobody but that file.
//
// So it is asked for. A mapping holds the file that it was made of open, and a file that
// somebody may write to gets no read lease: fcntl(2), F_SETLEASE. A file of which all
// descriptors are closed and which gets none is mapped, and counts as open, in everything,
// until it gets one. Where leases cannot be had (NFS, a cache on overlayfs, whose mappings
// are of the file below, another user's file without CAP_LEASE), the mtime is left, see
// recheck.go.
//
// An mtime says little of a mapping: it moves when a page is written for the first time
// since it was last on the disk, on tmpfs only once. So a file that went up while it was
// open for reading and writing, as it must be to be mapped for writing, gets a new one at
// its release: it goes up again, as it is at the end.

const (
	firstMappedLook = time.Millisecond // the kernel lets go of the file about when RELEASE comes
	lastMappedLook  = time.Second
	mappedLookShare = 4 // looks have at most one part in as many and one of the time, whatever is mapped
)

// mapping says when a file that was mapped is looked at again: after twice the time each time.
type mapping struct {
	next time.Time
	wait time.Duration
}

// mapped tells whether the file that h had open can still be written to through a mapping.
// Its descriptors are closed.
func (h *Handle) mapped() bool {
	if h.flags&unix.O_ACCMODE != unix.O_RDWR {
		return false // mmap(2) wants both
	}
	f, err := h.c.tree.open(h.Path(), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return false // deleted, say
	}
	defer f.Close()
	fd := int(f.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != h.ino || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil { // its close would do, but later
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		return false
	}
	return errors.Is(err, unix.EAGAIN) && !h.shared()
}

// shared tells whether another handle has the same file open for writing: then that is why
// there is no lease, and its own release asks again.
func (h *Handle) shared() bool {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	return h.c.mu.unclosed[h.ino] > 0
}

// closed says that the descriptors of a handle for writing are closed.
func (h *Handle) closed() {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	if h.c.mu.unclosed[h.ino]--; h.c.mu.unclosed[h.ino] <= 0 {
		delete(h.c.mu.unclosed, h.ino)
	}
}

// hold keeps h open until its file is no longer mapped. If the cache is closed first, h
// stays in the table of what is open: the next start finds out.
func (c *Cache) hold(h *Handle) {
	c.mu.Lock()
	c.mu.mapped[h] = mapping{time.Now().Add(firstMappedLook), firstMappedLook}
	c.mu.Unlock()
	select {
	case c.mappings <- struct{}{}:
	default:
	}
}

// lookAtMapped releases the files that are no longer mapped, of those that are due by then.
func (c *Cache) lookAtMapped(then time.Time) {
	c.mappedLook.Lock()
	defer c.mappedLook.Unlock()
	c.mu.Lock()
	var due []*Handle
	for h, m := range c.mu.mapped {
		if !m.next.After(then) {
			due = append(due, h)
		}
	}
	c.mu.Unlock()
	for _, h := range due {
		still := h.mapped()
		if !still {
			h.release()
		}
		c.mu.Lock()
		if m := c.mu.mapped[h]; still {
			c.mu.mapped[h] = mapping{time.Now().Add(m.wait), min(2*m.wait, lastMappedLook)}
		} else {
			delete(c.mu.mapped, h)
		}
		c.mu.Unlock()
	}
}

// lookAtAllMapped is for whoever asks now what is still open.
func (c *Cache) lookAtAllMapped() { c.lookAtMapped(time.Now().Add(lastMappedLook)) }

// nextMappedLook is in how long a mapped file is due, if there is one.
func (c *Cache) nextMappedLook() (wait time.Duration, any bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = lastMappedLook
	for _, m := range c.mu.mapped {
		wait, any = min(wait, time.Until(m.next)), true
	}
	return wait, any
}

// watchMapped looks at mapped files, if there are any.
func (c *Cache) watchMapped() {
	defer c.loops.Done()
	var took time.Duration
	for {
		wait, any := c.nextMappedLook()
		if !any {
			select {
			case <-c.stop:
				return
			case <-c.mappings:
			}
			continue
		}
		select {
		case <-c.stop:
			return
		case <-time.After(max(wait, firstMappedLook, mappedLookShare*took)):
		}
		start := time.Now()
		c.lookAtMapped(start)
		took = time.Since(start)
	}
}

// Doubt is asked before the content of a file is read: it tells whether the file is open in a
// way in which it can be mapped for writing, so that its mtime speaks of what is written
// through the mapping only after an fsync, if at all. If so, what is read now is not taken
// for what the file is at its close.
func (c *Cache) Doubt(f *FileState) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.writers[f.Path] == 0 {
		return false
	}
	doubt := false
	for h := range c.mu.handles {
		if h.ino == f.ID.Ino && h.flags&unix.O_ACCMODE == unix.O_RDWR {
			h.doubtful.Store(true)
			doubt = true
		}
	}
	return doubt
}

// settleDoubt gives the file a new mtime, if what went up may not be what it is.
func (h *Handle) settleDoubt() {
	if h.doubtful.Swap(false) {
		h.c.distrust(h.Path(), h.ino)
	}
}

// distrust gives a file a new mtime, so that it is not taken for what was committed.
func (c *Cache) distrust(path string, ino uint64) {
	st, err := c.tree.lstat(path)
	if err != nil || st.Ino != ino {
		return
	}
	now := later(time.Now(), mtimeOf(&st).Add(time.Microsecond))
	if err := c.tree.utimes(path, nil, &now); err != nil {
		c.log.Error("what was written through a mapping may not go up", "path", path, "err", err)
	}
}
