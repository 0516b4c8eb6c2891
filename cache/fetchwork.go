package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache/killpoint"
)

// work fetches one run, then leaves; whoever goes on is decided anew.
func (d *fetch) work(r *run) {
	slots := d.c.fetches.slots
	if r.urgent {
		slots = d.c.fetches.urgent
	}
	var err error
	select {
	case slots <- struct{}{}:
		err = d.stream(r)
		<-slots
	case <-d.ctx.Done():
		err = d.ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for b := r.next; b < r.end; b++ {
		d.mu.blocks[b] = blockTodo
	}
	r.end = r.next // it keeps its place among the requests while a failure waits
	if err != nil {
		d.failed(err)
	} else {
		d.mu.tries = 0
	}
	delete(d.mu.runs, r)
	d.spawn()
	d.progress()
}

// failed decides what a failure means: begin again, try again a little later, or
// give up. Callers hold mu, which it lets go while it waits.
func (d *fetch) failed(err error) {
	switch {
	case d.ctx.Err() != nil:
	case isNoSpace(err):
		d.readPast()
	case backend.Permanent(err):
		d.giveUp(err)
	default:
		if !time.Now().Before(d.mu.retryAt) { // those that fail together count as one
			d.mu.tries++
			d.mu.retryAt = time.Now().Add(min(time.Duration(d.mu.tries*d.mu.tries)*50*time.Millisecond, 2*time.Second))
		}
		if d.mu.tries > triesMost {
			d.mu.err = fmt.Errorf("%w: %w", errOffline, err)
			return
		}
		wait := time.Until(d.mu.retryAt)
		d.mu.Unlock()
		select {
		case <-d.ctx.Done():
		case <-time.After(wait):
		}
		d.mu.Lock()
	}
}

// giveUp ends the download. Callers hold mu: before any reader is told that the object has
// been replaced, whoever looks finds the new one.
func (d *fetch) giveUp(err error) {
	d.mu.err = err
	d.cancel()
	if replaced(err) {
		d.c.idents.renew(d.path)
		d.c.names.refresh(d.c.unitPath(d.path))
		d.c.names.forget(d.path)
	}
}

// stream requests a run of blocks at once, and marks each as it arrives. A connection that
// stalls is given up.
func (d *fetch) stream(r *run) error {
	d.mu.Lock()
	etag, first, end := d.mu.entry.etag, r.first, r.end
	d.mu.Unlock()
	off := int64(first) * fetchBlock
	length := min(int64(end-first)*fetchBlock, d.size-off)
	ctx, cancel := context.WithCancelCause(d.ctx)
	defer cancel(nil)
	stall := time.AfterFunc(d.c.cfg.StoreTimeout, func() { cancel(errStalled) })
	defer stall.Stop()
	o := backend.GetOptions{Offset: off, Length: length, ETag: etag}
	if length == 0 {
		o = backend.GetOptions{ETag: etag}
	}
	body, obj, err := d.c.cfg.Store.Get(ctx, d.key, o)
	if err != nil {
		return stalled(ctx, err)
	}
	defer body.Close()
	if err := d.learn(obj); err != nil {
		return err
	}
	if length == 0 {
		d.arrived(r, 0, 0)
		return nil
	}
	in := &moving{body, stall, d.c.cfg.StoreTimeout}
	buf := make([]byte, min(fetchBlock, length))
	for b := first; d.goesOn(r); b++ {
		at := int64(b) * fetchBlock
		p := buf[:min(int64(len(buf)), off+length-at)]
		if _, err := io.ReadFull(in, p); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return stalled(ctx, err)
		}
		if _, err := d.file.WriteAt(p, at); err != nil {
			return err
		}
		d.arrived(r, crc32c.Checksum(p), int64(len(p)))
		killpoint.At(killpoint.HydrateBlock)
	}
	return nil
}

// goesOn tells whether a run has blocks left; a reader may have cut it.
func (d *fetch) goesOn(r *run) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return r.next < r.end
}

// moving is a body that counts as stalled when nothing has come for a while, however slow
// it is.
type moving struct {
	io.Reader
	stall *time.Timer
	after time.Duration
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.Reader.Read(p)
	if n > 0 {
		m.stall.Reset(m.after)
	}
	return n, err
}

func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// learn takes what the object says of itself, if no manifest has said it, and holds it to
// what was learnt before: bytes of two objects are never mixed.
func (d *fetch) learn(obj backend.Object) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := &d.mu.entry; obj.Size != d.size || e.etag != "" && obj.ETag != e.etag {
		return fmt.Errorf("%s: it has %d bytes and ETag %q now, not %d and %q: %w", d.key, obj.Size, obj.ETag, d.size, e.etag, backend.ErrChanged)
	}
	d.mu.answered = true
	if e := &d.mu.entry; !e.hasAttr() {
		e.more = entryOf(obj, time.Now()).more
	}
	if d.mu.entry.etag == "" {
		d.mu.entry.etag = obj.ETag
	}
	return nil
}

func (d *fetch) arrived(r *run, sum uint32, n int64) {
	d.mu.Lock()
	b := r.next
	r.next++
	if d.mu.blocks[b] != blockDone {
		d.mu.blocks[b] = blockDone
		d.mu.sums[b] = sum
		d.mu.left--
	}
	if len(d.mu.blocks)-d.mu.left == 1 {
		d.spawn()
	}
	d.mu.unsaved = true
	d.progress()
	d.mu.Unlock()
	d.c.mu.Lock()
	d.c.mu.stats.fetched += n
	d.c.mu.Unlock()
}
