package cache

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

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
	h.noted.Store(&flushNote{time.Now(), st.Size, st.Mtim.Nano()})
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
	var closed time.Time
	if st, err := c.tree.lstat(path); err == nil && isRegular(&st) && st.Ino == h.ino {
		closed = h.closedAsFlushed(&st)
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
		was := *u
		u.touchNow()
		u.said = was.said // asked for while it was still open
		if !closed.IsZero() {
			u.touched = later(was.touched, closed)
			if was.hurriedAt.After(u.touched) { // else that was while the file was being written
				u.hurriedAt = was.hurriedAt
			}
		}
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
