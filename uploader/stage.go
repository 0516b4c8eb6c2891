package uploader

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// stage is the second step: every byte of a sealed unit is in the store, or is small
// enough to ride in the publishing burst and in memory. Nothing can be seen.
func (u *Uploader) stage(ctx context.Context, s *sealedUnit) error {
	var files int
	var bytes, done, small int64
	for _, p := range s.plans {
		if p.how == onPut && p.job != nil {
			if small += p.ID.Size; small > smallBudget {
				p.how = onStage
			}
		}
		if p.how == onStage || p.how == onPut {
			files++
			bytes += p.ID.Size
			done += p.sent()
		}
	}
	u.c.Uploading(s.Snapshot, files, bytes, done)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2 * u.cfg.Parallel)
	for _, p := range s.plans {
		switch {
		case p.how == onStage:
			g.Go(func() error { return p.job.upload(ctx, p.Attr, s.Unit) })
		case p.how == onPut && p.job != nil:
			g.Go(func() error { return u.keepBody(p) })
		}
	}
	return g.Wait()
}

// keepBody reads a small file into memory and makes sure it is what was sealed.
func (u *Uploader) keepBody(p *plan) error {
	f, err := p.job.open()
	if err != nil {
		return err
	}
	defer f.Close()
	body := make([]byte, p.ID.Size)
	if _, err := io.ReadFull(f, body); err != nil && p.ID.Size > 0 {
		return err
	}
	if crc32c.Checksum(body) != p.crc {
		return cache.ErrReopened
	}
	p.body = body
	return nil
}

// stageClosed does so with all files that were closed a while ago, and tells when to look again.
func (u *Uploader) stageClosed() (next time.Time) {
	files, next := u.c.ClosedFiles(earlyQuiet)
	for _, p := range files {
		u.stageEarly(p)
	}
	return next
}

// stageEarly begins with a file that is closed while its checkpoint directory is still
// open. What the directory's own commit finds staged, it does not send again; what is
// written again after all was sent in vain.
func (u *Uploader) stageEarly(path string) {
	unit, f, err := u.c.Look(path)
	if err != nil || unit == nil || f == nil || unit.Class.Kind != layout.Checkpoint {
		return
	}
	if f.Clean || f.Known || f.CopyFrom != "" || f.Type != layout.TypeFile || f.ID.Size <= smallFile || u.c.Writing(path) {
		return
	}
	u.start(func() {
		j := u.job(f.Path, f.ID)
		if j.seal(u.ctx) != nil {
			return
		}
		j.upload(u.ctx, f.Attr, unit) // the commit meets the same error, and reports it
	})
}

// sweepStages aborts uploads that nobody wants any more: the file is gone, or is
// another one.
func (u *Uploader) sweepStages() {
	all, err := u.c.Stages()
	if err != nil {
		u.log.Error("cannot read the journal", "err", err)
		return
	}
	for path, stage := range all {
		if err := u.sweepStage(path, stage); err != nil && u.ctx.Err() == nil {
			u.log.Warn("cannot abort an upload that is no longer wanted, will try again", "path", path, "err", err)
		}
	}
	u.jobs.mu.Lock()
	defer u.jobs.mu.Unlock()
	for path, j := range u.jobs.byPath {
		if j.same() != nil {
			delete(u.jobs.byPath, path)
		}
	}
}

func (u *Uploader) sweepStage(path string, stage backend.Stage) error {
	unlock, err := u.paths.lock(u.ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	now, id, found, err := u.c.Stage(path)
	if err != nil || !found || now.ID != stage.ID {
		return err
	}
	f, is, err := u.c.OpenFile(path)
	if err == nil {
		f.Close()
	}
	if err == nil && is == id || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := u.store.AbortStage(u.ctx, stage); err != nil {
		return err
	}
	return u.c.DropStage(path)
}

func bytesReader(b []byte) io.ReaderAt { return bytes.NewReader(b) }
