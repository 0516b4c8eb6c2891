package cache

import (
	"crypto/rand"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A deletion is of a checkpoint as a whole: what this node has written in it and not published
// yet goes with the rest when another node deletes it. But nothing goes that was written after
// the deletion, for a checkpoint that is made anew under the same name. So a unit is given up only
// if the store was seen without the deletion after the last program had written to it.
//
// Crash argument: one rename takes the directory out of the tree, into fetch/, where a start
// removes what it does not know. Before it, the unit waits here as it did; after it nothing is
// there to go up. The records that follow speak of files that are not there: without a crash they
// go at once, after one they count as those of evicted files, which the next commit under that
// name compares with the store (Overtaken).

// Standing notes that at that moment no other node was deleting the unit.
func (c *Cache) Standing(u *Unit, at time.Time) {
	c.mu.Lock()
	u.standing = at
	c.mu.Unlock()
}

// GiveUp drops a unit that another node is deleting, unless it is in use here, or a program may
// have written to it since the deletion began.
func (c *Cache) GiveUp(u *Unit) (bool, error) {
	trash := filepath.Join(c.dir, "fetch", "deleted-"+rand.Text())
	c.mu.Lock()
	ok, err := c.takeAway(u, trash)
	var ops []op
	if ok {
		ops = c.forgetGivenUp(u.Path)
	}
	c.notify()
	c.mu.Unlock()
	if !ok || err != nil {
		return false, err
	}
	c.names.forget(u.Path)
	for _, table := range []string{tableFile, tableHint, tableDir, tableSent} {
		err := below(c.journal, table, u.Path, func(p string, _ struct{}) error {
			ops = append(ops, del(table, p))
			return nil
		})
		if err != nil {
			return true, err
		}
	}
	if err := c.journal.write(ops...); err != nil {
		return true, err
	}
	c.poke()
	return true, os.RemoveAll(trash)
}

// takeAway moves a unit out of the tree, if it may go. Callers hold mu.
func (c *Cache) takeAway(u *Unit, trash string) (bool, error) {
	if c.mu.units[u.Path] != u || u.writers > 0 || u.publishing || !u.touched.Before(u.standing) || c.mu.moving > 0 || c.isGoing(u.Path) {
		return false, nil
	}
	for p := range c.mu.opened {
		if under(p, u.Path) {
			return false, nil
		}
	}
	err := c.tree.at(u.Path, func(dirfd int, name string) error {
		return unix.Renameat2(dirfd, name, unix.AT_FDCWD, trash, unix.RENAME_NOREPLACE)
	})
	switch {
	case isNotExist(err): // all of it was only in the store, under other names
		return true, nil
	case err != nil:
		return false, err
	case !changedSince(trash, u.standing):
		return true, nil
	}
	// A file that is being made at this moment is not counted as open yet.
	return false, c.tree.at(u.Path, func(dirfd int, name string) error {
		return unix.Renameat2(unix.AT_FDCWD, trash, dirfd, name, unix.RENAME_NOREPLACE)
	})
}

// forgetGivenUp drops what is known of a unit, and says what is to go from the journal. Its open
// marker becomes a stray. Callers hold mu.
func (c *Cache) forgetGivenUp(unit string) []op {
	c.forget(unit)
	c.unaccount(unit)
	c.mu.strays[unit] = struct{}{}
	delete(c.mu.torn, unit)
	ops := []op{del(tableSeal, unit), del(tableOwn, unit), del(tableTorn, unit)}
	for p := range c.mu.unknown {
		if under(p, unit) {
			delete(c.mu.unknown, p)
		}
	}
	for _, p := range c.movedBelow(unit) {
		delete(c.mu.moved, p)
		ops = append(ops, del(tableMoved, p))
	}
	for key := range c.mu.tombs {
		if under(key, unit) {
			delete(c.mu.tombs, key)
			ops = append(ops, del(tableTomb, key))
		}
	}
	return ops
}

// changedSince tells whether a file in a directory has changed, be it only its name.
func changedSince(dir string, since time.Time) (changed bool) {
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		changed = changed || !ok || time.Unix(st.Ctim.Unix()).After(since)
		return nil
	})
	return changed || err != nil
}
