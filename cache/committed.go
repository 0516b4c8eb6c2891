package cache

import (
	"errors"
	"slices"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// Done is a file that the store now has.
type Done struct {
	Path   string
	ID     Identity
	Attr   backend.Attr
	CRC32C uint32
	ETag   string
}

// Committed records that everything of a snapshot is in the store under its own
// keys. What was written since stays dirty.
func (c *Cache) Committed(s *Snapshot, done []Done) error {
	ops := make([]op, 0, 4*len(done)+4)
	var bytes int64
	for _, d := range done {
		bytes += d.ID.Size
		ops = append(ops,
			put(tableFile, d.Path, fileRecord{ID: d.ID, Attrs: attrs{d.Attr.Mode, d.Attr.UID, d.Attr.GID}, CRC32C: d.CRC32C, ETag: d.ETag, Mine: true}),
			del(tableHint, d.Path), del(tableStage, d.Path))
	}
	for _, f := range s.Files {
		if f.Type == layout.TypeDir {
			ops = append(ops, put(tableDir, f.Path, dirRecord{Marker: s.Unit.Class.Kind != layout.Checkpoint, Mine: true, Mode: f.Attr.Mode}))
		}
	}
	for _, f := range s.Files {
		if f.Unseen {
			ops = append(ops, del(tableSent, f.Path))
		}
	}
	ops = append(ops, del(tableSeal, s.Unit.Path))
	c.names.deleted(false, s.Removed...)
	if s.Replaces {
		c.names.deleted(true, s.Unit.Path)
	}
	// Durably: what is written and synced after this, and not committed before a power cut,
	// must not be taken for the work of somebody that this node knows nothing of.
	if err := c.journal.durably(ops...); err != nil {
		return err
	}
	c.names.committed(s) // so that no look falls between the record of a rename and the new name
	if err := c.settlePlanted(s, done); err != nil {
		return err
	}
	if err := errors.Join(c.unrecord(s.seq, done), c.unrecordDirs(s)); err != nil {
		return err
	}
	for _, d := range done {
		c.fetches.isSame(d.Path)
	}
	c.mu.Lock()
	for _, d := range done {
		delete(c.mu.unknown, d.Path)
		if len(c.mu.recent) < maxRecent {
			c.mu.recent[d.Path] = newRecheck()
		}
	}
	c.settled(s.Unit, s.Gen)
	c.mu.stats.lastCommitted = s.Unit.Path
	c.mu.Unlock()
	return nil
}

// MarkerPut drops the tombstone of the marker of a directory that the store has again, one that
// the snapshot has seen: of one that has been removed since the marker has to go.
func (c *Cache) MarkerPut(s *Snapshot) error {
	key := s.Unit.Path + "/"
	c.mu.Lock()
	t, ok := c.mu.tombs[key]
	c.mu.Unlock()
	if !ok || t.Seq > s.seq {
		return nil
	}
	return c.Deleted(key)
}

// unrecord takes back the records of files that were deleted, or renamed away, while they
// went up: their tombstones speak, and take what was put away again.
func (c *Cache) unrecord(seq uint64, done []Done) error {
	var ops []op
	c.mu.Lock()
	for _, d := range done {
		if t, ok := c.mu.tombs[d.Path]; ok && t.Seq > seq {
			ops = append(ops, del(tableFile, d.Path))
		}
	}
	c.mu.Unlock()
	return c.journal.write(ops...)
}

// unrecordDirs does the same with a directory of its own.
func (c *Cache) unrecordDirs(s *Snapshot) error {
	var ops []op
	c.mu.Lock()
	for _, f := range s.Files {
		if t, ok := c.mu.tombs[f.Path+"/"]; ok && f.Type == layout.TypeDir && t.Seq > s.seq {
			ops = append(ops, del(tableDir, f.Path))
		}
	}
	c.mu.Unlock()
	return c.journal.write(ops...)
}

// settlePlanted drops what renames and deletions have planted before a commit's snapshot, and the
// commit has carried out. A file may have been renamed onto the path since, of which all that is
// known is where its bytes are. A kill before this leaves tombstones that are void, and has files
// copied once more.
func (c *Cache) settlePlanted(s *Snapshot, done []Done) error {
	c.planting.Lock()
	defer c.planting.Unlock()
	c.mu.Lock()
	ops := c.settleTombs(s, done)
	for _, f := range s.Files {
		if r, ok := c.mu.moved[f.Path]; ok && f.Remote && (r.Key == f.CopyFrom || r.Key == f.Path) && r.Seq <= s.seq {
			ops = append(ops, c.unmoved(f.Path)...)
		}
	}
	c.mu.Unlock()
	return c.journal.write(ops...)
}

// settleTombs drops the tombstones that a commit has carried out or made void: those that
// its snapshot has seen. Callers hold mu.
func (c *Cache) settleTombs(s *Snapshot, done []Done) (ops []op) {
	keys := append([]string{s.Unit.Path}, s.Removed...)
	for _, d := range done {
		keys = append(keys, d.Path)
	}
	for _, key := range keys {
		if t, ok := c.mu.tombs[key]; ok && t.Seq <= s.seq {
			delete(c.mu.tombs, key)
			ops = append(ops, del(tableTomb, key))
		}
	}
	return ops
}

// settled forgets a unit that is committed, unless it was touched meanwhile or is
// still open. Callers hold mu.
func (c *Cache) settled(u *Unit, gen uint64) {
	u.publishing, u.begun, u.found, u.sealed, u.synced = false, time.Time{}, false, false, time.Now()
	if u.gen == gen && u.writers == 0 && len(u.versions) == 0 && c.mu.units[u.Path] == u {
		u.state = StateCommitted
		delete(c.mu.units, u.Path)
	} else if !u.gone {
		u.seq, u.reclosed, u.state = u.reclosed, 0, StateDirty
		if u.gen == gen { // else what was said was said of what came since: see touchNow
			u.said = false
		}
	}
	c.notify()
}

// committed lets lookups know of it without asking.
func (n *names) committed(s *Snapshot) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.commits++
	if s.Unit.Dir && s.Unit.Class.Kind == layout.Checkpoint {
		delete(n.views, s.Unit.Path)
		return
	}
	for _, f := range s.Files {
		if f.Remote { // it has no place in the tree that would show it
			n.dir(parent(f.Path)).entries.set(base(f.Path), remoteEntry{
				size: f.ID.Size, modified: f.ID.Mtime, seen: time.Now().UnixNano(),
				more: &entryMore{attr: f.Attr, crc: f.CopyCRC, hasCRC: true},
			})
			return
		}
	}
	if d := n.dirs[parent(s.Unit.Path)]; d != nil {
		d.entries.remove(base(s.Unit.Path))
	}
}

// CommittedVersion records that the store has a version of a tracker, and forgets
// those before it.
func (c *Cache) CommittedVersion(u *Unit, v TrackerVersion, etag string, crc uint32) error {
	ops := []op{
		put(tableFile, u.Path, fileRecord{ID: v.v.ID, Attrs: v.v.Attrs, CRC32C: crc, ETag: etag, Mine: true}),
		del(tableHint, u.Path), del(tableSent, u.Path),
	}
	past := func(o *trackerRecord) bool { return o.Seq <= v.Seq }
	c.mu.Lock()
	for _, o := range u.versions {
		if past(o) {
			ops = append(ops, del(tableTracker, trackerKey(o)))
		}
	}
	c.mu.Unlock()
	// The record would speak of bytes that a power cut can take.
	if err := c.syncIfStill(u.Path, v.v.ID); err != nil {
		return err
	}
	if err := c.journal.durably(ops...); err != nil {
		return err
	}
	done := []Done{{Path: u.Path}}
	if err := c.settlePlanted(&Snapshot{Unit: u, seq: v.Seq}, done); err != nil {
		return err
	}
	if err := c.unrecord(v.Seq, done); err != nil {
		return err
	}
	c.fetches.isSame(u.Path)
	c.mu.Lock()
	u.versions = slices.DeleteFunc(u.versions, past) // others may have come meanwhile
	delete(c.mu.unknown, u.Path)
	gen := u.gen
	if st, err := c.tree.lstat(u.Path); err != nil || identityOf(&st) != v.v.ID {
		gen-- // newer content, whose close is still to come
	}
	c.settled(u, gen)
	c.mu.stats.lastCommitted = u.Path
	c.mu.Unlock()
	c.names.forget(u.Path)
	c.poke() // a deletion may have waited for it
	return nil
}

// syncIfStill puts a file on the disk, if it still is the one.
func (c *Cache) syncIfStill(path string, id Identity) error {
	f, now, err := c.OpenFile(path)
	if err != nil {
		return nil // gone, or a symbolic link: nothing that could be half there
	}
	defer f.Close()
	if now != id {
		return nil
	}
	return f.Sync()
}
