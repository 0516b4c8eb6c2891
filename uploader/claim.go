package uploader

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// Whoever deletes a checkpoint directory tells the nodes that have an open marker there, by a key
// of its own, and gives them claimTime. A node looks every claimEvery at the checkpoint directories
// that it has a part of to publish. If one is being deleted, that part is given up (cache.GiveUp),
// and the marker goes.
//
// Then the deletion takes the markers that are left: most are of nodes that are dead, and would
// hide for ever what is made under that name next. A node that lives and writes there still puts
// its own again. So whoever has taken markers away shows nothing of his own under that name for
// claimTime.
const (
	claimEvery = 3 * time.Second
	claimTime  = 3 * claimEvery
)

// taken is when this node has last taken open markers of others away, by checkpoint directory.
type taken struct {
	mu sync.Mutex
	at map[string]time.Time
}

// othersMarkers are the open markers of other nodes among keys.
func (u *Uploader) othersMarkers(keys []string) (markers []string) {
	for _, key := range keys {
		if _, node, open, ok := layout.ParseUnitKey(key); ok && open && node != u.c.Node() {
			markers = append(markers, key)
		}
	}
	return markers
}

// takes notes that markers of other nodes are about to go.
func (u *Uploader) takes(unit string) {
	now := time.Now()
	u.taken.mu.Lock()
	defer u.taken.mu.Unlock()
	if u.taken.at == nil {
		u.taken.at = map[string]time.Time{}
	}
	maps.DeleteFunc(u.taken.at, func(_ string, at time.Time) bool { return now.Sub(at) >= claimTime })
	u.taken.at[unit] = now
}

// letClaim says errWait until the nodes whose markers were taken away have had the time to put
// them again.
func (u *Uploader) letClaim(unit string) error {
	u.taken.mu.Lock()
	defer u.taken.mu.Unlock()
	at, ok := u.taken.at[unit]
	if ok && time.Since(at) < claimTime {
		return errWait{"was deleted and made again, and waits for other nodes that may still write there"}
	}
	return nil
}

// takeOldMarkers takes away the markers that the directory which was here before has left.
func (u *Uploader) takeOldMarkers(ctx context.Context, s *sealedUnit) error {
	markers := u.othersMarkers(s.left)
	if len(markers) == 0 {
		return nil
	}
	u.takes(s.Unit.Path)
	if err := u.store.Delete(ctx, markers...); err != nil {
		return err
	}
	return u.letClaim(s.Unit.Path)
}

// claim looks at the checkpoint directories in which this node has an open marker.
func (u *Uploader) claim() {
	for _, unit := range u.c.MarkedFor(claimEvery) {
		if err := u.claimOne(u.ctx, unit); err != nil && u.ctx.Err() == nil {
			u.log.Debug("cannot look for an open marker", "unit", unit.Path, "err", err)
			return
		}
	}
}

// stands says ErrGone if another node has deleted, since this one began to write there, what it is
// about to publish.
func (u *Uploader) stands(ctx context.Context, unit *cache.Unit) error {
	if !slices.Contains(u.c.MarkedFor(claimEvery), unit) {
		return nil // it has only begun
	}
	if err := u.claimOne(ctx, unit); err != nil {
		return err
	}
	if !u.c.KeepsMarker(unit) {
		return cache.ErrGone
	}
	return nil
}

// claimOne gives a unit up that another node is deleting, or puts its open marker again if
// another node has taken it away.
func (u *Uploader) claimOne(ctx context.Context, unit *cache.Unit) error {
	key := layout.OpenKey(unit.Path, u.c.Node())
	unlock, err := u.paths.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if !u.c.KeepsMarker(unit) {
		return nil // published or deleted meanwhile
	}
	looked, marked, deleted := time.Now(), false, false
	err = listAll(ctx, u.store, layout.UnitsPrefix(unit.Path), func(o backend.Object) {
		marked = marked || o.Key == key
		deleted = deleted || layout.IsDeletedKey(o.Key)
	})
	if err != nil {
		return err
	}
	if !deleted {
		u.c.Standing(unit, looked)
	} else if gone, err := u.c.GiveUp(unit); gone || err != nil {
		if gone {
			u.log.Info("another node has deleted the checkpoint: what was still to be published here goes, too", "unit", unit.Path)
		}
		return err
	}
	if marked {
		return nil
	}
	u.log.Info("another node has taken the open marker away: it is put again", "unit", unit.Path)
	return u.putMarker(ctx, unit.Path, layout.StateOpen) // o/UNIT is there, for it was marked
}
