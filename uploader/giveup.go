package uploader

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// A node that deletes a checkpoint directory leaves word for those that have an open marker there,
// before it takes that away: that it has, and how long ago a program here had removed it. A node
// that is about to publish its part, or finds its marker gone, looks for such a word. If all of
// its part is older than the removal, it gives it up (cache.GiveUp), and else it goes on, as in a
// checkpoint that was made anew under that name. The word goes in both cases. That of a dead node,
// or of one that has just published its part, stays until trainfs gc takes it; one that deletes the
// directory as well takes its own along.
//
// A directory that its program took for an empty one, because it has seen nothing of others, is
// none that it has deleted.
//
// How long ago the removal was by now the store's clock tells: the node puts its marker, and
// compares the times of the two.

const (
	clockGrain = 2 * time.Second // a store may count the time in seconds
	wordTakes  = time.Second     // to put a word, at most, or the age in it is wrong
	wordTries  = 3
)

// tellWriters leaves word for the nodes whose open markers are among keys. made is when the
// directory was removed; zero if that is not known: then nobody is told.
func (u *Uploader) tellWriters(ctx context.Context, made time.Time, keys []string) error {
	for _, key := range keys {
		unit, node, open, ok := layout.ParseUnitKey(key)
		if made.IsZero() || !ok || !open || node == u.c.Node() {
			continue
		}
		if err := u.leaveWord(ctx, layout.DeletedKey(unit, node), made); err != nil {
			return err
		}
	}
	return nil
}

// leaveWord puts the word, with an age that is right when the store has it, or too high: then less
// is given up. If the store is too slow for that, there is none.
func (u *Uploader) leaveWord(ctx context.Context, key string, made time.Time) error {
	host, _ := os.Hostname()
	takes := wordTakes
	for range wordTries {
		began := time.Now()
		age := max(began.Sub(made), began.Round(0).Sub(made.Round(0))) // the clock may have been set
		d := layout.Deletion{Node: u.c.Node(), Host: host, Age: (age + takes - wordTakes).Seconds()}
		b, err := d.Encode()
		if err != nil {
			u.log.Warn("the clock was set by years: a node is not told of a deletion", "key", key, "err", err)
			return nil
		}
		if _, err := u.store.Put(ctx, key, contentOf(b), backend.PutOptions{}); err != nil {
			return err
		}
		took := time.Since(began)
		if took <= takes {
			return nil
		}
		takes = 2 * took
	}
	return u.store.Delete(ctx, key)
}

// heed says cache.ErrGone if another node has deleted the directory of a unit since all of it was
// written, and errWait while it cannot go. busy: the caller has the unit, from Due.
func (u *Uploader) heed(ctx context.Context, unit *cache.Unit, busy bool) error {
	unlock, err := u.paths.lock(ctx, layout.OpenKey(unit.Path, u.c.Node()))
	if err != nil {
		return err
	}
	defer unlock()
	return u.heedLocked(ctx, unit, busy)
}

func (u *Uploader) heedLocked(ctx context.Context, unit *cache.Unit, busy bool) error {
	marker, word := layout.OpenKey(unit.Path, u.c.Node()), layout.DeletedKey(unit.Path, u.c.Node())
	told, err := u.store.Head(ctx, word)
	if errors.Is(err, backend.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := readSmall(ctx, u.store, word)
	if errors.Is(err, backend.ErrNotExist) {
		return cache.ErrReopened // taken away in between: it is asked for again
	}
	if err != nil {
		return err
	}
	d, err := layout.DecodeDeletion(b)
	if err != nil {
		u.log.Warn("what another node says of a deletion cannot be read, and is ignored", "key", word, "err", err)
		return u.store.Delete(ctx, word)
	}
	began := time.Now()
	if err := u.putMarker(ctx, unit.Path, layout.StateOpen); err != nil {
		return err
	}
	now, err := u.store.Head(ctx, marker)
	if errors.Is(err, backend.ErrNotExist) {
		return cache.ErrReopened
	}
	if err != nil {
		return err
	}
	ago := max(0, now.Modified.Sub(told.Modified)) + time.Duration(d.Age*float64(time.Second))
	gone, wait, err := u.c.GiveUp(unit, began.Add(-ago-clockGrain-wordTakes), busy)
	switch {
	case err != nil:
		return err
	case wait != "":
		return errWait{wait}
	case !gone:
		return u.store.Delete(ctx, word)
	}
	u.log.Info("another node has deleted the checkpoint: what was still to be published here goes, too",
		"unit", unit.Path, "by", d.Node, "ago", ago.Round(time.Second))
	if err := errors.Join(u.c.SyncGone(unit.Path), u.c.Sync()); err != nil {
		u.log.Error("a checkpoint that was given up may be back after a power cut", "unit", unit.Path, "err", err)
		return cache.ErrGone
	}
	if err := u.store.Delete(ctx, word); err != nil { // it says nothing of what is written from now on
		u.log.Debug("cannot delete", "key", word, "err", err)
	}
	return cache.ErrGone
}
