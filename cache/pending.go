package cache

import (
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// Tombstone is a deletion to be carried out in the store.
type Tombstone struct {
	Key  string // a key, ending in "/" for a directory marker; for Unit a checkpoint directory
	Unit bool
	Seq  uint64
	Made time.Time // when a program removed the directory, for Unit; zero if that is not known
}

// Deletions gives the tombstones whose time has come, oldest first. Those of single
// members of a checkpoint directory that goes on living belong to its next commit. The
// caller says DeletionsEnded when the store is at none of them any more.
func (c *Cache) Deletions() []Tombstone {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.moving > 0 {
		return nil
	}
	if err := c.freeLeft(); err != nil {
		c.log.Error("cannot record that a renamed file is committed, will try again", "err", err)
		return nil
	}
	var out []Tombstone
	trackers := c.trackersBehind()
	for key, t := range c.mu.tombs {
		path := strings.TrimSuffix(key, "/")
		if c.waitsFor(t) {
			continue
		}
		class := c.cfg.Layout.Classify(path, false)
		unit := class.Unit
		if c.isSource(path) {
			continue // first it is copied
		}
		if c.comingTo(path) {
			continue
		}
		if u := c.mu.units[path]; u != nil {
			continue // there again: its commit replaces the object
		}
		if unit != path {
			if dir, ok := c.mu.tombs[unit]; ok && dir.Unit {
				continue // goes with the directory
			}
			if c.mu.units[unit] != nil {
				continue
			}
		}
		if (t.Unit || class.Kind == layout.Checkpoint && unit == path) && behind(trackers, path, t.Seq) {
			continue // a tracker that the store has may still name it (P4)
		}
		if c.maybeRemade(key, t, class.Kind) {
			continue
		}
		out = append(out, Tombstone{key, t.Unit, t.Seq, t.Made})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Seq < out[j].Seq })
	c.startDeleting(out)
	return out
}

// Sync returns once all that was recorded survives a power cut.
func (c *Cache) Sync() error { return c.journal.durably() }

// SyncGone returns once the removal of path survives a power cut.
func (c *Cache) SyncGone(path string) error {
	err := error(syscall.ENOENT)
	for path != "" && isNotExist(err) { // the directory that it was in may be gone as well
		path = parent(path)
		err = c.tree.syncDir(path)
	}
	return err
}

// waitsForDeletion tells whether what the store has under path is to be deleted.
func (c *Cache) waitsForDeletion(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.mu.tombs[path]
	return ok
}

// trackersBefore tells whether a tracker version that was closed before seq, in the
// trial of unit or above it, is still to be published. Those that name but count for
// nothing. Callers hold mu.
func (c *Cache) trackersBefore(unit string, seq uint64, but string) bool {
	for p, u := range c.mu.units {
		if u.Class.Kind != layout.Tracker || !under(unit, parent(p)) || u.state == StateTorn {
			continue
		}
		for _, v := range u.versions {
			if v.Seq < seq && !contains(c.cfg.Layout.Named(p, v.Content), but) {
				return true
			}
		}
	}
	return false
}

// MembersBuried are the keys with a tombstone in a checkpoint directory that is to be
// deleted.
func (c *Cache) MembersBuried(unit string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for key := range c.mu.tombs {
		if key != unit && under(key, unit) {
			out = append(out, key)
		}
	}
	return out
}

// Deleted records that the store has carried out deletions. The seal of a one-file checkpoint goes
// with its tombstone: alone it would say that somebody has deleted the file under tree/. Nothing
// is sealed under that name before DeletionsEnded.
func (c *Cache) Deleted(keys ...string) error {
	var ops []op
	for _, key := range keys {
		ops = append(ops, del(tableTomb, key))
		if class := c.cfg.Layout.Classify(strings.TrimSuffix(key, "/"), false); class.Kind == layout.Checkpoint && class.Unit == key {
			ops = append(ops, del(tableSeal, key))
		}
	}
	if err := c.journal.write(ops...); err != nil {
		return err
	}
	c.names.deleted(false, keys...)
	c.mu.Lock()
	for _, key := range keys {
		delete(c.mu.tombs, key)
	}
	c.notify()
	c.mu.Unlock()
	for _, key := range keys {
		c.names.forget(strings.TrimSuffix(key, "/"))
	}
	c.poke() // others may have waited for these
	return nil
}

// UnitDeleted records that nothing of a checkpoint directory is left in the store.
func (c *Cache) UnitDeleted(unit string, keys ...string) error {
	if err := c.journal.write(del(tableOpen, unit), del(tableOwn, unit), del(tableSeal, unit), del(tableDir, unit)); err != nil {
		return err
	}
	c.names.deleted(true, unit)
	err := c.Deleted(append(keys, unit)...)
	killpoint.At(killpoint.RmdirForget)
	return err
}

// Unmarked takes checkpoint directories that this node writes in, and whose open marker it
// has not put yet, so many at most. Torn ones are among them: the daemon may have died before
// it had put one, and what the other nodes have published would show as the whole.
func (c *Cache) Unmarked(most int) (list []*Unit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.mu.units {
		if len(list) < most && u.Dir && u.Class.Kind == layout.Checkpoint && u.members && !u.marked && !u.marking && !u.unmarked && !c.isDeleting(u.Path) {
			u.marking = true
			list = append(list, u)
		}
	}
	return list
}

// MarkerIntent records that an open marker is, or may be, in the store: durably, for the
// power cut that takes the directory must leave the duty to take its marker away. The
// caller holds the lock on the marker's key.
func (c *Cache) MarkerIntent(u *Unit) error {
	c.mu.Lock()
	delete(c.mu.strays, u.Path) // its commit takes the marker away
	c.mu.Unlock()
	err := c.journal.durably(put(tableOpen, u.Path, openRecord{Since: time.Now()}))
	killpoint.At(killpoint.MarkerIntent)
	return err
}

// MarkedBefore tells whether the marker is, or may be, in the store since an earlier start.
func (c *Cache) MarkedBefore(u *Unit) (bool, error) {
	var r openRecord
	return c.journal.get(tableOpen, u.Path, &r)
}

// MarkedAnew tells whether an earlier start has put the marker for a directory that was made again
// and waits to replace the one before it. What other nodes have published since is known by being
// younger than that marker.
func (c *Cache) MarkedAnew(u *Unit) (bool, error) {
	c.mu.Lock()
	old := c.mu.tombs[u.Path]
	c.mu.Unlock()
	var r openRecord
	found, err := c.journal.get(tableOpen, u.Path, &r)
	return found && old.Unit && r.Anew == old.Seq, err
}

// OpenMarkerPut records that the open marker is in the store.
func (c *Cache) OpenMarkerPut(u *Unit) error {
	c.mu.Lock()
	old := c.mu.tombs[u.Path]
	c.mu.Unlock()
	if old.Unit {
		if err := c.journal.write(put(tableOpen, u.Path, openRecord{time.Now(), old.Seq})); err != nil {
			return err
		}
	}
	c.Marked(u, true)
	return nil
}

// WantsMarker tells whether a unit still is one that is written here, and has no open
// marker in the store.
func (c *Cache) WantsMarker(u *Unit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.units[u.Path] == u && !u.marked && !u.unmarked
}

// Marked says whether the open marker is in the store.
func (c *Cache) Marked(u *Unit, ok bool) {
	c.mu.Lock()
	u.marked, u.marking, u.markedAt = ok, false, time.Now()
	u.unmarked = u.unmarked && !ok
	c.notify()
	c.mu.Unlock()
	c.poke()
}

// MarkedFor lists the units whose open marker has been in the store for at least so long.
func (c *Cache) MarkedFor(long time.Duration) (list []*Unit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.mu.units {
		if u.marked && time.Since(u.markedAt) >= long {
			list = append(list, u)
		}
	}
	return list
}

// KeepsMarker tells whether a unit still is one that is written here, and has its open marker in
// the store.
func (c *Cache) KeepsMarker(u *Unit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.units[u.Path] == u && u.marked
}

// HasMarker tells whether the open marker is in the store.
func (c *Cache) HasMarker(u *Unit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return u.marked
}

// Unmark is called before the open marker of a published unit is deleted: it tells
// whether it may be, and sees to it that only a next write puts a new one.
func (c *Cache) Unmark(u *Unit, gen uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.gen != gen || u.writers > 0 || u.gone {
		return false
	}
	u.marked, u.unmarked = false, true
	return true
}

// MarkerGone records that the open marker is deleted.
func (c *Cache) MarkerGone(u *Unit) error { return c.journal.write(del(tableOpen, u.Path)) }

// ClosedFiles takes the files of checkpoint directories that have been closed for at
// least quiet: they can be staged before the directory is closed.
func (c *Cache) ClosedFiles(quiet time.Duration) (paths []string, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for p, at := range c.mu.closed {
		if due := at.Add(quiet); due.After(now) {
			if next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		}
		delete(c.mu.closed, p)
		paths = append(paths, p)
	}
	sort.Strings(paths)
	return paths, next
}

// Stage is the unfinished upload of a file, if the journal knows one.
func (c *Cache) Stage(path string) (s backend.Stage, id Identity, found bool, err error) {
	var r stageRecord
	found, err = c.journal.get(tableStage, path, &r)
	return r.Stage, r.ID, found, err
}

// Stages are all of them, by path.
func (c *Cache) Stages() (map[string]backend.Stage, error) {
	out := map[string]backend.Stage{}
	err := below(c.journal, tableStage, "", func(p string, r stageRecord) error {
		out[p] = r.Stage
		return nil
	})
	return out, err
}

// PutStage records an unfinished upload before its first part is sent.
func (c *Cache) PutStage(path string, id Identity, s backend.Stage) error {
	err := c.journal.write(put(tableStage, path, stageRecord{id, s}))
	killpoint.At(killpoint.StageJournal)
	return err
}

// DropStage forgets it.
func (c *Cache) DropStage(path string) error { return c.journal.write(del(tableStage, path)) }
