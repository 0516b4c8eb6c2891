package uploader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cache/killpoint"
)

// job is one state of one file on its way: checksummed once, staged once, however
// many attempts its unit takes. It is right for the file with its id and no other.
type job struct {
	u    *Uploader
	path string
	id   cache.Identity

	// grows allows the file to have been appended to: an artifact that is still open goes
	// up as far as it was written when it was looked at.
	grows bool

	sealing sync.Mutex
	sealed  bool
	synced  bool
	part    int64    // bytes of every part but the last
	sums    []uint32 // CRC32C of each part
	crc     uint32   // of the whole

	sent    atomic.Int64 // bytes that are staged
	staging sync.Mutex
	stage   backend.Stage
	parts   []backend.Part
	staged  bool
	object  *backend.Object // if it was found published already
}

// jobs are those that are not finished, by path.
type jobs struct {
	mu     sync.Mutex
	byPath map[string]*job
}

// job is that of the file as it is now.
func (u *Uploader) job(path string, id cache.Identity) *job { return u.jobFor(path, id, false) }

func (u *Uploader) jobFor(path string, id cache.Identity, grows bool) *job {
	u.jobs.mu.Lock()
	defer u.jobs.mu.Unlock()
	j := u.jobs.byPath[path]
	if j == nil || j.id != id || j.grows != grows {
		j = &job{u: u, path: path, id: id, grows: grows}
		u.jobs.byPath[path] = j
	}
	return j
}

func (u *Uploader) dropJob(j *job) {
	u.jobs.mu.Lock()
	defer u.jobs.mu.Unlock()
	if u.jobs.byPath[j.path] == j {
		delete(u.jobs.byPath, j.path)
	}
}

// open opens the job's file, if it still is the one.
func (j *job) open() (*os.File, error) {
	f, id, err := j.u.c.OpenFile(j.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, cache.ErrGone
	}
	if err != nil {
		return nil, err
	}
	if id != j.id && !(j.grows && id.Ino == j.id.Ino && id.Size >= j.id.Size) {
		f.Close()
		return nil, cache.ErrReopened
	}
	return f, nil
}

// isStaged tells whether every byte is in the store already. An upload that is under way
// is not waited for: sealing does without the network.
func (j *job) isStaged() bool {
	if !j.staging.TryLock() {
		return false
	}
	defer j.staging.Unlock()
	return j.staged || j.object != nil
}

// seal reads the file once: the checksum of each part and of the whole.
func (j *job) seal(ctx context.Context) error {
	j.sealing.Lock()
	defer j.sealing.Unlock()
	if j.sealed {
		return nil
	}
	if err := j.u.seals.Acquire(ctx, 1); err != nil {
		return err
	}
	defer j.u.seals.Release(1)
	f, err := j.open()
	if err != nil {
		return err
	}
	defer f.Close()
	s := backend.Stage{Size: j.id.Size, PartSize: partSize(j.id.Size, j.u.cfg.PartSize, j.u.store.Capabilities())}
	j.part, j.sums, j.crc = s.PartSize, make([]uint32, s.Parts()), 0
	for n := range j.sums {
		if err := ctx.Err(); err != nil {
			return err
		}
		off, size := s.Range(n + 1)
		if j.sums[n], err = crc32c.Of(f, off, size); err != nil {
			return fmt.Errorf("read %s: %w", j.path, err)
		}
		j.crc = crc32c.Combine(j.crc, j.sums[n], size)
	}
	if err := j.same(); err != nil {
		return err
	}
	j.sealed = true
	return nil
}

// same makes sure that the file did not change while it was read.
func (j *job) same() error {
	f, err := j.open()
	if err == nil {
		f.Close()
	}
	return err
}

// sync puts the file's bytes on the local disk.
func (j *job) sync() error {
	j.sealing.Lock()
	defer j.sealing.Unlock()
	if j.synced {
		return nil
	}
	f, err := j.open()
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync %s: %w", j.path, err)
	}
	j.synced = true
	return nil
}

// upload brings every byte of a sealed file to the store, where nobody sees it. Parts
// that are there from an earlier attempt, or an earlier daemon, are kept.
func (j *job) upload(ctx context.Context, attr backend.Attr, unit *cache.Unit) error {
	j.staging.Lock()
	defer j.staging.Unlock()
	if j.staged && j.stage.Attr == attr {
		return nil
	}
	if err := j.u.files.Acquire(ctx, 1); err != nil {
		return err
	}
	defer j.u.files.Release(1)
	have, err := j.resume(ctx, attr)
	if err != nil || j.object != nil {
		return err
	}
	f, err := j.open()
	if err != nil {
		return err
	}
	defer f.Close()
	j.sent.Store(0)
	parts := make([]backend.Part, len(j.sums))
	g, gctx := errgroup.WithContext(ctx)
	for n := range parts {
		off, size := j.stage.Range(n + 1)
		if p, ok := have[n+1]; ok && p.Size == size && p.CRC32C == j.sums[n] {
			parts[n] = p
			j.sent.Add(size)
			continue
		}
		if err := j.u.parts.Acquire(gctx, 1); err != nil {
			break
		}
		g.Go(func() (err error) {
			defer j.u.parts.Release(1)
			parts[n], err = j.u.store.PutPart(gctx, j.stage, n+1, backend.Content{R: f, Offset: off, Size: size, CRC32C: j.sums[n]})
			if err == nil {
				killpoint.At(killpoint.StagePart)
				j.sent.Add(size)
				j.u.c.Uploaded(unit, size)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return j.uploadError(err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	j.parts, j.staged = parts, true
	killpoint.At(killpoint.StageDone)
	return nil
}

// uploadError tells a file that changed under us from a fault of the network.
func (j *job) uploadError(err error) error {
	switch {
	case errors.Is(err, backend.ErrNoStage):
		j.u.c.DropStage(j.path) // somebody has aborted it: begin again
	case errors.Is(err, backend.ErrChecksum):
		if serr := j.same(); serr != nil {
			return serr
		}
	}
	return err
}

// resume finds the stage that an earlier attempt has begun, or begins one. If the
// object is there already, published before a crash could be recorded, j.object
// says so.
func (j *job) resume(ctx context.Context, attr backend.Attr) (map[int]backend.Part, error) {
	old, id, found, err := j.u.c.Stage(j.path)
	if err != nil {
		return nil, err
	}
	if found && id == j.id && old.Attr.Mtime.Equal(attr.Mtime) && sameAttr(old.Attr, attr) && old.PartSize == j.part {
		parts, err := j.u.store.StagedParts(ctx, old)
		switch {
		case err == nil:
			j.stage = old
			j.stage.Attr = attr
			have := make(map[int]backend.Part, len(parts))
			for _, p := range parts {
				have[p.Number] = p
			}
			return have, nil
		case !errors.Is(err, backend.ErrNoStage):
			return nil, err
		}
		if obj, err := j.u.store.Head(ctx, j.path); err == nil && j.matches(obj) {
			j.object = &obj
			return nil, nil
		}
	} else if found {
		if err := j.u.store.AbortStage(ctx, old); err != nil {
			return nil, err
		}
	}
	j.stage, err = j.u.store.BeginStage(ctx, j.path, j.id.Size, j.part, attr)
	if err != nil {
		return nil, err
	}
	killpoint.At(killpoint.StageBegun)
	return nil, j.u.c.PutStage(j.path, j.id, j.stage)
}

func sameAttr(a, b backend.Attr) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Type == b.Type
}

// matches tells whether an object has the bytes of the file, as far as the store can
// tell.
func (j *job) matches(o backend.Object) bool {
	return o.Size == j.id.Size && o.HasCRC32C && o.CRC32C == j.crc
}

// publish makes the staged file visible. A stage that is gone may have been published
// by a call whose answer was lost: then the object says so.
func (j *job) publish(ctx context.Context, attr backend.Attr, ifAbsent bool) (backend.Object, error) {
	j.staging.Lock()
	defer j.staging.Unlock()
	if j.object != nil {
		return *j.object, nil
	}
	obj, err := j.u.store.PublishStage(ctx, j.stage, j.parts, j.crc, backend.PutOptions{Attr: attr, IfAbsent: ifAbsent})
	if errors.Is(err, backend.ErrNoStage) || errors.Is(err, backend.ErrExist) {
		if there, herr := j.u.store.Head(ctx, j.path); herr == nil && j.matches(there) {
			return there, nil
		}
	}
	if errors.Is(err, backend.ErrNoStage) || errors.Is(err, backend.ErrChecksum) {
		j.staged = false
		j.u.c.DropStage(j.path)
	}
	return obj, err
}

// partSize grows with the file, so that the store's number of parts suffices.
func partSize(size, part int64, caps backend.Capabilities) int64 {
	const round = 1 << 20
	if caps.WholeFiles {
		part = size
	}
	part = max(part, caps.MinPartSize)
	if caps.MaxParts > 0 {
		if need := (size + int64(caps.MaxParts) - 1) / int64(caps.MaxParts); need > part {
			part = (need + round - 1) / round * round
		}
	}
	if caps.MaxPartSize > 0 {
		part = min(part, caps.MaxPartSize)
	}
	return part
}
