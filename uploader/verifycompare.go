package uploader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/layout"
)

// How verify.go looks at one file.

// examine finds the result of one file, and tells it.
func (v *verifier) examine(ctx context.Context, c *check) error {
	for round := 1; ; round++ {
		f, err := v.compare(ctx, c)
		changed := errors.Is(err, backend.ErrChanged)
		if err != nil && !changed {
			return err
		}
		if !changed && f.Status != VerifyMismatch && f.Status != VerifyMissing {
			v.finish(c, f)
			return nil
		}
		now, err := v.lookAgain(ctx, c)
		if err != nil {
			return err
		}
		same := now.there == c.there && now.obj.ETag == c.obj.ETag && now.unit == c.unit
		switch {
		case !now.there && (now.unit == nil || now.unit.named[c.key] == nil):
			v.count(-c.obj.Size, -c.done) // deleted meanwhile, as it seems on purpose
			return nil
		case same && !changed && (c.unit == nil || len(c.unit.open) == 0):
			v.finish(c, f)
			return nil
		case same && !changed:
			f.Status, f.Reason = VerifyUnverified, "node "+strings.Join(c.unit.open, ", ")+" is writing in "+c.unit.path+", or died while it was"
			v.finish(c, f)
			return nil
		case round == verifyRounds:
			v.finish(c, VerifiedFile{Path: c.key, Bytes: now.obj.Size, Status: VerifyUnverified, Reason: "it keeps changing"})
			return nil
		}
		v.count(now.obj.Size-c.obj.Size, -c.done)
		c = now
	}
}

// finish counts what was not read as done with.
func (v *verifier) finish(c *check, f VerifiedFile) {
	v.count(0, c.obj.Size-c.done)
	v.tell(f)
}

// lookAgain is the same check as things are now.
func (v *verifier) lookAgain(ctx context.Context, c *check) (*check, error) {
	now := &check{key: c.key}
	var err error
	if now.obj, now.there, err = v.head(ctx, c.key); err != nil {
		return nil, err
	}
	if c.unit != nil {
		now.unit, err = v.load(ctx, c.unit.path, c.unit)
	}
	return now, err
}

// expectation is what a file should be.
type expectation struct {
	against string
	size    int64
	crc     uint32
	known   bool
	link    bool
	typed   bool // link says something
}

func (e *expectation) String() string { return contentText(e.size, e.crc) }

func contentText(size int64, crc uint32) string {
	return fmt.Sprintf("%d bytes, crc32c %08x", size, crc)
}

func (s saidFile) expectation() expectation {
	e := expectation{against: "manifest of node " + s.node, size: s.Size, crc: s.CRC32C, known: true, typed: true}
	if s.Type == layout.TypeSymlink {
		e.link, e.size, e.crc = true, int64(len(s.Target)), crc32c.Checksum([]byte(s.Target))
	}
	return e
}

// expect finds out what a file should be. ErrChanged if it is no longer as listed.
func (v *verifier) expect(ctx context.Context, c *check) (expectation, error) {
	if c.unit != nil {
		if said := c.unit.named[c.key]; said != nil && said[0].Type != layout.TypeDir {
			return said[0].expectation(), nil
		}
	}
	obj, there, err := v.head(ctx, c.key)
	if err == nil && (!there || obj.ETag != c.obj.ETag) {
		err = backend.ErrChanged
	}
	if err != nil {
		return expectation{}, err
	}
	e := expectation{against: "store", size: obj.Size, crc: obj.CRC32C, known: obj.HasCRC32C}
	if crc, etag, known := v.u.record(c.key); known && etag == obj.ETag {
		e.against, e.crc, e.known = "record", crc, true
	}
	return e, nil
}

// compare reads a file and judges it. ErrChanged if it changed under way; another error
// if the store cannot be asked.
func (v *verifier) compare(ctx context.Context, c *check) (f VerifiedFile, err error) {
	f = VerifiedFile{Path: c.key, Bytes: c.obj.Size}
	want, err := v.expect(ctx, c)
	if err != nil {
		return v.unreadable(ctx, f, err)
	}
	f.Against = want.against
	extra := c.unit != nil && c.unit.named[c.key] == nil
	switch {
	case !c.there:
		f.Status, f.Expected, f.Reason = VerifyMissing, want.String(), c.newer()
		return f, nil
	case !want.known && extra:
		f.Status, f.Against, f.Reason = VerifyExtra, "", "no manifest names it"
		return f, nil
	case !want.known:
		f.Status, f.Against, f.Reason = VerifyUnverified, "", "neither the store nor this node knows a checksum"
		return f, nil
	case want.size != c.obj.Size:
		f.Status, f.Expected, f.Got = VerifyMismatch, want.String(), fmt.Sprintf("%d bytes", c.obj.Size)
		return f, nil
	}
	crc, typ, err := v.sum(ctx, c)
	if err != nil {
		return v.unreadable(ctx, f, err)
	}
	link := typ == backend.Symlink
	switch {
	case crc != want.crc:
		f.Status, f.Expected, f.Got = VerifyMismatch, want.String(), contentText(c.obj.Size, crc)
		f.Reason = c.older(crc)
	case want.typed && want.link != link:
		f.Status, f.Expected, f.Got = VerifyMismatch, typeText(want.link), typeText(link)
	case extra:
		f.Status, f.Reason = VerifyExtra, "no manifest names it"
	default:
		f.Status = VerifyOK
	}
	return f, nil
}

func typeText(link bool) string {
	if link {
		return "a symbolic link"
	}
	return "a file"
}

// older says that wrong content is what an older manifest speaks of.
func (c *check) older(crc uint32) string {
	if c.unit == nil || c.unit.named[c.key] == nil {
		return ""
	}
	for _, s := range c.unit.named[c.key][1:] {
		if e := s.expectation(); e.size == c.obj.Size && e.crc == crc {
			return fmt.Sprintf("it is what node %s published, sealed %s", s.node, s.sealed.Format(time.RFC3339))
		}
	}
	return ""
}

// newer says that another node has published in the directory since the one that names a
// missing file. It may have deleted the file: no manifest tells of a deletion.
func (c *check) newer() string {
	by := c.unit.named[c.key][0]
	for node, sealed := range c.unit.sealed {
		if node != by.node && sealed.After(by.sealed) {
			return fmt.Sprintf("node %s has published there since, and may have deleted it", node)
		}
	}
	return ""
}

// unreadable turns a failure into a result, if it is about this file and not about the
// store as a whole.
func (v *verifier) unreadable(ctx context.Context, f VerifiedFile, err error) (VerifiedFile, error) {
	switch {
	case ctx.Err() != nil:
		return f, ctx.Err()
	case errors.Is(err, backend.ErrChanged), errors.Is(err, backend.ErrNotExist):
		return f, backend.ErrChanged
	}
	once, cancel := context.WithTimeout(ctx, verifyStall)
	defer cancel()
	if _, lerr := v.u.store.List(once, backend.ListOptions{Limit: 1}); lerr != nil {
		return f, err
	}
	f.Status, f.Reason = VerifyUnreadable, err.Error()
	return f, nil
}

// sum reads a file in ranges, several at a time, and gives the checksum of the whole.
func (v *verifier) sum(ctx context.Context, c *check) (crc uint32, typ backend.FileType, err error) {
	ranges := backend.Stage{Size: c.obj.Size, PartSize: verifyRange}
	sums := make([]uint32, ranges.Parts())
	g, gctx := errgroup.WithContext(ctx)
	for n := range sums {
		select {
		case v.slots <- struct{}{}:
		case <-gctx.Done():
			return 0, typ, errors.Join(g.Wait(), ctx.Err())
		}
		g.Go(func() error {
			defer func() { <-v.slots }()
			off, size := ranges.Range(n + 1)
			for attempt := 0; ; attempt++ {
				sum, t, err := v.sumRange(gctx, c, off, size)
				if n == 0 && err == nil {
					typ = t
				}
				if sums[n] = sum; err == nil || gctx.Err() != nil || backend.Permanent(err) || attempt == verifyTries-1 {
					return err
				}
				sleep(gctx, backoff(attempt, false))
			}
		})
	}
	if err := g.Wait(); err != nil {
		return 0, typ, err
	}
	for n, sum := range sums {
		_, size := ranges.Range(n + 1)
		crc = crc32c.Combine(crc, sum, size)
	}
	return crc, typ, nil
}

var errVerifyStalled = errors.New("the store stopped sending")

// sumRange reads one range. What it counted as done, it takes back if it fails.
func (v *verifier) sumRange(ctx context.Context, c *check, off, size int64) (crc uint32, typ backend.FileType, err error) {
	rctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(verifyStall, func() { cancel(errVerifyStalled) })
	defer stall.Stop()
	var got int64
	defer func() {
		if err == nil {
			return
		}
		v.progress(c, -got)
		if ctx.Err() == nil && errors.Is(context.Cause(rctx), errVerifyStalled) {
			err = errVerifyStalled
		}
	}()
	body, obj, err := v.u.store.Get(rctx, c.key, backend.GetOptions{Offset: off, Length: size, ETag: c.obj.ETag})
	if err != nil {
		return 0, typ, err
	}
	defer body.Close()
	buf := make([]byte, min(256<<10, max(size, 1)))
	for got < size {
		n, err := io.ReadFull(body, buf[:min(int64(len(buf)), size-got)])
		crc = crc32c.Update(crc, buf[:n])
		got += int64(n)
		v.progress(c, int64(n))
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, typ, err
		}
		stall.Reset(verifyStall)
	}
	return crc, obj.Attr.Type, nil
}

// progress counts bytes of a file that is being read.
func (v *verifier) progress(c *check, n int64) {
	v.mu.Lock()
	c.done += n
	v.mu.Unlock()
	v.count(0, n)
}
