package uploader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// racyTime is how long a file must have been left alone before a clean record may
// speak of it: a write within the same tick of the file system's clock would not
// change its mtime.
const racyTime = 20 * time.Millisecond

// commitPlain takes one artifact, log, control file or symbolic link to the store. A
// file that is open for writing goes up as far as it is written.
func (u *Uploader) commitPlain(ctx context.Context, unit *cache.Unit) error {
	unlock, err := u.paths.lock(ctx, unit.Path)
	if err != nil {
		return err
	}
	defer unlock()
	snap, err := u.c.Snapshot(unit)
	if err != nil {
		return err
	}
	if len(snap.Files) == 0 || snap.Files[0].Clean { // a pipe or a socket; or nothing new
		return u.c.Committed(snap, nil)
	}
	p := &plan{FileState: snap.Files[0]}
	obj, err := u.sendPlain(ctx, snap, p)
	if err != nil {
		return err
	}
	if p.job != nil {
		u.dropJob(p.job)
	}
	if obj == nil {
		return nil // set aside
	}
	killpoint.At(killpoint.PlainPut)
	err = u.c.Committed(snap, []cache.Done{{Path: p.Path, ID: p.ID, Attr: p.Attr, CRC32C: p.crc, ETag: obj.ETag}})
	killpoint.At(killpoint.PlainRecords)
	return err
}

// sendPlain uploads one file by itself. nil: it was set aside.
func (u *Uploader) sendPlain(ctx context.Context, snap *cache.Snapshot, p *plan) (*backend.Object, error) {
	sleep(ctx, racyTime-time.Since(p.Attr.Mtime))
	if err := u.sealPlain(ctx, p); err != nil {
		return nil, err
	}
	s := &sealedUnit{Snapshot: snap, plans: []*plan{p}}
	if aside, err := u.clashes(ctx, s); aside || err != nil {
		return nil, err
	}
	if err := u.sending(s); err != nil {
		return nil, err
	}
	u.c.Uploading(snap, 1, p.ID.Size, p.sent())
	if p.how == onPut && p.job != nil {
		obj, err := u.putFile(ctx, snap.Unit, p)
		return &obj, err
	}
	if p.how == onStage {
		if err := p.job.upload(ctx, p.Attr, snap.Unit); err != nil {
			return nil, err
		}
	}
	obj, err := u.show(ctx, p)
	return &obj, err
}

// sealPlain decides how, and puts on the local disk what is to go up: after a power cut
// a file that is newer than its record is uploaded, and must not be less than what the
// store has. What its mtime would not speak of is synced before it is read as well.
func (u *Uploader) sealPlain(ctx context.Context, p *plan) error {
	if p.Type == layout.TypeSymlink || p.Remote {
		return u.sealFile(ctx, p)
	}
	p.job = u.jobFor(p.Path, p.ID, true)
	if u.c.Doubt(&p.FileState) {
		if err := p.job.sync(); err != nil {
			return err
		}
	}
	if err := p.job.seal(ctx); err != nil {
		return err
	}
	p.crc = p.job.crc
	switch {
	case p.CopyFrom != "" && p.CopyCRC == p.crc && p.ID.Size > smallFile:
		p.how, p.from, p.etag = onCopy, p.CopyFrom, p.CopyETag
	case p.ID.Size > smallFile && p.Known && p.ETag != "" && p.CRC32C == p.crc && u.stillThere(ctx, p):
		p.how, p.from, p.etag = onCopy, p.Path, p.ETag
	case p.ID.Size > smallFile && p.Buried && u.storeHas(ctx, p):
		p.how, p.from = onCopy, p.Path
	case p.ID.Size <= p.job.part:
		p.how = onPut
	default:
		p.how = onStage
	}
	return p.job.sync()
}

// putFile puts a file of at most one part, from the disk.
func (u *Uploader) putFile(ctx context.Context, unit *cache.Unit, p *plan) (backend.Object, error) {
	if err := u.parts.Acquire(ctx, 1); err != nil {
		return backend.Object{}, err
	}
	defer u.parts.Release(1)
	f, err := p.job.open()
	if err != nil {
		return backend.Object{}, err
	}
	defer f.Close()
	obj, err := u.store.Put(ctx, p.Path, backend.Content{R: f, Size: p.ID.Size, CRC32C: p.crc}, backend.PutOptions{Attr: p.Attr, IfAbsent: p.Unseen})
	switch {
	case errors.Is(err, backend.ErrChecksum):
		return obj, p.job.uploadError(err)
	case err == nil:
		u.c.Uploaded(unit, p.ID.Size)
		if obj.Size != p.ID.Size {
			err = fmt.Errorf("%s: the store has %d bytes, sent were %d: %w", p.Path, obj.Size, p.ID.Size, backend.ErrChecksum)
		}
	}
	return obj, err
}

// commitDirectory keeps an empty directory, or one with a mode of its own, by a
// marker. Any other is there by what lies in it.
func (u *Uploader) commitDirectory(ctx context.Context, unit *cache.Unit) error {
	snap, err := u.c.Snapshot(unit)
	if err != nil {
		return err
	}
	if len(snap.Files) == 0 {
		return u.c.Committed(snap, nil)
	}
	dir := snap.Files[0]
	if snap.Empty || dir.Attr.Mode != 0o755 {
		key := unit.Path + "/"
		if _, err := u.store.Put(ctx, key, contentOf(nil), backend.PutOptions{Attr: dir.Attr}); err != nil {
			return err
		}
		if err := u.c.MarkerPut(snap); err != nil {
			return err
		}
	}
	return u.c.Committed(snap, nil)
}

// CommitFile implements cache.Committer.
func (u *Uploader) CommitFile(ctx context.Context, path string) error {
	for attempt := 0; ; attempt++ {
		err := u.commitFileOnce(ctx, path)
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if errors.Is(err, cache.ErrGone) {
			return nil
		}
		if backend.Permanent(err) && !errors.Is(err, backend.ErrChecksum) && attempt >= 2 {
			return err
		}
		sleep(ctx, backoff(attempt, false))
	}
}

func (u *Uploader) commitFileOnce(ctx context.Context, path string) error {
	unit, f, err := u.c.Look(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted or renamed since: under that name nothing is to be waited for
	}
	if err != nil || unit == nil || f == nil || f.Clean {
		return err
	}
	switch {
	case unit.Class.Kind == layout.Tracker:
		return u.CommitUnit(ctx, path)
	case unit.Class.Kind == layout.Checkpoint:
		u.c.Doubt(f)
		j := u.job(f.Path, f.ID)
		if err := j.seal(ctx); err != nil {
			return err
		}
		return j.upload(ctx, f.Attr, nil)
	}
	if err := u.c.TakeUp(unit); err != nil {
		return err
	}
	defer u.c.HandBack(unit)
	unlock, err := u.paths.lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	snap, err := u.c.Snapshot(unit)
	if err != nil || len(snap.Files) == 0 || snap.Files[0].Clean {
		return err
	}
	p := &plan{FileState: snap.Files[0]}
	obj, err := u.sendPlain(ctx, snap, p)
	if err != nil || obj == nil {
		return err
	}
	if p.job != nil {
		u.dropJob(p.job)
	}
	return u.c.Committed(snap, []cache.Done{{Path: p.Path, ID: p.ID, Attr: p.Attr, CRC32C: p.crc, ETag: obj.ETag}})
}

// CommitUnit implements cache.Committer.
func (u *Uploader) CommitUnit(ctx context.Context, path string) error {
	for {
		changed := u.c.Changed()
		done, err := u.c.UpToDate(ctx, path)
		if done || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
