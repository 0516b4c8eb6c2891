package cache

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

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
		if err := c.bury(path, tombstone{seen: lerr != nil || c.isRecorded(path)}); err != nil {
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

// isRecorded tells whether the store is known to hold path.
func (c *Cache) isRecorded(path string) bool {
	var r fileRecord
	found, err := c.journal.get(tableFile, path, &r)
	return found && err == nil
}

// isRemovedWhole tells, of a checkpoint directory that is removed, whether its program knew that
// there was a checkpoint: this node has published a part of it, or something was removed there
// that the store has. An empty directory may have parts of other nodes that nobody here has seen.
func (c *Cache) isRemovedWhole(unit string) bool {
	var own struct{}
	if found, err := c.journal.get(tableOwn, unit, &own); found || err != nil {
		return err == nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, t := range c.mu.tombs {
		if t.seen && under(key, unit) {
			return true
		}
	}
	return false
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
	c.dropShadows(ctx, path)
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
		t := tombstone{Unit: true}
		if c.isRemovedWhole(path) {
			t.Made = time.Now()
		}
		err = c.bury(path, t)
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
