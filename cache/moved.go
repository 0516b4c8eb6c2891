package cache

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"syscall"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// A file that is only in the store is renamed without being fetched: a record says under
// which key its bytes still are, until the commit of the new name has copied them there
// inside the store.
//
// Crash argument: the records of the new names and the tombstones of the old ones are
// written together. For a single file that is the rename, once what it replaces is gone from the
// tree, which the record then says: a start that finds a file under the new name takes the
// tombstone back if it does not. With it, another file has been renamed there since. For a directory, which has a
// shadow in the tree, an intent goes with them, and the rename of the shadow decides: a
// start that finds the intent, and the shadow still under its old name, takes back
// what was planted.

// movedRecord says where the bytes of a path are that has no local file.
type movedRecord struct {
	Seq    uint64       `json:"seq"`
	Key    string       `json:"key"`
	ETag   string       `json:"etag"`
	Size   int64        `json:"size"`
	CRC32C uint32       `json:"crc32c"`
	Attr   backend.Attr `json:"attr"`
	Done   bool         `json:"done,omitempty"` // what it has replaced is gone
}

// renameIntent is the rename of a directory that is about to happen in the tree.
type renameIntent struct {
	Seq uint64 `json:"seq"`
	Old string `json:"old"`
	New string `json:"new"`
	Ino uint64 `json:"ino"`
}

func (r *movedRecord) entry() remoteEntry {
	return remoteEntry{
		size: r.Size, modified: r.Attr.Mtime.UnixNano(), etag: r.ETag,
		more: &entryMore{attr: r.Attr, crc: r.CRC32C, hasCRC: true, key: r.Key},
	}
}

// movedAt finds the record of a path.
func (c *Cache) movedAt(path string) (r movedRecord, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok = c.mu.moved[path]
	return r, ok
}

// movedBelow lists them at and below path. Callers hold mu.
func (c *Cache) movedBelow(path string) []string {
	var out []string
	for p := range c.mu.moved {
		if under(p, path) {
			out = append(out, p)
		}
	}
	return out
}

// remoteOnly lists the files at and below path that are only in the store and can be
// renamed there; those that cannot, for want of a checksum or because they are links,
// are fetched. The directories get their shadows.
func (c *Cache) remoteOnly(ctx context.Context, path string) (map[string]remoteEntry, error) {
	out := map[string]remoteEntry{}
	return out, c.collectRemote(ctx, path, out)
}

func (c *Cache) collectRemote(ctx context.Context, path string, out map[string]remoteEntry) error {
	st, err := c.tree.lstat(path)
	switch {
	case err == nil && !isDir(&st):
		return c.localize(ctx, path, false) // it may be stale
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		e, err := c.findAway(ctx, path)
		if err != nil {
			return err
		}
		if !e.dir {
			return c.collectFile(ctx, path, e, out)
		}
		if err := c.makeShadow(ctx, path, e); err != nil {
			return err
		}
	case !c.mayHoldRemote(path):
		return nil
	}
	list, hidden, err := c.remoteListing(ctx, path)
	if err != nil && !errors.Is(err, errOffline) {
		return err
	}
	if err == nil && !hidden {
		list = append(list, c.onlyHere(ctx, path, list)...)
	}
	for _, e := range list {
		if err := c.collectRemote(ctx, join(path, e.Name), out); err != nil {
			return err
		}
	}
	return nil
}

// onlyHere drops, of what is in a local directory and not in its remote listing, the copies of
// files that others have deleted: renamed along, they would go up again. It gives the directories.
func (c *Cache) onlyHere(ctx context.Context, path string, remote []DirEntry) (dirs []DirEntry) {
	local, err := c.tree.names(path)
	if err != nil {
		return nil
	}
	shown := make(map[string]bool, len(remote))
	for _, e := range remote {
		shown[e.Name] = true
	}
	for _, e := range c.hereStill(ctx, path, local, shown) {
		if e.Type == syscall.S_IFDIR && !shown[e.Name] {
			dirs = append(dirs, e)
		}
	}
	return dirs
}

func (c *Cache) collectFile(ctx context.Context, path string, e remoteEntry, out map[string]remoteEntry) error {
	if _, known := e.sum(); !known || !e.hasAttr() {
		e = c.withAttr(ctx, path, e)
	}
	if _, known := e.sum(); !known || e.attr().Type != backend.Regular {
		return c.localize(ctx, path, false)
	}
	out[path] = e
	return nil
}

// plantMoved adds what the rename of remote files writes.
func (c *Cache) plantMoved(m *move, old, new string, remote map[string]remoteEntry, bury func(string, tombstone)) {
	m.moved = map[string]movedRecord{}
	for p, e := range remote {
		to := new + p[len(old):]
		crc, _ := e.sum()
		c.mu.Lock()
		r := movedRecord{Seq: c.nextSeq(), Key: e.key(p), ETag: e.etag, Size: e.size, CRC32C: crc, Attr: e.attr()}
		_, again := c.mu.moved[p]
		c.mu.Unlock()
		m.before = append(m.before, put(tableMoved, to, r))
		r.Done = true
		m.moved[to] = r
		m.finish = append(m.finish, put(tableMoved, to, r))
		if again { // what it has replaced, where it is now, may be in the store all the same
			m.finish = append(m.finish, del(tableMoved, p))
		}
		bury(p, tombstone{After: to})
	}
}

// freeSources fetches the renamed files whose bytes are still under a key at or below
// path, before something else is made there: its commit would replace them.
func (c *Cache) freeSources(ctx context.Context, path string) error {
	c.mu.Lock()
	var users []string
	for p, r := range c.mu.moved {
		if under(r.Key, path) {
			users = append(users, p)
		}
	}
	c.mu.Unlock()
	for _, p := range users {
		if err := c.localize(ctx, p, false); err != nil {
			return err
		}
	}
	return nil
}

// isSource tells whether the object under a key is still to be copied. Callers hold mu.
func (c *Cache) isSource(key string) bool {
	for _, r := range c.mu.moved {
		if under(r.Key, key) {
			return true
		}
	}
	return false
}

// LoseMoved gives up a renamed file whose bytes another node has deleted or replaced
// before they could be copied from key.
func (c *Cache) LoseMoved(path, key string) error {
	c.planting.Lock()
	defer c.planting.Unlock()
	c.mu.Lock()
	if c.mu.moved[path].Key != key { // renamed on meanwhile, or another file to here
		c.mu.Unlock()
		return nil
	}
	ops := c.unmoved(path)
	if unit := c.unitPath(path); unit != path {
		c.lookAgain(path)
	} else if !c.tree.exists(path) {
		c.forget(path)
	}
	c.notify()
	c.mu.Unlock()
	c.log.Error("a file was renamed here, and deleted or replaced by another node before the rename was committed: it is gone", "path", path)
	return c.journal.write(ops...)
}

// movedStates are the files of a unit that are only in the store, under other keys.
func (c *Cache) movedStates(u *Unit) []FileState {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []FileState
	for p, r := range c.mu.moved {
		if c.unitPath(p) != u.Path {
			continue
		}
		rel := ""
		if p != u.Path {
			rel = p[len(u.Path)+1:]
		}
		out = append(out, FileState{
			Path: p, Rel: rel, Type: layout.TypeFile, Attr: r.Attr, Remote: true,
			ID: Identity{Size: r.Size, Mtime: r.Attr.Mtime.UnixNano()}, CopyFrom: r.Key, CopyCRC: r.CRC32C, CopyETag: r.ETag,
		})
	}
	return out
}

// Copied is told before a commit deletes what its unit has lost: all of the unit is in the store. Its
// renamed files have their bytes under their own keys now, and are renamed on from there; durably, for
// the old keys are deleted next. What one has been renamed on from before stays until that new name is
// committed.
func (c *Cache) Copied(s *Snapshot, done []Done) error {
	etags := make(map[string]string, len(done))
	for _, d := range done {
		etags[d.Path] = d.ETag
	}
	ops, err := c.plantCopied(s, etags)
	if err != nil || len(ops) == 0 {
		return err
	}
	return c.Sync()
}

func (c *Cache) plantCopied(s *Snapshot, etags map[string]string) (ops []op, err error) {
	c.planting.Lock()
	defer c.planting.Unlock()
	c.mu.Lock()
	for _, f := range s.Files {
		if r, ok := c.mu.moved[f.Path]; ok && f.Remote && r.Key == f.CopyFrom && r.Seq <= s.seq {
			r.Key, r.ETag = f.Path, etags[f.Path]
			c.mu.moved[f.Path] = r
			ops = append(ops, put(tableMoved, f.Path, r))
		}
	}
	s.Removed = slices.DeleteFunc(s.Removed, c.isSource)
	c.mu.Unlock()
	return ops, c.journal.write(ops...)
}

// unmoved forgets the record of a path, with the ops that make it durable. Callers hold
// mu.
func (c *Cache) unmoved(path string) []op {
	if _, ok := c.mu.moved[path]; !ok {
		return nil
	}
	delete(c.mu.moved, path)
	return []op{del(tableMoved, path)}
}

// undoReplace takes back the tombstone of a rename onto a file that is still there: nothing
// of it has happened but its records. A file that has been fetched is no such one.
func (r *recovery) undoReplace(p string, m movedRecord, st *syscall.Stat_t) (ops []op) {
	var hint copyHint
	if ok, err := r.journal.get(tableHint, p, &hint); err != nil || ok && hint.ID == identityOf(st) {
		return nil
	}
	if t, ok := r.mu.tombs[m.Key]; ok && t.After == p && t.Seq > m.Seq {
		delete(r.mu.tombs, m.Key)
		ops = append(ops, del(tableTomb, m.Key))
	}
	return ops
}

// loadMoved takes back a rename that a crash kept from happening, then makes units of
// what was renamed.
func (r *recovery) loadMoved() error {
	var undo []renameIntent
	err := below(r.journal, tableIntent, "", func(_ string, i renameIntent) error {
		r.mu.seq = max(r.mu.seq, i.Seq)
		if st, err := r.tree.lstat(i.New); err != nil || st.Ino != i.Ino {
			undo = append(undo, i)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var ops []op
	for _, i := range undo {
		for key, t := range r.mu.tombs {
			if t.Seq > i.Seq && under(key, i.Old) && under(t.After, i.New) {
				delete(r.mu.tombs, key)
				ops = append(ops, del(tableTomb, key))
			}
		}
	}
	err = below(r.journal, tableMoved, "", func(p string, m movedRecord) error {
		r.mu.seq = max(r.mu.seq, m.Seq)
		for _, i := range undo {
			if m.Seq > i.Seq && under(p, i.New) {
				ops = append(ops, del(tableMoved, p))
				return nil
			}
		}
		if st, err := r.tree.lstat(p); err == nil {
			ops = append(ops, del(tableMoved, p))
			if !m.Done {
				ops = append(ops, r.undoReplace(p, m, &st)...)
			}
			return nil
		}
		r.mu.moved[p] = m
		r.touch(p, false)
		return nil
	})
	if err != nil {
		return err
	}
	below(r.journal, tableIntent, "", func(key string, _ struct{}) error {
		ops = append(ops, del(tableIntent, key))
		return nil
	})
	return r.journal.write(ops...)
}
