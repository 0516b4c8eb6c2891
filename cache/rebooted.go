package cache

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/layout"
)

// What a start makes of the tree after a power cut: only what was synced is sure, and a
// file may have its size and times and none of its bytes. See "recovery" in
// docs/guarantees.md.

// judge settles, after a power cut, which units are whole: those whose seal still
// fits every file.
func (r *recovery) judge() error {
	for _, u := range r.mu.units {
		s, ok := r.seals[u.Path]
		if ok && s.Publishing {
			u.begun = sealedContent(s, u.touched)
		}
		if ok && r.fits(u, s) {
			u.sealed, u.seq, u.state = true, s.Seq, StateSealed
			u.said = true
			continue
		}
		if !r.rebooted || u.Class.Kind != layout.Checkpoint {
			continue
		}
		err := r.tree.walk(u.Path, func(p string, st *syscall.Stat_t) error {
			var rec fileRecord
			if isDir(st) {
				return nil
			}
			if found, err := r.journal.get(tableFile, p, &rec); err != nil || found && rec.clean(st) {
				return err
			}
			r.tear(u.Path, notSealed, p, st.Ino)
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sealedContent is when what was sealed was last changed: at or before latest.
func sealedContent(s sealRecord, latest time.Time) (at time.Time) {
	for _, id := range s.IDs {
		at = later(at, time.Unix(0, id.Mtime))
	}
	if at.IsZero() || at.After(latest) {
		return latest
	}
	return at
}

const notSealed = "was not sealed when the machine went down"

// wentBack tells whether a power cut has damaged a file that the store has: it is not
// what was committed, and has not been modified since. A fetched file that nobody has
// opened for writing cannot have been modified at all.
//
// Another inode is another file that was put in its place, however old it is: what was
// committed is synced, and its name with it. Only what was fetched may have lost its name.
func (r *recovery) wentBack(rec *fileRecord, st *syscall.Stat_t) bool {
	if rec.ID == (Identity{}) {
		return false
	}
	if rec.ID.Ino != st.Ino {
		_, fetched := r.unsynced[rec.ID.Ino]
		return fetched
	}
	return !rec.Mine || st.Mtim.Nano() <= rec.ID.Mtime && rec.ID != identityOf(st)
}

// dropDamaged sets such a file aside: the store's copy is the good one.
func (r *recovery) dropDamaged(p string) error {
	to, err := r.setAside(p)
	if err != nil {
		return err
	}
	r.unaccount(p)
	r.log.Warn("the power cut has damaged the local copy of a committed file: set aside, the store has it", "path", p, "to", to)
	return nil
}

// dropUnsynced drops the local copy of a file that was fetched and had not been synced:
// it looks clean, and may be empty inside.
func (r *recovery) dropUnsynced(p string) error {
	r.unaccount(p)
	return r.tree.unlink(p)
}

// restoreTracker settles, after a power cut, what a tracker says that is not committed.
// Each close has kept a version in the journal. A local file that is not the newest of
// them, and no younger, has lost bytes: it says again what that close left. One that is
// younger had not been closed, or its close is lost: nobody knows whether it is whole, and
// fsync may have promised that it stays.
func (r *recovery) restoreTracker(u *Unit, st *syscall.Stat_t) error {
	if !isRegular(st) || st.Size > maxTracker {
		return nil // a symbolic link is made at once; the others go up as they are
	}
	n := len(u.versions)
	if n == 0 || st.Mtim.Nano() > u.versions[n-1].ID.Mtime {
		r.tear(u.Path, notSealed, u.Path, st.Ino)
		return nil
	}
	v := u.versions[n-1]
	if v.Link {
		return nil
	}
	if same, err := r.hasContent(u.Path, v.Content); err != nil || same && v.ID == identityOf(st) {
		return err
	}
	id, err := r.rewrite(u.Path, v)
	if err != nil {
		return err
	}
	r.log.Warn("the power cut has damaged a tracker: it says again what its last close left", "path", u.Path)
	v.ID = id
	return r.journal.write(put(tableTracker, trackerKey(v), v))
}

func (r *recovery) hasContent(p string, want []byte) (bool, error) {
	f, err := r.tree.open(p, unix.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer f.Close()
	got, err := io.ReadAll(io.LimitReader(f, int64(len(want))+1))
	return bytes.Equal(got, want), err
}

// rewrite replaces a file by what a version says of it.
func (r *recovery) rewrite(p string, v *trackerRecord) (id Identity, err error) {
	tmp := filepath.Join(r.dir, "fetch", "tracker.tmp")
	defer os.Remove(tmp)
	if err := writeFileDurably(tmp, v.Content); err != nil {
		return id, err
	}
	if err := os.Chmod(tmp, fs.FileMode(v.Attrs.Mode&0o777)); err != nil {
		return id, err
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(tmp, int(v.Attrs.UID), int(v.Attrs.GID)); err != nil {
			return id, err
		}
	}
	ts := unix.NsecToTimespec(v.ID.Mtime)
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, tmp, []unix.Timespec{ts, ts}, 0); err != nil {
		return id, err
	}
	err = r.tree.at(p, func(dirfd int, name string) error {
		return unix.Renameat2(unix.AT_FDCWD, tmp, dirfd, name, 0)
	})
	if err != nil {
		return id, err
	}
	st, err := r.tree.lstat(p)
	if err != nil {
		return id, err
	}
	return identityOf(&st), r.tree.syncDir(parent(p))
}
