package uploader

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// Whoever deletes a checkpoint directory takes the open markers of all nodes away: most are of
// nodes that are dead, and would hide for ever what is made under that name next. A node that
// lives and writes there still puts its own again: it looks every claimEvery whether it is there.
// So whoever has taken markers away shows nothing of his own under that name for claimTime.
const (
	claimEvery = 3 * time.Second
	claimTime  = 3 * claimEvery
)

// taken is when this node has last taken open markers of others away, by checkpoint directory.
type taken struct {
	mu sync.Mutex
	at map[string]time.Time
}

// takes notes that markers of other nodes are about to go, if there are any among keys.
func (u *Uploader) takes(unit string, keys []string) (markers []string) {
	for _, key := range keys {
		if _, node, open, ok := layout.ParseUnitKey(key); ok && open && node != u.c.Node() {
			markers = append(markers, key)
		}
	}
	if len(markers) == 0 {
		return nil
	}
	u.taken.mu.Lock()
	defer u.taken.mu.Unlock()
	now := time.Now()
	if u.taken.at == nil {
		u.taken.at = map[string]time.Time{}
	}
	maps.DeleteFunc(u.taken.at, func(_ string, at time.Time) bool { return now.Sub(at) >= claimTime })
	u.taken.at[unit] = now
	return markers
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
	markers := u.takes(s.Unit.Path, s.left)
	if len(markers) == 0 {
		return nil
	}
	if err := u.tellWriters(ctx, s.Made, markers); err != nil {
		return err
	}
	if err := u.store.Delete(ctx, markers...); err != nil {
		return err
	}
	return u.letClaim(s.Unit.Path)
}

// claim puts those open markers of this node again that another one has taken away.
func (u *Uploader) claim() {
	for _, unit := range u.c.MarkedFor(claimEvery) {
		err := u.claimOne(u.ctx, unit)
		if errors.Is(err, cache.ErrGone) || errors.Is(err, cache.ErrReopened) || errors.As(err, new(errWait)) {
			continue
		}
		if err != nil && u.ctx.Err() == nil {
			u.log.Debug("cannot look for an open marker", "unit", unit.Path, "err", err)
			return
		}
	}
}

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
	_, err = u.store.Head(ctx, key)
	if !errors.Is(err, backend.ErrNotExist) {
		return err
	}
	if err := u.heedLocked(ctx, unit, false); err != nil {
		return err
	}
	u.log.Info("another node has taken the open marker away: it is put again", "unit", unit.Path)
	return u.putMarker(ctx, unit.Path, layout.StateOpen) // o/UNIT is there, for it was marked
}
