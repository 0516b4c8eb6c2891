package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// This file is the uploader's side of the cache: what a unit consists of at this
// moment, and the records that each step of the commit protocol leaves.

var (
	// ErrReopened says that the unit was written to again: it is not what was looked at.
	ErrReopened = errors.New("written to again")
	// ErrGone says that the unit was deleted or renamed away.
	ErrGone = errors.New("deleted or renamed meanwhile")
)

// FileState is one file of a unit.
type FileState struct {
	Path   string // below the storage path
	Rel    string // below the unit; "" for a unit of one file
	Type   layout.FileType
	ID     Identity
	Attr   backend.Attr
	Target string // of a symbolic link

	Remote   bool   // it is only in the store, under CopyFrom
	Evicted  bool   // committed by this node, and only in the store now
	Clean    bool   // the store has just this, attributes included
	Known    bool   // the store has, or had, something under this path that this node knows
	CRC32C   uint32 // of what the store has, if Known
	ETag     string
	Buried   bool   // a file was deleted here, and the store may still have it: this very one, if a kill kept it
	Unseen   bool   // never replace what the store may have (I6)
	CopyFrom string // a key with the same bytes: the file was renamed
	CopyCRC  uint32
	CopyETag string
}

// Snapshot is a unit as it was at one moment.
type Snapshot struct {
	Unit    *Unit
	Gen     uint64
	Files   []FileState // in path order; directories of a checkpoint included
	Removed []string    // keys of members that were deleted since the last commit

	seq      uint64 // tombstones younger than this are not covered
	Replaces bool   // the directory was deleted before, and the store may have more of it
	Empty    bool   // a directory with nothing in it
}

// Snapshot looks at a unit. ErrGone, ErrReopened.
func (c *Cache) Snapshot(u *Unit) (*Snapshot, error) {
	c.mu.Lock()
	c.untilGone(u.Path)
	s := &Snapshot{Unit: u, Gen: u.gen, seq: c.mu.seq}
	gone, writers := u.gone, u.writers
	s.Replaces = c.mu.tombs[u.Path].Unit
	for key, t := range c.mu.tombs {
		if u.Dir && u.Class.Kind == layout.Checkpoint && key != u.Path && under(key, u.Path) && !t.Unit && (t.After == "" || under(t.After, u.Path)) {
			s.Removed = append(s.Removed, key)
		}
	}
	c.mu.Unlock()
	if gone {
		return nil, ErrGone
	}
	if writers > 0 && canTear(u.Class) {
		return nil, ErrReopened
	}
	err := c.tree.walk(u.Path, func(p string, st *syscall.Stat_t) error {
		if c.cfg.Layout.Classify(p, isDir(st)).Kind == layout.Temporary {
			if isDir(st) {
				return fs.SkipDir
			}
			return nil
		}
		if p != u.Path && c.cfg.Layout.Classify(p, isDir(st)).Unit != u.Path {
			if isDir(st) {
				return fs.SkipDir // a unit of its own below a directory that only looked like one
			}
			return nil
		}
		f, err := c.fileState(u, p, st)
		if err != nil {
			return err
		}
		if f != nil {
			s.Files = append(s.Files, *f)
		}
		if u.Dir && u.Class.Kind != layout.Checkpoint {
			names, err := c.tree.names(p)
			if err != nil {
				return err
			}
			s.Empty = len(names) == 0
			return fs.SkipDir // a directory that is a unit of its own
		}
		return nil
	})
	evicted, eerr := c.evictedStates(s)
	if eerr != nil {
		return nil, eerr
	}
	s.Files = append(s.Files, evicted...)
	moved := c.movedStates(u)
	if errors.Is(err, fs.ErrNotExist) && len(moved) > 0 {
		err = nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		if len(s.Files) == 0 && len(s.Removed) == 0 {
			c.dropNothing(s)
		}
		return nil, ErrGone
	}
	s.Files = append(s.Files, moved...)
	sort.Slice(s.Files, func(i, j int) bool { return s.Files[i].Path < s.Files[j].Path })
	return s, err
}

// evictedStates are the members of a checkpoint directory that this node has committed and
// evicted since: the next manifest speaks of them, too.
func (c *Cache) evictedStates(s *Snapshot) (out []FileState, err error) {
	u := s.Unit
	if !u.Dir || u.Class.Kind != layout.Checkpoint {
		return nil, nil
	}
	here := make(map[string]bool, len(s.Files))
	for _, f := range s.Files {
		here[f.Path] = true
	}
	err = below(c.journal, tableFile, u.Path, func(p string, r fileRecord) error {
		if here[p] || !r.Mine || r.ID == (Identity{}) || c.unitPath(p) != u.Path || c.buried(p) {
			return nil
		}
		if _, renamed := c.movedAt(p); renamed { // onto it
			return nil
		}
		out = append(out, FileState{
			Path: p, Rel: strings.TrimPrefix(p, u.Path+"/"), Type: layout.TypeFile, ID: r.ID,
			Attr:    backend.Attr{Mode: r.Attrs.Mode, UID: r.Attrs.UID, GID: r.Attrs.GID, Mtime: time.Unix(0, r.ID.Mtime)},
			Evicted: true, Clean: true, Known: true, CRC32C: r.CRC32C, ETag: r.ETag,
		})
		return nil
	})
	return out, err
}

// fileState is nil for what never goes up: pipes, sockets, devices.
func (c *Cache) fileState(u *Unit, p string, st *syscall.Stat_t) (*FileState, error) {
	f := &FileState{
		Path: p, Rel: strings.TrimPrefix(strings.TrimPrefix(p, u.Path), "/"), ID: identityOf(st),
		Attr: backend.Attr{Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid, Mtime: mtimeOf(st)},
	}
	switch {
	case isDir(st):
		f.Type, f.Attr.Type = layout.TypeDir, backend.Directory
		f.ID = Identity{Ino: st.Ino}
		return f, nil
	case isSymlink(st):
		target, err := c.tree.readlink(p)
		if err != nil {
			return nil, err
		}
		f.Type, f.Attr.Type, f.Target = layout.TypeSymlink, backend.Symlink, target
	case isRegular(st):
		f.Type = layout.TypeFile
	default:
		return nil, nil
	}
	var rec fileRecord
	found, err := c.journal.get(tableFile, p, &rec)
	if err != nil {
		return nil, err
	}
	f.Known, f.Clean, f.CRC32C, f.ETag = found, found && rec.clean(st), rec.CRC32C, rec.ETag
	if found && rec.ID == (Identity{}) {
		f.ETag = "" // known to have been there, not what it was
	}
	var hint copyHint
	if ok, err := c.journal.get(tableHint, p, &hint); err != nil {
		return nil, err
	} else if ok && hint.ID == f.ID {
		f.CopyFrom, f.CopyCRC, f.CopyETag = hint.Key, hint.CRC32C, hint.ETag
	}
	c.mu.Lock()
	_, f.Unseen = c.mu.unknown[p]
	_, f.Buried = c.mu.tombs[p]
	c.mu.Unlock()
	f.Unseen = f.Unseen && !found
	return f, nil
}

// Look is a snapshot of one file, be it open or not; a nil Unit if it has none, and so
// nothing to commit.
func (c *Cache) Look(path string) (*Unit, *FileState, error) {
	st, err := c.tree.lstat(path)
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	u := c.mu.units[c.cfg.Layout.Classify(path, isDir(&st)).Unit]
	c.mu.Unlock()
	if u == nil {
		return nil, nil, nil
	}
	f, err := c.fileState(u, path, &st)
	return u, f, err
}

// OpenFile opens a file of the tree for reading, and tells which one it got.
func (c *Cache) OpenFile(path string) (*os.File, Identity, error) {
	f, err := c.tree.open(path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, Identity{}, err
	}
	var u unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &u); err != nil {
		f.Close()
		return nil, Identity{}, err
	}
	st := fromUnix(&u)
	return f, identityOf(&st), nil
}

// SyncNames makes the names of a checkpoint directory durable, and its own name.
func (c *Cache) SyncNames(s *Snapshot) error {
	for _, f := range s.Files {
		if f.Type == layout.TypeDir {
			if err := c.tree.syncDir(f.Path); err != nil {
				return err
			}
		}
	}
	return c.tree.syncDir(parent(s.Unit.Path))
}

// Same tells whether a unit still is what a snapshot saw: nobody has opened it for
// writing, and every file still has its size and time, also those that a mapping
// outside our sight may have changed.
func (c *Cache) Same(s *Snapshot) error {
	c.mu.Lock()
	u := s.Unit
	gone, moved := u.gone, u.gen != s.Gen || u.writers > 0
	c.mu.Unlock()
	switch {
	case gone:
		return ErrGone
	case moved:
		return ErrReopened
	}
	for _, f := range s.Files {
		if f.Type == layout.TypeDir {
			continue
		}
		if f.Evicted {
			if c.tree.exists(f.Path) || c.buried(f.Path) {
				return ErrReopened
			}
			continue
		}
		if f.Remote {
			if r, ok := c.movedAt(f.Path); !ok || r.Key != f.CopyFrom {
				return ErrReopened
			}
			continue
		}
		st, err := c.tree.lstat(f.Path)
		if err != nil || identityOf(&st) != f.ID {
			c.touchPath(f.Path, false)
			return ErrReopened
		}
	}
	return nil
}

// Seal records a sealed unit, durably. From here a power cut finds it complete.
func (c *Cache) Seal(s *Snapshot, m *layout.Manifest) error {
	if err := c.Same(s); err != nil {
		return err
	}
	if err := c.journal.durably(put(tableSeal, s.Unit.Path, c.sealRecord(s, m))); err != nil {
		return err
	}
	killpoint.At(killpoint.SealJournal)
	c.setState(s.Unit, s.Gen, StateSealed, func(u *Unit) { u.sealed = true })
	return nil
}

func (c *Cache) sealRecord(s *Snapshot, m *layout.Manifest) sealRecord {
	r := sealRecord{Seq: c.Seq(s.Unit), Manifest: m}
	at := map[string]Identity{}
	for _, f := range s.Files {
		at[f.Rel] = f.ID
	}
	for _, f := range m.Files {
		r.IDs = append(r.IDs, at[f.Path])
	}
	return r
}

// BeginPublish records, before the first object becomes visible, that it may.
func (c *Cache) BeginPublish(s *Snapshot, m *layout.Manifest) error {
	if err := c.Same(s); err != nil {
		return err
	}
	r := c.sealRecord(s, m)
	r.Publishing = true
	if err := c.journal.durably(put(tableSeal, s.Unit.Path, r), put(tableOwn, s.Unit.Path, ownRecord{m.Generation, m.Removed})); err != nil {
		return err
	}
	killpoint.At(killpoint.PublishBegin)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Unit.gen != s.Gen {
		return ErrReopened
	}
	s.Unit.publishing, s.Unit.reopened, s.Unit.reclosed = true, false, 0
	return nil
}

// OwnRemoved is what the last manifest of a unit declares void in those of other nodes.
func (c *Cache) OwnRemoved(u *Unit) ([]layout.Removed, error) {
	var r ownRecord
	_, err := c.journal.get(tableOwn, u.Path, &r)
	return r.Removed, err
}

// Generation is the number for the next manifest of a unit.
func (c *Cache) Generation(u *Unit) (uint64, error) {
	var r ownRecord
	_, err := c.journal.get(tableOwn, u.Path, &r)
	return r.Generation + 1, err
}

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
			del(tableHint, d.Path), del(tableStage, d.Path), del(tableMoved, d.Path))
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
	c.mu.Lock()
	ops = append(ops, c.settleTombs(s, done)...)
	c.mu.Unlock()
	// Durably: what is written and synced after this, and not committed before a power cut,
	// must not be taken for the work of somebody that this node knows nothing of.
	if err := c.journal.durably(ops...); err != nil {
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
		delete(c.mu.moved, d.Path)
		if len(c.mu.recent) < maxRecent {
			c.mu.recent[d.Path] = newRecheck()
		}
	}
	c.settled(s.Unit, s.Gen)
	c.mu.stats.lastCommitted = s.Unit.Path
	c.mu.Unlock()
	c.names.committed(s)
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
	u.publishing, u.sealed, u.synced = false, false, time.Now()
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
	t, buried := c.mu.tombs[u.Path]
	if buried = buried && t.Seq <= v.Seq; buried { // of a tracker before this one
		ops = append(ops, del(tableTomb, u.Path))
	}
	c.mu.Unlock()
	// The record would speak of bytes that a power cut can take.
	if err := c.syncIfStill(u.Path, v.v.ID); err != nil {
		return err
	}
	if err := c.journal.durably(ops...); err != nil {
		return err
	}
	if err := c.unrecord(v.Seq, []Done{{Path: u.Path}}); err != nil {
		return err
	}
	c.fetches.isSame(u.Path)
	c.mu.Lock()
	u.versions = slices.DeleteFunc(u.versions, past) // others may have come meanwhile
	if now := c.mu.tombs[u.Path]; buried && now.Seq == t.Seq {
		delete(c.mu.tombs, u.Path)
	}
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

// Attr of a tracker version.
func (v TrackerVersion) Attr() backend.Attr {
	a := backend.Attr{Mode: v.v.Attrs.Mode, UID: v.v.Attrs.UID, GID: v.v.Attrs.GID, Mtime: time.Unix(0, v.v.ID.Mtime)}
	if v.Link {
		a.Type = backend.Symlink
	}
	return a
}

// setState moves a unit on, unless it has been touched since.
func (c *Cache) setState(u *Unit, gen uint64, s State, also func(*Unit)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if u.gen != gen || u.gone {
		return
	}
	u.state = s
	if also != nil {
		also(u)
	}
	c.notify()
}

// Uploading says how much of a unit there is to upload, and how much of that is done.
func (c *Cache) Uploading(s *Snapshot, files int, bytes, done int64) {
	c.setState(s.Unit, s.Gen, StateUploading, func(u *Unit) { u.files, u.bytes, u.done = files, bytes, done })
}

// Uploaded counts bytes that have reached the store.
func (c *Cache) Uploaded(u *Unit, n int64) {
	c.mu.Lock()
	c.mu.stats.uploaded += n
	if u != nil {
		u.done += n
	}
	c.mu.Unlock()
}

// SetAside moves a unit whose history this node does not know, and which the store
// has otherwise, out of the tree (I6).
func (c *Cache) SetAside(u *Unit) (string, error) {
	to, err := c.setAside(u.Path)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	c.forget(u.Path)
	c.unaccount(u.Path)
	for p := range c.mu.unknown {
		if under(p, u.Path) {
			delete(c.mu.unknown, p)
		}
	}
	c.notify()
	c.mu.Unlock()
	c.names.forget(u.Path)
	return to, c.journal.write(del(tableSeal, u.Path))
}

// setAside moves a path from the tree to lost+found.
func (c *Cache) setAside(path string) (string, error) {
	name := strings.ReplaceAll(path, "/", "%2F")
	if most := 200; len(name) > most { // a name has at most 255 bytes
		name = name[len(name)-most:]
	}
	to := filepath.Join(c.dir, "lost+found", name+time.Now().UTC().Format(".20060102T150405.000000"))
	err := c.tree.at(path, func(dirfd int, last string) error {
		return unix.Renameat2(dirfd, last, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	})
	if err != nil {
		return "", fmt.Errorf("set aside %s: %w", path, err)
	}
	c.mu.Lock()
	c.mu.stats.lost++
	c.mu.Unlock()
	return to, nil
}
