package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// Rename moves a file or directory. Nothing is deleted in the store before the new
// name is committed there.
//
// Crash argument: the tombstones of the old keys and the copy hints of the new ones
// are written first, then the tree changes, then the old records go. A tombstone
// whose path still exists in the tree is void, so a crash before the rename leaves
// nothing behind; after it, the new path has no clean record and is committed
// again, by a copy inside the store where the hint holds.
func (c *Cache) Rename(ctx context.Context, old, new string, flags uint32) error {
	if err := c.creating(ctx, new); err != nil {
		return err
	}
	if flags&unix.RENAME_EXCHANGE != 0 {
		if err := text(old); err != nil { // something gets this name
			return err
		}
		return c.exchange(ctx, old, new)
	}
	for try := 0; ; try++ {
		remote, err := c.remoteOnly(ctx, old)
		if err == nil {
			err = c.renameOnce(ctx, old, new, flags, remote)
		} else if !errors.Is(err, errTakenAway) {
			return err
		}
		if !isNotExist(err) && !errors.Is(err, errElsewhere) || try == leftTries { // else it may have been evicted in between
			return err
		}
	}
}

// errElsewhere says that the bytes of a file are not where they were found a moment ago.
var errElsewhere = fmt.Errorf("a commit has moved it meanwhile: %w", syscall.EAGAIN)

// areThere says errElsewhere unless the files' bytes are still to be kept where they were found: a
// commit may have copied one meanwhile, and what it was copied from may be deleted by now. It is
// asked after startMove, from when on no more deletions begin.
func (c *Cache) areThere(remote map[string]remoteEntry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, e := range remote {
		key := p
		if r, ok := c.mu.moved[p]; ok {
			key = r.Key
		}
		if e.key(p) != key {
			return errElsewhere
		}
	}
	return nil
}

func (c *Cache) renameOnce(ctx context.Context, old, new string, flags uint32, remote map[string]remoteEntry) error {
	if err := c.prepareTarget(ctx, new, flags); err != nil {
		return err
	}
	if old == new {
		return nil
	}
	if _, only := remote[old]; only {
		return c.renameRemote(old, new, flags, remote)
	}
	st, err := c.tree.lstat(old)
	if err != nil {
		return err
	}
	if t, err := c.tree.lstat(new); err == nil && t.Ino == st.Ino {
		return nil // two names of one file: rename(2) does nothing
	}
	var dir uint64
	if isDir(&st) {
		dir = st.Ino
	}
	if err := c.unsynced.settle(old); err != nil {
		return err
	}
	defer c.startMove()()
	defer c.startGoing(old)()
	if err := c.areThere(remote); err != nil {
		return err
	}
	m, err := c.plantMove(old, new, dir, remote)
	if err != nil {
		return err
	}
	killpoint.At(killpoint.RenamePlanted)
	if err := c.tree.rename(old, new, flags); err != nil {
		c.undoMove(m)
		return err
	}
	killpoint.At(killpoint.RenameTree)
	if err := c.journal.write(m.finish...); err != nil {
		return err
	}
	killpoint.At(killpoint.RenameFinish)
	err = c.moved(m, old, new, isDir(&st), st.Ino)
	killpoint.At(killpoint.RenameAdopted)
	return err
}

// renameRemote renames a file that has no place in the tree.
func (c *Cache) renameRemote(old, new string, flags uint32, remote map[string]remoteEntry) error {
	if t, err := c.tree.lstat(new); err == nil {
		switch {
		case flags&unix.RENAME_NOREPLACE != 0:
			return syscall.EEXIST
		case isDir(&t):
			return syscall.EISDIR
		}
	}
	defer c.startMove()()
	defer c.startGoing(old)()
	if err := c.areThere(remote); err != nil {
		return err
	}
	m, err := c.plantMove(old, new, 0, remote)
	if err != nil {
		return err
	}
	if err := c.takeBack(old); err != nil {
		c.undoMove(m)
		return err
	}
	killpoint.At(killpoint.RenamePlanted)
	if err := c.tree.unlink(new); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.undoMove(m)
		return err
	}
	killpoint.At(killpoint.RenameTree)
	if err := c.journal.write(m.finish...); err != nil {
		return err
	}
	killpoint.At(killpoint.RenameFinish)
	err = c.moved(m, old, new, false, 0)
	killpoint.At(killpoint.RenameAdopted)
	return err
}

// exchange swaps the names of two files. Each side becomes dirty; nothing is deleted. Two
// directories it refuses, as do file systems that cannot do it at all: each key below one of
// them would have to be deleted that is not below the other, with an intent that covers both.
func (c *Cache) exchange(ctx context.Context, a, b string) error {
	for _, p := range []string{a, b} {
		info, err := c.Stat(ctx, p)
		if err != nil {
			return err
		}
		if info.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			return syscall.EINVAL
		}
	}
	for _, p := range []string{a, b} {
		if err := c.localizeAll(ctx, p); err != nil {
			return err
		}
		if err := c.unsynced.settle(p); err != nil {
			return err
		}
	}
	c.planting.RLock()
	defer c.planting.RUnlock()
	if err := c.tree.rename(a, b, unix.RENAME_EXCHANGE); err != nil {
		return err
	}
	for _, p := range []string{a, b} { // a tracker's versions go, and since when the store is behind must not
		if c.cfg.Layout.Classify(p, false).Kind == layout.Tracker && c.mayBeRemote(p) {
			if err := c.bury(p, tombstone{}); err != nil {
				return err
			}
		}
	}
	c.mu.Lock()
	c.forget(a)
	c.forget(b)
	for h := range c.mu.handles {
		switch p := h.Path(); {
		case under(p, a):
			h.move(b + p[len(a):])
		case under(p, b):
			h.move(a + p[len(b):])
		}
	}
	c.recountWriters()
	c.unaccount(a)
	c.unaccount(b)
	c.mu.Unlock()
	c.accountTree(a)
	c.accountTree(b)
	return errors.Join(c.adopt(a), c.adopt(b))
}

// prepareTarget makes what a rename replaces local enough to be replaced.
func (c *Cache) prepareTarget(ctx context.Context, new string, flags uint32) error {
	if c.tree.exists(new) {
		c.dropShadows(ctx, new)
		return nil
	}
	info, err := c.remoteInfo(ctx, new)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		if c.names.offline() {
			return nil
		}
		return err
	}
	if flags&unix.RENAME_NOREPLACE != 0 {
		return syscall.EEXIST
	}
	if info.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		if err := c.shadow(ctx, new); err != nil {
			return err
		}
		if list, err := c.remoteNames(ctx, new); err != nil || len(list) > 0 {
			return errors.Join(syscall.ENOTEMPTY, err)
		}
		return nil
	}
	return c.seen(new)
}

// seen notes that this node knows of an object in the store, before it replaces it: if the
// new file goes away again before its commit, the object must, too.
func (c *Cache) seen(path string) error {
	var r fileRecord
	if found, err := c.journal.get(tableFile, path, &r); found || err != nil {
		return err
	}
	return c.journal.write(put(tableFile, path, fileRecord{}))
}
