package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/killpoint"
)

const (
	workersFirst = 4 // requests of one download at the beginning
	workersMost  = 8
	triesMost    = 8 // failures in a row before readers are told
)

// run downloads until the file is in the tree, nobody wants it, or it cannot be had.
func (d *fetch) run() {
	d.mu.Lock()
	d.spawn()
	d.mu.Unlock()
	for {
		d.mu.Lock()
		left, err, changed, idle := d.mu.left, d.mu.err, d.mu.changed, d.mu.workers == 0
		d.mu.Unlock()
		switch {
		case err != nil && idle:
			d.end(err)
			return
		case left == 0 && idle:
			if done, err := d.finish(); done {
				d.end(err)
				return
			}
			d.mu.Lock()
			d.spawn()
			d.mu.Unlock()
			continue
		case d.ctx.Err() != nil && idle: // nobody wants it any more
			d.end(context.Canceled)
			return
		}
		select {
		case <-changed:
		case <-d.ctx.Done():
			if !idle {
				<-changed
			}
		}
	}
}

// end takes the download off the list; what is on the disk of one that is not complete
// stays for the next.
func (d *fetch) end(err error) {
	f := d.c.fetches
	f.mu.Lock()
	d.mu.Lock()
	d.mu.ended, d.mu.err = true, err
	noSpace := d.mu.noSpace
	if f.byPath[d.path] == d {
		delete(f.byPath, d.path)
	}
	unused := d.mu.refs == 0
	d.mu.Unlock()
	f.mu.Unlock()
	if err != nil && (noSpace || !errors.Is(err, context.Canceled)) {
		d.discard()
	} else if err != nil {
		d.save()
	}
	d.mu.Lock()
	d.progress()
	d.mu.Unlock()
	close(d.done)
	d.cancel()
	if unused {
		d.file.Close()
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		d.c.log.Error("cannot fetch", "path", d.path, "err", err)
	}
}

// spawn adds workers while there is something for them. Callers hold mu.
func (d *fetch) spawn() {
	limit := workersFirst
	if d.mu.left == len(d.mu.blocks) {
		limit = 1 // the first answer first
	}
	if len(d.mu.blocks)-d.mu.left > workersFirst*runMost {
		limit = workersMost // large enough, and it goes forward: more at a time
	}
	for d.mu.workers < limit && d.mu.err == nil && d.ctx.Err() == nil && d.hasWork() {
		first, n := d.next()
		d.mu.workers++
		d.c.fetches.wg.Add(1)
		go func() {
			defer d.c.fetches.wg.Done()
			d.work(first, n)
		}()
	}
}

// hasWork tells whether a block is to be fetched now. Callers hold mu.
func (d *fetch) hasWork() bool {
	if d.mu.noSpace || d.mu.left == 0 {
		return false
	}
	for len(d.mu.urgent) > 0 {
		if d.mu.blocks[d.mu.urgent[0]] == blockTodo {
			return true
		}
		d.mu.urgent = d.mu.urgent[1:]
	}
	return d.mu.rest > 0 && d.findTodo() >= 0
}

func (d *fetch) findTodo() int {
	n := len(d.mu.blocks)
	for i := range n {
		if b := (d.mu.cursor + i) % n; d.mu.blocks[b] == blockTodo {
			return b
		}
	}
	return -1
}

// next takes the run of blocks to fetch next. Callers hold mu and know that there is
// one.
func (d *fetch) next() (first, n int) {
	most := runMost
	if len(d.mu.urgent) > 0 {
		first, d.mu.urgent = d.mu.urgent[0], d.mu.urgent[1:]
		if d.mu.rest == 0 {
			most = 2 // nothing is wanted but what is read, and what may be read next
		}
	} else {
		first = d.findTodo()
	}
	for n = 0; n < most && first+n < len(d.mu.blocks) && d.mu.blocks[first+n] == blockTodo; n++ {
		d.mu.blocks[first+n] = blockRunning
	}
	d.mu.cursor = (first + n) % len(d.mu.blocks)
	return first, n
}

// work fetches one run, then leaves; whoever goes on is decided anew.
func (d *fetch) work(first, n int) {
	got, err := 0, error(nil)
	select {
	case d.c.fetches.slots <- struct{}{}:
		got, err = d.stream(first, n)
		<-d.c.fetches.slots
	case <-d.ctx.Done():
		err = d.ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for b := first + got; b < first+n; b++ {
		d.mu.blocks[b] = blockTodo
	}
	if err != nil {
		d.failed(err)
	} else {
		d.mu.tries = 0
	}
	d.mu.workers--
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
		d.mu.err = err
	default:
		d.mu.tries++
		if d.mu.tries > triesMost {
			d.mu.err = fmt.Errorf("%w: %w", errOffline, err)
			return
		}
		wait := min(time.Duration(d.mu.tries*d.mu.tries)*50*time.Millisecond, 2*time.Second)
		d.mu.Unlock()
		select {
		case <-d.ctx.Done():
		case <-time.After(wait):
		}
		d.mu.Lock()
	}
}

// stream requests n blocks at once, and marks each as it arrives. A connection that
// stalls is given up.
func (d *fetch) stream(first, n int) (got int, err error) {
	d.mu.Lock()
	etag := d.mu.entry.etag
	d.mu.Unlock()
	off := int64(first) * fetchBlock
	length := min(int64(n)*fetchBlock, d.size-off)
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
		return 0, stalled(ctx, err)
	}
	defer body.Close()
	d.learn(obj)
	buf := make([]byte, min(fetchBlock, max(length, 1)))
	for got < n && length > 0 {
		stall.Reset(d.c.cfg.StoreTimeout)
		p := buf[:min(int64(len(buf)), length-int64(got)*fetchBlock)]
		if _, err := io.ReadFull(body, p); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return got, stalled(ctx, err)
		}
		if _, err := d.file.WriteAt(p, off+int64(got)*fetchBlock); err != nil {
			return got, err
		}
		d.arrived(first+got, crc32c.Checksum(p), int64(len(p)))
		killpoint.At(killpoint.HydrateBlock)
		got++
	}
	if length == 0 {
		d.arrived(first, 0, 0)
		got = n
	}
	return got, nil
}

var errStalled = errors.New("the store stopped sending")

func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}

// learn takes what the object says of itself, if no manifest has said it.
func (d *fetch) learn(obj backend.Object) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := &d.mu.entry; !e.hasAttr() {
		e.more = entryOf(obj, time.Now()).more
	}
	if d.mu.entry.etag == "" {
		d.mu.entry.etag = obj.ETag
	}
}

func (d *fetch) arrived(b int, sum uint32, n int64) {
	d.mu.Lock()
	if d.mu.blocks[b] != blockDone {
		d.mu.blocks[b] = blockDone
		d.mu.sums[b] = sum
		d.mu.left--
	}
	if len(d.mu.blocks)-d.mu.left == 1 {
		d.spawn()
	}
	d.progress()
	save := time.Since(d.mu.saved) > time.Second
	if save {
		d.mu.saved = time.Now()
	}
	d.mu.Unlock()
	if save {
		d.save()
	}
	d.c.mu.Lock()
	d.c.mu.stats.fetched += n
	d.c.mu.Unlock()
}

// finish checks a complete download and moves it in. What is not what it should be is
// fetched once more from scratch.
func (d *fetch) finish() (done bool, err error) {
	d.mu.Lock()
	e, sums := d.mu.entry, d.mu.sums
	d.mu.Unlock()
	crc := uint32(0)
	for b, sum := range sums {
		crc = crc32c.Combine(crc, sum, min(fetchBlock, d.size-int64(b)*fetchBlock))
	}
	if err := d.check(e, crc); err != nil {
		d.c.log.Error("fetched content is wrong", "key", d.path, "err", err)
		if !errors.Is(err, ErrCorrupt) || d.mu.scratch > 0 {
			return true, err
		}
		return false, d.again()
	}
	a := e.attr()
	if a.Type == backend.Symlink {
		return true, d.moveInLink(a, e, crc)
	}
	return true, d.moveIn(a, e.etag, crc)
}

// check compares with the manifest's checksum, else the store's.
func (d *fetch) check(e remoteEntry, crc uint32) error {
	want, known := e.sum()
	if !known {
		obj, err := d.c.cfg.Store.Head(d.ctx, d.key)
		if err == nil && obj.ETag == e.etag {
			want, known = obj.CRC32C, obj.HasCRC32C
		}
	}
	if known && crc != want {
		return fmt.Errorf("%s: crc32c %08x expected, got %08x: %w", d.path, want, crc, ErrCorrupt)
	}
	return nil
}

// again begins from scratch, with what the store says now.
func (d *fetch) again() error {
	d.c.names.refresh(d.c.unitPath(d.path))
	d.c.names.forget(d.path)
	e, err := d.c.names.find(d.ctx, d.path)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && e.size != d.size {
		err = fmt.Errorf("%s: %w", d.path, backend.ErrChanged)
	}
	if err != nil {
		d.mu.err = err
		return err
	}
	d.mu.entry = e
	d.mu.scratch++
	d.mu.left = len(d.mu.blocks)
	for b := range d.mu.blocks {
		d.mu.blocks[b] = blockTodo
	}
	return nil
}

// limited is an errgroup with its context.
type limited struct {
	*errgroup.Group
	ctx context.Context
}

func newLimited(ctx context.Context, n int) limited {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(n)
	return limited{g, ctx}
}
