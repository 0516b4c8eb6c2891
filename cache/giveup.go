package cache

import (
	"errors"
	"syscall"
	"time"
)

// A deletion is of a checkpoint as a whole: what this node has written in it and has not published
// goes with the rest when another node deletes it, as it would from a shared file system. What was
// written after the deletion stays, for it is of a checkpoint that is made anew under that name:
// the deletion may have come to the store long after it was made. So a unit goes only if all of it
// is older than the deletion, by what its files and the daemon itself remember; and whatever is
// not simple stays. So does a part whose publishing has begun: objects of it may be in the store,
// put there after the deletion had looked, and it rolls forward.
//
// Crash argument: first the unit is torn, all of its files, and its seal goes, in one record; then
// the files go one by one, then what the journal says of them. Kill in between: what is left is
// torn, and never published; fsck names it. A file that a program makes there meanwhile is none of those, and
// goes up once they are gone. Kill after the last file: the records speak of files that are not
// there, as after an eviction, of objects that are not there either. The word goes last, once the journal and
// the directory are synced. Power cut: what comes back is torn, or was never sealed.

// GiveUp drops a unit that another node has deleted, at that moment or later. wait says why it
// cannot go yet; gone false and wait "" mean that it stays. busy: the caller has it, from Due.
func (c *Cache) GiveUp(u *Unit, deleted time.Time, busy bool) (gone bool, wait string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.units[u.Path] != u || u.writers > 0 || !u.begun.IsZero() || !u.touched.Before(deleted) || c.isEntangled(u.Path) {
		return false, "", nil
	}
	if c.mu.moving > 0 || c.isGoing(u.Path) || u.hands > 0 || u.busy && !busy {
		return false, "was deleted on another node, and is in use", nil
	}
	files, err := c.olderThan(u.Path, deleted)
	if err != nil || files == nil {
		return false, "", err
	}
	torn := newTorn("was deleted on another node, and is not all gone")
	for _, f := range files {
		if !isDir(&f.st) {
			torn.Files, torn.Inos = append(torn.Files, f.path), append(torn.Inos, f.st.Ino)
		}
	}
	if err := c.journal.write(put(tableTorn, u.Path, torn), del(tableSeal, u.Path)); err != nil {
		return false, "", err
	}
	c.mu.torn[u.Path] = torn
	ops, err := c.removeGivenUp(files)
	if err != nil || c.tree.exists(u.Path) { // or a program has made something there at this moment
		c.touch(u.Path, true)
		return false, "", errors.Join(err, c.journal.write(ops...))
	}
	c.notify()
	return true, "", c.journal.write(append(ops, c.forgetGivenUp(u.Path)...)...)
}

// removeGivenUp takes files, each directory before what is in it, out of the tree, and says what
// goes from the journal. Callers hold mu.
func (c *Cache) removeGivenUp(files []agedFile) (ops []op, err error) {
	for i := len(files) - 1; i >= 0; i-- {
		p, st := files[i].path, &files[i].st
		if isDir(st) {
			if c.tree.rmdir(p) == nil { // else something is in it
				ops = append(ops, del(tableDir, p))
			}
			continue
		}
		if e := c.tree.unlink(p); e != nil && !isNotExist(e) {
			err = errors.Join(err, e)
			continue
		}
		c.idents.drop(p, st)
		c.unaccount(p)
		delete(c.mu.unknown, p)
		ops = append(ops, del(tableFile, p), del(tableHint, p), del(tableSent, p))
	}
	return ops, err
}

// forgetGivenUp forgets a unit of which nothing is in the tree any more, and says what goes from
// the journal. Its open marker becomes a stray. Callers hold mu.
func (c *Cache) forgetGivenUp(unit string) []op {
	ops := []op{del(tableOwn, unit), del(tableTorn, unit)}
	for key := range c.mu.tombs {
		if under(key, unit) {
			delete(c.mu.tombs, key)
			ops = append(ops, del(tableTomb, key))
		}
	}
	evicted := func(p string, _ struct{}) error {
		if c.unitPath(p) == unit {
			ops = append(ops, del(tableFile, p))
		}
		return nil
	}
	if err := below(c.journal, tableFile, unit, evicted); err != nil {
		c.log.Error("journal", "err", err)
	}
	delete(c.mu.torn, unit)
	c.mu.strays[unit] = struct{}{}
	c.forget(unit)
	c.names.forget(unit)
	return ops
}

// isEntangled tells whether more hangs on a unit than its own files: another unit below it, or
// files that were renamed into it or out of it and are not committed yet. Callers hold mu.
func (c *Cache) isEntangled(unit string) bool {
	for p := range c.mu.units {
		if p != unit && under(p, unit) {
			return true
		}
	}
	for key, t := range c.mu.tombs {
		if t.After != "" && (under(key, unit) || under(t.After, unit)) {
			return true
		}
	}
	return len(c.movedBelow(unit)) > 0
}

type agedFile struct {
	path string
	st   syscall.Stat_t
}

var errYounger = errors.New("is younger")

// olderThan lists a unit's directory, each directory before what is in it; nil if something in it
// was changed since then, or has another name, or is of another unit.
func (c *Cache) olderThan(unit string, then time.Time) (files []agedFile, err error) {
	err = c.tree.walk(unit, func(p string, st *syscall.Stat_t) error {
		// Nobody can set a ctime back.
		if time.Unix(st.Ctim.Unix()).After(then) || !isDir(st) && st.Nlink > 1 || p != unit && c.cfg.Layout.Classify(p, isDir(st)).Unit != unit {
			return errYounger
		}
		files = append(files, agedFile{p, *st})
		return nil
	})
	if errors.Is(err, errYounger) || isNotExist(err) {
		return nil, nil
	}
	return files, err
}
