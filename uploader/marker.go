package uploader

import (
	"context"
	"errors"
	"hash"
	"io"
	"os"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// mark puts an open marker for every checkpoint directory that this node has begun to
// write in: other nodes do not show it until the marker goes.
func (u *Uploader) mark() {
	for _, unit := range u.c.Unmarked(marksAtOnce - int(u.marking.Load())) {
		u.marking.Add(1)
		u.start(func() {
			defer u.marking.Add(-1)
			err := u.putOpen(u.ctx, unit, false)
			if err != nil && u.ctx.Err() == nil {
				u.log.Debug("cannot put an open marker yet", "unit", unit.Path, "err", err)
				sleep(u.ctx, backoff(1, backend.Permanent(err)))
			}
			if err != nil {
				u.c.Marked(unit, false)
			}
		})
	}
}

// ensureMarker makes sure of it before anything becomes visible.
func (u *Uploader) ensureMarker(ctx context.Context, unit *cache.Unit) error {
	if u.c.HasMarker(unit) {
		return nil
	}
	return u.putOpen(ctx, unit, true)
}

// putOpen puts the marker, unless the unit has been committed or deleted meanwhile:
// the lock on the marker's key keeps that apart from its deletion.
// Where an earlier start had put it, it may have been deleted with the directory. busy: the
// caller has the unit, from Due.
func (u *Uploader) putOpen(ctx context.Context, unit *cache.Unit, busy bool) error {
	unlock, err := u.paths.lock(ctx, layout.OpenKey(unit.Path, u.c.Node()))
	if err != nil {
		return err
	}
	defer unlock()
	before, err := u.c.MarkedBefore(unit)
	if err != nil {
		return err
	}
	if before {
		if err := u.heedLocked(ctx, unit, busy); err != nil {
			return err
		}
	}
	anew, err := u.c.MarkedAnew(unit)
	if err != nil {
		return err
	}
	if anew {
		_, err := u.store.Head(ctx, layout.OpenKey(unit.Path, u.c.Node()))
		if err == nil {
			u.c.Marked(unit, true)
		}
		if !errors.Is(err, backend.ErrNotExist) {
			return err
		}
	}
	if err := u.c.MarkerIntent(unit); err != nil {
		return err
	}
	if !u.c.WantsMarker(unit) {
		return nil
	}
	if err := u.putMarker(ctx, unit.Path, layout.StateOpen); err != nil {
		return err
	}
	killpoint.At(killpoint.MarkerPut)
	return u.c.OpenMarkerPut(unit)
}

// putMarker writes a marker. The caller holds the lock on its key.
func (u *Uploader) putMarker(ctx context.Context, unit, state string) error {
	host, _ := os.Hostname()
	m := layout.OpenMarker{Node: u.c.Node(), Host: host, Since: time.Now().UTC(), State: state}
	b, err := m.Encode()
	if err != nil {
		return err
	}
	_, err = u.store.Put(ctx, layout.OpenKey(unit, u.c.Node()), contentOf(b), backend.PutOptions{})
	return err
}

// removeMarker shows a published unit to other nodes. A unit that is being written to
// again keeps its marker.
func (u *Uploader) removeMarker(ctx context.Context, s *sealedUnit) error {
	key := layout.OpenKey(s.Unit.Path, u.c.Node())
	unlock, err := u.paths.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if !u.c.Unmark(s.Unit, s.Gen) {
		return nil
	}
	if err := u.store.Delete(ctx, key); err != nil {
		return err
	}
	killpoint.At(killpoint.PublishShown)
	err = u.c.MarkerGone(s.Unit)
	killpoint.At(killpoint.PublishUnmarked)
	return err
}

// dropMarker takes the marker of a unit away that is not here any more.
func (u *Uploader) dropMarker(ctx context.Context, unit *cache.Unit) error {
	key := layout.OpenKey(unit.Path, u.c.Node())
	unlock, err := u.paths.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if err := u.store.Delete(ctx, key); err != nil {
		return err
	}
	return u.c.MarkerGone(unit)
}

// dropStrays takes away the markers that a start has found to be nobody's.
func (u *Uploader) dropStrays() {
	for _, unit := range u.c.Strays() {
		if err := u.dropStray(u.ctx, unit); err != nil {
			u.deleteFailed(layout.OpenKey(unit, u.c.Node()), err)
			return
		}
	}
}

func (u *Uploader) dropStray(ctx context.Context, unit string) error {
	key := layout.OpenKey(unit, u.c.Node())
	unlock, err := u.paths.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if !u.c.IsStray(unit) {
		return nil
	}
	if err := u.store.Delete(ctx, key); err != nil {
		return err
	}
	return u.c.StrayGone(unit)
}

// sleep waits, unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func contentOf(b []byte) backend.Content {
	return backend.Content{R: bytesReader(b), Size: int64(len(b)), CRC32C: crc32c.Checksum(b)}
}

func copyTo(h hash.Hash32, r io.Reader) (int64, error) { return io.Copy(h, r) }
