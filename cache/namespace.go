package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// text refuses what cannot be in a key, a manifest or the journal, all of which are UTF-8: a
// file of such a name could never be uploaded, and whoever makes it should know at once.
func text(s string) error {
	if !utf8.ValidString(s) {
		return syscall.EILSEQ
	}
	return nil
}

// creating checks that path may be made here, and makes its parent local.
func (c *Cache) creating(ctx context.Context, path string) error {
	if c.cfg.ReadOnly {
		return syscall.EROFS
	}
	if err := text(path); err != nil {
		return err
	}
	if c.cfg.Layout.Classify(path, false).Kind == layout.Internal {
		return syscall.EPERM // .trainfs is ours in the store
	}
	if err := c.shadow(ctx, parent(path)); err != nil {
		return err
	}
	c.names.created(parent(path))
	return c.freeSources(ctx, path)
}

// made finishes the making of a directory, link or special file.
func (c *Cache) made(path string, o Owner, dir bool) (Info, error) {
	if os.Geteuid() == 0 && (o.UID != 0 || o.GID != 0) {
		if err := c.tree.chown(path, int(o.UID), c.groupFor(path, o)); err != nil {
			return Info{}, err
		}
	}
	st, born, err := c.tree.info(path)
	if err != nil {
		return Info{}, err
	}
	c.touchPath(path, dir)
	return c.info(st, born), nil
}

// Mkdir makes a directory.
func (c *Cache) Mkdir(ctx context.Context, path string, mode uint32, o Owner) (Info, error) {
	if err := c.creating(ctx, path); err != nil {
		return Info{}, err
	}
	if err := c.tree.mkdir(path, mode); err != nil {
		return Info{}, err
	}
	c.names.born(path)
	return c.made(path, o, true)
}

// Mknod makes a special file, which stays local, or an empty regular one.
func (c *Cache) Mknod(ctx context.Context, path string, mode, rdev uint32, o Owner) (Info, error) {
	if err := c.creating(ctx, path); err != nil {
		return Info{}, err
	}
	if err := c.tree.mknod(path, mode, rdev); err != nil {
		return Info{}, err
	}
	return c.made(path, o, false)
}

// Symlink makes a symbolic link.
func (c *Cache) Symlink(ctx context.Context, target, path string, o Owner) (Info, error) {
	if err := text(target); err != nil { // it is the object's content, and in the manifest
		return Info{}, err
	}
	if err := c.creating(ctx, path); err != nil {
		return Info{}, err
	}
	if err := c.tree.symlink(target, path); err != nil {
		return Info{}, err
	}
	info, err := c.made(path, o, false)
	if err == nil && c.cfg.Layout.Classify(path, false).Kind == layout.Tracker {
		err = c.snapshotTrackerAt(path)
	}
	return info, err
}

// Readlink reads a symbolic link.
func (c *Cache) Readlink(ctx context.Context, path string) (target string, err error) {
	err = c.onLocal(ctx, path, false, func() (err error) {
		target, err = c.tree.readlink(path)
		return err
	})
	return target, err
}

// Link makes a hard link. The store gets two objects.
func (c *Cache) Link(ctx context.Context, old, new string) (Info, error) {
	if err := c.creating(ctx, new); err != nil {
		return Info{}, err
	}
	err := c.onLocal(ctx, old, false, func() error {
		if err := c.unsynced.settle(old); err != nil {
			return err
		}
		return c.tree.link(old, new)
	})
	if err != nil {
		return Info{}, err
	}
	st, err := c.tree.lstat(new)
	if err != nil {
		return Info{}, err
	}
	c.mu.Lock()
	c.linked(st.Ino, old)
	c.linked(st.Ino, new)
	c.mu.Unlock()
	return c.made(new, Owner{st.Uid, st.Gid}, false)
}

// linked notes one more name of an inode. Callers hold mu.
func (c *Cache) linked(ino uint64, path string) {
	if c.mu.links[ino] == nil {
		c.mu.links[ino] = map[string]bool{}
	}
	c.mu.links[ino][path] = true
}

// unlinked notes that a name of an inode is gone. Callers hold mu.
func (c *Cache) unlinked(ino uint64, path string) {
	if names := c.mu.links[ino]; names != nil {
		if delete(names, path); len(names) < 2 {
			delete(c.mu.links, ino)
		}
	}
}

// Unlink removes a file. The tombstone is written first, if the store may hold it.
func (c *Cache) Unlink(ctx context.Context, path string) error {
	if c.cfg.ReadOnly {
		return syscall.EROFS
	}
	st, lerr := c.tree.lstat(path)
	if lerr != nil {
		if _, err := c.remoteInfo(ctx, path); err != nil {
			return err
		}
	} else if isDir(&st) {
		return syscall.EISDIR
	}
	defer c.startGoing(path)()
	buried := lerr != nil || c.mayBeRemote(path)
	if buried {
		if err := c.bury(path, tombstone{}); err != nil {
			return err
		}
		killpoint.At(killpoint.UnlinkTomb)
	}
	if lerr == nil {
		if err := c.tree.unlink(path); err != nil {
			return err
		}
		killpoint.At(killpoint.UnlinkTree)
		c.idents.drop(path, &st)
		if !buried && c.mayBeRemote(path) { // a tracker, closed between the first look and now
			if err := c.bury(path, tombstone{}); err != nil {
				return err
			}
		}
	}
	if lerr != nil {
		if st, lerr = c.tree.lstat(path); lerr == nil { // fetched just before the tombstone was planted
			err := errors.Join(c.tree.unlink(path), c.retract(path, identityOf(&st)))
			if err != nil && !isNotExist(err) {
				return err
			}
			c.idents.drop(path, &st)
		}
	}
	c.removed(path, st.Ino)
	return nil
}

// mayBeRemote tells whether the store may hold path: it was committed or fetched once,
// or has been on its way up. It asks for that first: a commit that ends in between has
// written the record.
func (c *Cache) mayBeRemote(path string) bool {
	c.mu.Lock()
	up := c.mayBeUp(path)
	c.mu.Unlock()
	if up {
		return true
	}
	var r fileRecord
	found, err := c.journal.get(tableFile, path, &r)
	return found || err != nil
}

// mayBeUp tells whether the store may hold a file of which no record says so: it is going up
// at this moment, or an attempt that has failed, perhaps for want of the store's answer
// alone, has brought it there. Callers hold mu.
func (c *Cache) mayBeUp(path string) bool {
	_, unknown := c.mu.unknown[path]
	u := c.mu.units[c.unitPath(path)]
	return unknown || u != nil && (u.tried || len(u.versions) > 0)
}

// dirMayBeUp tells the same of the marker of a directory that is a unit of its own.
func (c *Cache) dirMayBeUp(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.mu.units[path]
	return u != nil && u.Dir && u.Class.Kind != layout.Checkpoint && u.tried
}

// bury writes a tombstone and forgets what was recorded under the key.
func (c *Cache) bury(path string, t tombstone) error {
	c.mu.Lock()
	t = c.numbered(path, t)
	c.mu.Unlock()
	ops := []op{put(tableTomb, path, t), del(tableFile, path), del(tableHint, path), del(tableMoved, path)}
	// Half a checkpoint in the store and no memory of why would be for ever: its deletion
	// must survive a power cut before it begins.
	write := c.journal.write
	if t.Unit {
		write = c.journal.durably
	}
	if err := write(ops...); err != nil {
		return err
	}
	c.mu.Lock()
	delete(c.mu.moved, path)
	c.mu.tombs[path] = t
	if c.cfg.Layout.Classify(path, false).Unit != path {
		c.shrink(path) // a member goes with its unit's next commit, not by itself
	}
	c.mu.Unlock()
	return nil
}

// removed settles the units after path has gone.
func (c *Cache) removed(path string, ino uint64) {
	class := c.cfg.Layout.Classify(path, false)
	c.names.forget(path)
	c.names.takenFrom(path)
	c.mu.Lock()
	c.orphan(path, func(open uint64) bool { return open == ino })
	c.unlinked(ino, path)
	delete(c.mu.unknown, path)
	c.unaccount(path)
	if class.Unit == path {
		c.forget(path)
	} else {
		c.shrink(path) // a member less: the unit is another one
		delete(c.mu.closed, path)
	}
	c.notify()
	c.mu.Unlock()
	c.poke()
}

// Rmdir removes an empty directory. That of a checkpoint takes its manifests along.
func (c *Cache) Rmdir(ctx context.Context, path string) error {
	if c.cfg.ReadOnly {
		return syscall.EROFS
	}
	if err := c.shadow(ctx, path); err != nil {
		return err
	}
	var rec dirRecord
	known, err := c.journal.get(tableDir, path, &rec)
	if err != nil {
		return err
	}
	c.mu.Lock()
	full := len(c.movedBelow(path)) > 0
	c.mu.Unlock()
	if full {
		return syscall.ENOTEMPTY
	}
	class := c.cfg.Layout.Classify(path, true)
	unit := class.Kind == layout.Checkpoint && class.Unit == path
	if known || unit {
		list, err := c.remoteNames(ctx, path)
		if err != nil && !c.names.offline() {
			return err
		}
		for _, e := range list {
			// A directory that only a manifest knows, of a commit that was under way when it was
			// removed, is none any more.
			gone := class.Kind == layout.Checkpoint &&
				(e.Type == syscall.S_IFDIR && !c.names.holdsFiles(class.Unit, join(path, e.Name)) || c.names.cameSince(join(path, e.Name)))
			if !gone && !c.tree.exists(join(path, e.Name)) {
				return syscall.ENOTEMPTY
			}
		}
	}
	if names, err := c.tree.names(path); err != nil {
		return err
	} else if len(names) > 0 {
		return syscall.ENOTEMPTY
	}
	defer c.startGoing(path)()
	up := !unit && c.dirMayBeUp(path) // before the record is read, as in mayBeRemote
	if known, err = c.journal.get(tableDir, path, &rec); err != nil {
		return err
	}
	switch {
	case unit && c.unitMayBeRemote(path):
		err = c.bury(path, tombstone{Unit: true})
	case known || up:
		err = c.bury(path+"/", tombstone{})
	}
	if err != nil {
		return err
	}
	killpoint.At(killpoint.RmdirTomb)
	if err := c.tree.rmdir(path); err != nil {
		return err
	}
	killpoint.At(killpoint.RmdirTree)
	if known {
		if err := c.journal.write(del(tableDir, path)); err != nil {
			return err
		}
	}
	c.removed(path, 0)
	if !unit && class.Unit != path { // inside a checkpoint
		return nil
	}
	c.mu.Lock()
	c.forget(path)
	c.mu.Unlock()
	return nil
}

// unitMayBeRemote tells whether anything of a checkpoint directory, be it a marker,
// may be in the store.
func (c *Cache) unitMayBeRemote(unit string) bool {
	for _, table := range []string{tableOpen, tableOwn, tableSeal, tableDir} {
		var any struct{}
		if found, err := c.journal.get(table, unit, &any); found || err != nil {
			return true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.mu.tombs {
		if under(key, unit) {
			return true
		}
	}
	u := c.mu.units[unit]
	return u != nil && u.tried
}

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
		if err != nil {
			return err
		}
		err = c.renameOnce(ctx, old, new, flags, remote)
		if !isNotExist(err) || try == leftTries { // else it may have been evicted in between
			return err
		}
	}
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
