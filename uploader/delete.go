package uploader

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// deleteSome carries out the deletions whose time has come.
func (u *Uploader) deleteSome() {
	list := u.c.Deletions()
	if len(list) == 0 {
		return
	}
	key, err := u.carryOut(list)
	u.c.DeletionsEnded()
	if err != nil {
		u.deleteFailed(key, err)
	}
}

// errHere is no fault of the store.
type errHere struct{ error }

// carryOut does them, or tells at which key it failed.
func (u *Uploader) carryOut(list []cache.Tombstone) (key string, err error) {
	if key, err := u.endUploads(list); err != nil {
		return key, err
	}
	var keys []string
	for _, t := range list {
		if !t.Unit {
			keys = append(keys, t.Key)
			continue
		}
		if err := u.deleteUnit(u.ctx, t.Key, t.Made); err != nil {
			return t.Key, err
		}
	}
	if len(keys) == 0 {
		return "", nil
	}
	// A power cut that takes the tombstones and gives the local files back must not leave
	// records that call these committed.
	if err := u.c.Sync(); err != nil {
		return keys[0], errHere{err}
	}
	if err := u.deleteKeys(keys); err != nil {
		return keys[0], err
	}
	killpoint.At(killpoint.UnlinkStore)
	if err := u.c.Deleted(keys...); err != nil { // they are done again
		return keys[0], errHere{err}
	}
	killpoint.At(killpoint.UnlinkForget)
	return "", nil
}

// endUploads aborts what is left of uploads to what is deleted. The last request of one may be
// at the store still, from a daemon that was killed: it comes before the abort, and is deleted,
// or finds nothing any more.
func (u *Uploader) endUploads(list []cache.Tombstone) (key string, err error) {
	stages, err := u.c.Stages()
	if err != nil {
		return list[0].Key, errHere{err}
	}
	for path, stage := range stages {
		for _, t := range list {
			if path == t.Key || t.Unit && strings.HasPrefix(path, t.Key+"/") {
				if err := u.sweepStage(path, stage); err != nil {
					return path, err
				}
			}
		}
	}
	return "", nil
}

// deleteKeys deletes keys in the store. It has none that it cannot have, such as that of a
// name which was renamed for that very reason.
func (u *Uploader) deleteKeys(keys []string) error {
	err := u.store.Delete(u.ctx, keys...)
	if !errors.Is(err, backend.ErrInvalidKey) {
		return err
	}
	for _, key := range keys {
		if err := u.store.Delete(u.ctx, key); err != nil && !errors.Is(err, backend.ErrInvalidKey) {
			return err
		}
	}
	return nil
}

func (u *Uploader) deleteFailed(key string, err error) {
	if u.ctx.Err() != nil {
		return
	}
	u.log.Warn("cannot delete, will try again", "key", key, "err", err)
	if here := (errHere{}); !errors.As(err, &here) {
		u.c.StoreAnswered(reachable(err))
	}
	sleep(u.ctx, backoff(2, false))
}

// deleteUnit deletes a checkpoint directory so that no other mount sees half of it: a
// marker hides it first, the objects go, and the marker goes last. A crash anywhere
// leaves it hidden, and the tombstone does it again.
//
// made is when a program removed it; zero if it was renamed, or that is not known.
func (u *Uploader) deleteUnit(ctx context.Context, unit string, made time.Time) error {
	own := layout.OpenKey(unit, u.c.Node())
	unlock, err := u.paths.lock(ctx, own)
	if err != nil {
		return err
	}
	defer unlock()
	keys, err := u.everythingOf(ctx, unit)
	if err != nil {
		return err
	}
	// Begun, it has to be finished: no power cut may bring the directory back.
	if err := u.c.SyncGone(unit); err != nil {
		return err
	}
	if len(keys) > 0 {
		if err := u.putMarker(ctx, unit, layout.StateDeleting); err != nil {
			return err
		}
		killpoint.At(killpoint.RmdirHidden)
	}
	var objects, last []string
	for _, key := range keys {
		switch {
		case key == own:
		case strings.HasPrefix(key, layout.Prefix):
			last = append(last, key)
		default:
			objects = append(objects, key)
		}
	}
	if err := u.tellWriters(ctx, made, last); err != nil {
		return err
	}
	u.takes(unit, last)
	for _, batch := range []struct {
		keys []string
		done killpoint.Step
	}{{objects, killpoint.RmdirObjects}, {last, killpoint.RmdirUnits}, {[]string{own, unit + "/", layout.DeletedKey(unit, u.c.Node())}, killpoint.RmdirMarker}} {
		if len(batch.keys) > 0 {
			if err := u.store.Delete(ctx, batch.keys...); err != nil {
				return err
			}
		}
		killpoint.At(batch.done)
	}
	return u.c.UnitDeleted(unit, u.c.MembersBuried(unit)...)
}
