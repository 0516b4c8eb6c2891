package uploader

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// how a file gets into the store.
type how uint8

const (
	keep   how = iota // it is there, just so
	onCopy            // its bytes are there: under its own key with other attributes, or under the key it was renamed from
	onPut             // small: whole, at publish
	onStage
)

// plan is what is to be done for one file of a sealed unit.
type plan struct {
	cache.FileState
	how  how
	crc  uint32
	from string // for onCopy
	etag string // that from must have
	job  *job
	body []byte // for onPut: kept from before publish, so that nothing can change it
}

// sealedUnit is a unit of which every byte is known and on the local disk.
type sealedUnit struct {
	*cache.Snapshot
	manifest *layout.Manifest
	plans    []*plan
	left     []string // with Replaces: what the store has of the directory that was deleted
}

// seal is the first step: the unit's files are closed and on the local disk, their
// checksums are known, and the manifest is in the journal, durably. The network has
// no part in it.
func (u *Uploader) seal(ctx context.Context, snap *cache.Snapshot) (*sealedUnit, error) {
	s := &sealedUnit{Snapshot: snap}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, f := range snap.Files {
		p := &plan{FileState: f}
		s.plans = append(s.plans, p)
		g.Go(func() error { return u.sealFile(gctx, p) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	killpoint.At(killpoint.SealRead)
	if err := u.c.SyncNames(snap); err != nil {
		return nil, err
	}
	killpoint.At(killpoint.SealNames)
	gen, err := u.c.Generation(snap.Unit)
	if err != nil {
		return nil, err
	}
	s.manifest = u.manifest(s, gen)
	return s, u.c.Seal(snap, s.manifest)
}

// sealFile decides how one file goes up, and makes it durable here.
func (u *Uploader) sealFile(ctx context.Context, p *plan) error {
	switch {
	case p.Type == layout.TypeDir:
		return nil
	case p.Clean:
		p.how, p.crc = keep, p.CRC32C
		return nil
	case p.Remote:
		p.how, p.from, p.etag, p.crc = onCopy, p.CopyFrom, p.CopyETag, p.CopyCRC
		return nil
	case p.Type == layout.TypeSymlink:
		p.how, p.body = onPut, []byte(p.Target)
		p.crc = crc32c.Checksum(p.body)
		return nil
	}
	p.job = u.job(p.Path, p.ID)
	if err := p.job.seal(ctx); err != nil {
		return err
	}
	p.crc = p.job.crc
	switch {
	case p.ID.Size <= smallFile && !p.job.isStaged():
		p.how = onPut
	case p.CopyFrom != "" && p.CopyCRC == p.crc:
		p.how, p.from, p.etag = onCopy, p.CopyFrom, p.CopyETag
	case p.Known && p.ETag != "" && p.CRC32C == p.crc && u.stillThere(ctx, p):
		p.how, p.from, p.etag = onCopy, p.Path, p.ETag // the same bytes again: attributes alone
	case p.Buried && u.storeHas(ctx, p):
		p.how, p.from = onCopy, p.Path
	default:
		p.how = onStage
	}
	return p.job.sync()
}

// storeHas tells whether a file whose unlink a kill has kept from happening is in the store,
// just so, and which version of the object that is: then it is not sent again.
func (u *Uploader) storeHas(ctx context.Context, p *plan) bool {
	obj, err := u.store.Head(ctx, p.Path)
	p.etag = obj.ETag
	return err == nil && p.job.matches(obj)
}

// stillThere tells whether the store has the version of a file that this node has
// committed last: then the same bytes are not sent again.
func (u *Uploader) stillThere(ctx context.Context, p *plan) bool {
	obj, err := u.store.Head(ctx, p.Path)
	return err == nil && obj.ETag == p.ETag && obj.Size == p.ID.Size
}

func (u *Uploader) manifest(s *sealedUnit, gen uint64) *layout.Manifest {
	m := &layout.Manifest{Unit: s.Unit.Path, Node: u.c.Node(), Generation: gen, Sealed: time.Now().UTC()}
	for _, p := range s.plans {
		f := layout.File{
			Path: p.Rel, Type: p.Type, Mode: p.Attr.Mode, UID: p.Attr.UID, GID: p.Attr.GID,
			Mtime: p.Attr.Mtime.UTC(), Target: p.Target,
		}
		if p.Type == layout.TypeFile {
			f.Size, f.CRC32C = p.ID.Size, p.crc
		}
		m.Files = append(m.Files, f)
	}
	return m
}

// content of a small file, kept in memory.
func (p *plan) content() backend.Content {
	return backend.Content{R: bytesReader(p.body), Size: int64(len(p.body)), CRC32C: p.crc}
}

// sent is how many bytes of it are in the store already.
func (p *plan) sent() int64 {
	if p.job == nil {
		return 0
	}
	return p.job.sent.Load()
}
