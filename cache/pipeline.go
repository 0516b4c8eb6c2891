package cache

import (
	"errors"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// The uploader's side of the cache: what a unit consists of at this moment (snapshot.go), and
// the records that each step of the commit protocol leaves: seal and publish here, then
// committed.go, or aside.go if it must not replace what the store has.

var (
	// ErrReopened says that the unit was written to again: it is not what was looked at.
	ErrReopened = errors.New("written to again")
	// ErrGone says that the unit was deleted or renamed away.
	ErrGone = errors.New("deleted or renamed meanwhile")
)

// Seal records a sealed unit, durably. From here a power cut finds it complete.
func (c *Cache) Seal(s *Snapshot, m *layout.Manifest) error {
	if err := c.Same(s); err != nil {
		return err
	}
	if err := c.journal.durably(put(tableSeal, s.Unit.Path, c.sealRecord(s, m, c.hasBegun(s.Unit)))); err != nil {
		return err
	}
	killpoint.At(killpoint.SealJournal)
	c.setState(s.Unit, s.Gen, StateSealed, func(u *Unit) { u.sealed = true })
	return nil
}

func (c *Cache) sealRecord(s *Snapshot, m *layout.Manifest, begun bool) sealRecord {
	r := sealRecord{Seq: c.Seq(s.Unit), Manifest: m, Publishing: begun}
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
	r := c.sealRecord(s, m, true)
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
	if s.Unit.begun.IsZero() { // else the store may have some of an attempt before, too
		s.Unit.begun = s.Unit.touched
	}
	return nil
}

// hasBegun tells whether objects of what is not committed may be in the store.
func (c *Cache) hasBegun(u *Unit) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !u.begun.IsZero()
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
