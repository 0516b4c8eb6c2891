package uploader

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// publish is the last step: it makes a staged unit visible and records that it is
// committed. From BeginPublish on, a crash rolls forward.
func (u *Uploader) publish(ctx context.Context, s *sealedUnit) error {
	if s.Unit.Dir {
		if err := u.ensureMarker(ctx, s.Unit); err != nil {
			return err
		}
		if err := u.heed(ctx, s.Unit, true); err != nil {
			return err
		}
		if err := u.letClaim(s.Unit.Path); err != nil {
			return err
		}
	}
	if aside, err := u.clashes(ctx, s); aside || err != nil {
		return err
	}
	if s.Unit.Dir {
		if err := u.overtaken(ctx, s); err != nil {
			return err
		}
		left, err := u.leftIn(ctx, s)
		if err != nil {
			return err
		}
		s.left = left
		if err := u.takeOldMarkers(ctx, s); err != nil {
			return err
		}
		removed, err := u.removals(ctx, s)
		if err != nil {
			return err
		}
		s.manifest.Removed = removed
	}
	if err := u.sending(s); err != nil {
		return err
	}
	if err := u.c.BeginPublish(s.Snapshot, s.manifest); err != nil {
		return err
	}
	if s.Unit.Dir {
		if err := u.putManifest(ctx, s.manifest); err != nil {
			return err
		}
		killpoint.At(killpoint.PublishManifest)
	}
	done, err := u.burst(ctx, s)
	if err != nil {
		return err
	}
	killpoint.At(killpoint.PublishBurst)
	if err := u.c.Copied(s.Snapshot, done); err != nil {
		return err
	}
	if err := u.removeOld(ctx, s); err != nil {
		return err
	}
	killpoint.At(killpoint.PublishRemoved)
	if s.Unit.Dir {
		if err := u.removeMarker(ctx, s); err != nil {
			return err
		}
	}
	if err := u.c.Committed(s.Snapshot, done); err != nil {
		return err
	}
	killpoint.At(killpoint.PublishRecords)
	for _, p := range s.plans {
		if p.job != nil {
			u.dropJob(p.job)
		}
	}
	u.log.Info("committed", "unit", s.Unit.Path, "files", len(done))
	return nil
}

// burst makes every file visible: data first, then the framework's own markers, which
// other tools take for the end.
func (u *Uploader) burst(ctx context.Context, s *sealedUnit) ([]cache.Done, error) {
	done := make([]cache.Done, 0, len(s.plans))
	for _, markers := range []bool{false, true} {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(2 * u.cfg.Parallel)
		results := make([]*cache.Done, len(s.plans))
		for i, p := range s.plans {
			if p.Type == layout.TypeDir || isMarker(u.c, p.Path) != markers {
				continue
			}
			g.Go(func() error {
				obj, err := u.show(gctx, p)
				if err != nil {
					return err
				}
				killpoint.At(killpoint.PublishObject)
				results[i] = &cache.Done{Path: p.Path, ID: p.ID, Attr: p.Attr, CRC32C: p.crc, ETag: obj.ETag}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
		for _, d := range results {
			if d != nil {
				done = append(done, *d)
			}
		}
	}
	return done, nil
}

// show makes one file visible and checks the store's answer against the seal.
func (u *Uploader) show(ctx context.Context, p *plan) (obj backend.Object, err error) {
	switch p.how {
	case keep:
		return backend.Object{ETag: p.ETag}, nil
	case onCopy:
		obj, err = u.store.Copy(ctx, p.from, p.Path, backend.PutOptions{Attr: p.Attr, SourceETag: p.etag})
		if errors.Is(err, backend.ErrNotExist) || errors.Is(err, backend.ErrChanged) {
			obj, err = u.sendInstead(ctx, p)
		}
	case onPut:
		obj, err = u.putIdempotent(ctx, p)
	case onStage:
		obj, err = p.job.publish(ctx, p.Attr, p.Unseen)
	}
	if err != nil {
		return obj, err
	}
	size := p.size()
	if obj.Size != size || obj.HasCRC32C && obj.CRC32C != p.crc {
		return obj, fmt.Errorf("%s: the store has %d bytes with crc32c %08x, sealed were %d with %08x: %w",
			p.Path, obj.Size, obj.CRC32C, size, p.crc, backend.ErrChecksum)
	}
	return obj, nil
}

// sendInstead sends a file after all: what it was to be copied from is gone, or is
// another one now.
func (u *Uploader) sendInstead(ctx context.Context, p *plan) (backend.Object, error) {
	if p.Remote {
		return backend.Object{}, errors.Join(cache.ErrReopened, u.c.LoseMoved(p.Path, p.CopyFrom))
	}
	if err := p.job.upload(ctx, p.Attr, nil); err != nil {
		return backend.Object{}, err
	}
	return p.job.publish(ctx, p.Attr, p.Unseen)
}

// putIdempotent puts a small file; a conditional one that finds its own earlier
// success is one.
func (u *Uploader) putIdempotent(ctx context.Context, p *plan) (backend.Object, error) {
	if err := u.parts.Acquire(ctx, 1); err != nil {
		return backend.Object{}, err
	}
	defer u.parts.Release(1)
	obj, err := u.store.Put(ctx, p.Path, p.content(), backend.PutOptions{Attr: p.Attr, IfAbsent: p.Unseen})
	if errors.Is(err, backend.ErrExist) {
		if same, there, cerr := u.hasContent(ctx, p); cerr == nil && same {
			return there, nil
		}
	}
	if err == nil {
		u.c.Uploaded(nil, int64(len(p.body)))
	}
	return obj, err
}

// clashes finds files whose history this node does not know and which the store has
// otherwise: then nothing is overwritten, and the local unit is set aside (I6).
func (u *Uploader) clashes(ctx context.Context, s *sealedUnit) (aside bool, err error) {
	for _, p := range s.plans {
		if !p.Unseen || p.Type == layout.TypeDir {
			continue
		}
		same, obj, err := u.hasContent(ctx, p)
		switch {
		case errors.Is(err, backend.ErrNotExist):
			continue
		case err != nil:
			return false, err
		case same:
			p.how, p.ETag = keep, obj.ETag
			continue
		}
		own, err := u.c.WasSent(p.Path, obj.Size, obj.CRC32C)
		if err != nil {
			return false, err
		}
		if own && obj.HasCRC32C {
			p.Unseen = false
			continue
		}
		to, err := u.c.SetAside(s.Unit)
		if err != nil {
			return false, err
		}
		u.log.Error("the store has other content under a path whose history this node does not know: local copy set aside, nothing overwritten",
			"unit", s.Unit.Path, "key", p.Path, "path", to)
		if s.Unit.Dir {
			return true, u.dropMarker(ctx, s.Unit)
		}
		return true, nil
	}
	return false, nil
}

// sending notes what goes up for the first time, so that an answer that is lost leaves nothing
// that looks like somebody else's.
func (u *Uploader) sending(s *sealedUnit) error {
	var files []cache.Sent
	for _, p := range s.plans {
		if !p.Known && p.how != keep && p.Type != layout.TypeDir {
			files = append(files, cache.Sent{Path: p.Path, Size: p.size(), CRC32C: p.crc, Unseen: p.Unseen})
		}
	}
	return u.c.Sending(s.Snapshot, files)
}

// size is that of the object.
func (p *plan) size() int64 {
	if p.Type == layout.TypeSymlink {
		return int64(len(p.Target))
	}
	return p.ID.Size
}

// hasContent tells whether the store has the bytes of a sealed file under its key.
func (u *Uploader) hasContent(ctx context.Context, p *plan) (bool, backend.Object, error) {
	obj, err := u.store.Head(ctx, p.Path)
	if err != nil {
		return false, obj, err
	}
	if obj.Size != p.size() {
		return false, obj, nil
	}
	if obj.HasCRC32C {
		return obj.CRC32C == p.crc, obj, nil
	}
	body, obj, err := u.store.Get(ctx, p.Path, backend.GetOptions{ETag: obj.ETag})
	if err != nil {
		return false, obj, err
	}
	defer body.Close()
	sum := crc32c.New()
	if _, err := copyTo(sum, body); err != nil {
		return false, obj, err
	}
	return sum.Sum32() == p.crc, obj, nil
}

func (u *Uploader) putManifest(ctx context.Context, m *layout.Manifest) error {
	b, err := m.Encode()
	if err != nil {
		return fmt.Errorf("manifest of %s: %w: %w", m.Unit, backend.ErrInvalidKey, err)
	}
	_, err = u.store.Put(ctx, layout.ManifestKey(m.Unit, m.Node), contentOf(b), backend.PutOptions{})
	return err
}
