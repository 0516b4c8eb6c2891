package uploader

import (
	"context"
	"strings"

	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// commit takes one closed unit to the store.
func (u *Uploader) commit(ctx context.Context, unit *cache.Unit) error {
	switch {
	case unit.Class.Kind == layout.Checkpoint:
		return u.commitCheckpoint(ctx, unit)
	case unit.Class.Kind == layout.Tracker:
		return u.commitTracker(ctx, unit)
	case unit.Dir:
		return u.commitDirectory(ctx, unit)
	}
	return u.commitPlain(ctx, unit)
}

// commitCheckpoint is the commit protocol.
//
//	seal     every file is on the local disk and has its checksum; the manifest is in
//	         the journal. From here the unit survives a power cut as complete.
//	stage    every byte is in the store, and nothing of it can be seen.
//	turn     what was closed before it in its trial has been published.
//	publish  the manifest, then all objects in one burst, the framework's own marker
//	         last; then the clean records, and the open marker goes.
//
// Whoever writes to the unit again before it publishes takes it back: ErrReopened.
func (u *Uploader) commitCheckpoint(ctx context.Context, unit *cache.Unit) error {
	snap, err := u.c.Snapshot(unit)
	if err != nil {
		return err
	}
	sealed, err := u.seal(ctx, snap)
	if err != nil {
		return err
	}
	if err := u.stage(ctx, sealed); err != nil {
		return err
	}
	if err := u.turn(unit); err != nil {
		return err
	}
	return u.publish(ctx, sealed)
}

// turn says errWait until it is the unit's turn (P4).
func (u *Uploader) turn(unit *cache.Unit) error {
	if first := u.c.Blockers(unit, u.c.Seq(unit), nil); len(first) > 0 {
		return waitFor(first)
	}
	return nil
}

func waitFor(units []string) error {
	more := ""
	if len(units) > 3 {
		units, more = units[:3], ", …"
	}
	return errWait{"waits for " + strings.Join(units, ", ") + more}
}
