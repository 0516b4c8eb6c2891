package cache

import (
	"errors"
	"io"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/layout"
)

// maxTracker is the largest tracker of which every version is kept, in bytes. A
// larger one goes up as it is when its turn comes.
const maxTracker = 8 << 20

// snapshotTracker keeps what the tracker says now. A tracker is rewritten in place
// while what it named before is still uploading: without a copy of each version
// there would never be one that the store may show.
//
// It runs in the close of the program that wrote it, so that the version is whole.
func (h *Handle) snapshotTracker(st *unix.Stat_t) error {
	h.flush.Lock()
	defer h.flush.Unlock()
	s := fromUnix(st)
	if identityOf(&s) == h.flushed || st.Size > maxTracker {
		return nil
	}
	content := make([]byte, st.Size)
	if n, err := h.file.ReadAt(content, 0); err != nil && err != io.EOF {
		// A file opened for writing only cannot be read through its own descriptor.
		f, err := h.c.tree.open(h.Path(), unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer f.Close()
		if n, err = f.ReadAt(content, 0); err != nil && err != io.EOF {
			return err
		} else {
			content = content[:n]
		}
	} else {
		content = content[:n]
	}
	h.flushed = identityOf(&s)
	write := h.c.journal.soon
	if h.synced == h.flushed { // fsync has promised that a power cut takes nothing of it
		write = h.c.journal.durably
	}
	return h.c.addTrackerVersion(&trackerRecord{
		Path: h.Path(), Content: content, ID: identityOf(&s), Attrs: attrsOf(&s),
	}, write)
}

// lastVersion keeps what a tracker says at its last close, where that was a child's, which
// no Flush has told of.
func (h *Handle) lastVersion(path string, st *syscall.Stat_t) {
	if h.killed.Load() || h.c.cfg.Layout.Classify(path, false).Kind != layout.Tracker {
		return
	}
	h.flush.Lock()
	known := h.flushed == identityOf(st)
	h.flush.Unlock()
	h.c.mu.Lock()
	writers := h.c.mu.writers[path]
	h.c.mu.Unlock()
	if known || writers > 1 { // others will tell
		return
	}
	if err := h.c.snapshotTrackerAt(path); err != nil { // it is looked at again when its turn comes
		h.c.log.Warn("no version of a tracker at its close", "path", path, "err", err)
	}
}

// snapshotTrackerAt is the same for a tracker that was renamed into place, or is a
// symbolic link.
func (c *Cache) snapshotTrackerAt(path string) error {
	st, err := c.tree.lstat(path)
	if err != nil {
		return err
	}
	v := &trackerRecord{Path: path, ID: identityOf(&st), Attrs: attrsOf(&st)}
	switch {
	case isSymlink(&st):
		target, err := c.tree.readlink(path)
		if err != nil {
			return err
		}
		v.Content, v.Link = []byte(target), true
	case isRegular(&st) && st.Size <= maxTracker:
		f, err := c.tree.open(path, unix.O_RDONLY)
		if err != nil {
			return err
		}
		defer f.Close()
		if v.Content, err = io.ReadAll(io.LimitReader(f, st.Size)); err != nil {
			return err
		}
	default:
		return nil
	}
	return c.addTrackerVersion(v, c.journal.soon)
}

func (c *Cache) addTrackerVersion(v *trackerRecord, write func(...op) error) error {
	named := c.cfg.Layout.Named(v.Path, v.Content)
	c.mu.Lock()
	u := c.touch(v.Path, false)
	if u == nil {
		c.mu.Unlock()
		return nil
	}
	v.Seq = c.nextSeq()
	u.seq = v.Seq
	u.versions = append(u.versions, v)
	// Commit signal 3: a tracker names it, so nobody will add to it.
	for _, o := range c.mu.units {
		if o.Class.Kind == layout.Checkpoint && under(o.Path, parent(v.Path)) && contains(named, base(o.Path)) {
			o.said = true
		}
	}
	c.mu.Unlock()
	err := write(put(tableTracker, trackerKey(v), v))
	c.mu.Lock()
	v.kept = true
	passed := !slices.Contains(u.versions, v)
	c.mu.Unlock()
	if passed { // a newer one was published meanwhile; what stays in the journal would follow it
		err = errors.Join(err, c.journal.write(del(tableTracker, trackerKey(v))))
	}
	c.poke()
	return err
}

func trackerKey(v *trackerRecord) string { return v.Path + "\x00" + seqText(v.Seq) }

// TrackerVersion is one content of a tracker that waits for its turn.
type TrackerVersion struct {
	Seq     uint64
	Content []byte
	Named   []string // base names of the checkpoint directories it names
	Link    bool
	v       *trackerRecord
}

// Versions are the contents of a tracker that the store has not seen, oldest first.
// coming tells that there is another one which is not in the journal yet.
func (c *Cache) Versions(u *Unit) (_ []TrackerVersion, coming bool) {
	var list []*trackerRecord
	c.mu.Lock()
	for _, v := range u.versions {
		if v.kept {
			list = append(list, v)
		}
	}
	coming = len(list) < len(u.versions)
	c.mu.Unlock()
	out := make([]TrackerVersion, len(list))
	for i, v := range list {
		out[i] = TrackerVersion{v.Seq, v.Content, c.cfg.Layout.Named(v.Path, v.Content), v.Link, v}
	}
	return out, coming
}
