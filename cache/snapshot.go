package cache

import (
	"errors"
	"io/fs"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
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

	seq      uint64    // tombstones younger than this are not covered
	Replaces bool      // the directory was deleted before, and the store may have more of it
	Made     time.Time // when that was; zero if that is not known
	Empty    bool      // a directory with nothing in it
}

// Snapshot looks at a unit. ErrGone, ErrReopened.
func (c *Cache) Snapshot(u *Unit) (*Snapshot, error) {
	c.mu.Lock()
	c.untilGone(u.Path)
	s := &Snapshot{Unit: u, Gen: u.gen, seq: c.mu.seq}
	gone, writers := u.gone, u.writers
	s.Replaces, s.Made = c.mu.tombs[u.Path].Unit, c.mu.tombs[u.Path].Made
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
			c.mu.Lock()
			if c.mu.units[u.Path] == u { // else it is going
				c.touch(f.Path, false)
			}
			c.mu.Unlock()
			return ErrReopened
		}
	}
	return nil
}
