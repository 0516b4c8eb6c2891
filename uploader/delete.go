package uploader

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// toldPause is how long a deletion waits before it looks again whether other nodes have given up
// what they had not published.
const toldPause = time.Second / 2

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
	} else if len(u.told) > 0 {
		sleep(u.ctx, toldPause)
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
	maps.DeleteFunc(u.told, func(unit string, _ time.Time) bool {
		return !slices.ContainsFunc(list, func(t cache.Tombstone) bool { return t.Unit && t.Key == unit })
	})
	for _, t := range list {
		if !t.Unit {
			keys = append(keys, t.Key)
			continue
		}
		if err := u.deleteUnit(u.ctx, t.Key); err != nil && !errors.As(err, new(errWait)) {
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
// leaves it hidden, and the tombstone does it again. Between the objects and the marker the
// nodes that have a part of it to publish get the time to give that up (claim.go).
func (u *Uploader) deleteUnit(ctx context.Context, unit string) error {
	own := layout.OpenKey(unit, u.c.Node())
	unlock, err := u.paths.lock(ctx, own)
	if err != nil {
		return err
	}
	defer unlock()
	told, waits := u.told[unit]
	if !waits {
		if told, waits, err = u.deleteContent(ctx, unit); err != nil {
			return err
		}
	}
	if waits {
		if err := u.untilGivenUp(ctx, unit, told); err != nil {
			return err
		}
	}
	delete(u.told, unit)
	if err := u.store.Delete(ctx, own, layout.DeletedKey(unit, u.c.Node()), unit+"/"); err != nil {
		return err
	}
	killpoint.At(killpoint.RmdirMarker)
	return u.c.UnitDeleted(unit, u.c.MembersBuried(unit)...)
}

// deleteContent hides the directory, and takes all of it but the markers of nodes that may be at
// work there: those were told of it at that time.
func (u *Uploader) deleteContent(ctx context.Context, unit string) (told time.Time, waits bool, err error) {
	keys, err := u.everythingOf(ctx, unit)
	if err != nil {
		return told, false, err
	}
	// Begun, it has to be finished: no power cut may bring the directory back.
	if err := u.c.SyncGone(unit); err != nil {
		return told, false, err
	}
	if len(keys) > 0 {
		if err := u.putMarker(ctx, unit, layout.StateDeleting); err != nil {
			return told, false, err
		}
		killpoint.At(killpoint.RmdirHidden)
	}
	own, tells := layout.OpenKey(unit, u.c.Node()), layout.DeletedKey(unit, u.c.Node())
	var objects, last []string
	for _, key := range keys {
		_, _, open, ok := layout.ParseUnitKey(key)
		switch {
		case key == own || key == tells:
		case ok && open:
			waits = true
		case strings.HasPrefix(key, layout.Prefix):
			last = append(last, key)
		default:
			objects = append(objects, key)
		}
	}
	if waits {
		if _, err := u.store.Put(ctx, tells, contentOf(nil), backend.PutOptions{}); err != nil {
			return told, false, err
		}
		told = time.Now()
	}
	for _, batch := range []struct {
		keys []string
		done killpoint.Step
	}{{objects, killpoint.RmdirObjects}, {last, killpoint.RmdirUnits}} {
		if len(batch.keys) > 0 {
			if err := u.store.Delete(ctx, batch.keys...); err != nil {
				return told, false, err
			}
		}
		killpoint.At(batch.done)
	}
	if waits {
		u.told[unit] = told
	}
	return told, waits, nil
}

// untilGivenUp says errWait until the other nodes' markers are gone. Those that are still there
// after claimTime it takes. What they publish meanwhile stays: it may be of a checkpoint that is
// made anew.
func (u *Uploader) untilGivenUp(ctx context.Context, unit string, told time.Time) error {
	var keys []string
	if err := listAll(ctx, u.store, layout.UnitsPrefix(unit), func(o backend.Object) { keys = append(keys, o.Key) }); err != nil {
		return err
	}
	markers := u.othersMarkers(keys)
	if len(markers) == 0 {
		return nil
	}
	if time.Since(told) < claimTime {
		return errWait{"waits for other nodes to give up what they have not published"}
	}
	u.takes(unit)
	return u.store.Delete(ctx, markers...)
}
