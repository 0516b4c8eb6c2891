package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache/killpoint"
)

const (
	workersFirst = 4 // requests of one download at the beginning
	workersMost  = 8
	// More than that, each of them short, for readers whose range is not on its way.
	workersUrgent = 4
	cutAhead      = 4 // blocks: a reader who jumps less far ahead in a request waits for it
	patience      = 100 * time.Millisecond
	triesMost     = 8           // failures in a row before readers are told
	noteEvery     = time.Second // how often it is noted what is here, for the time after a kill
)

// run downloads until the file is in the tree, nobody wants it, or it cannot be had.
func (d *fetch) run() {
	d.mu.Lock()
	d.spawn()
	d.mu.Unlock()
	note := time.NewTicker(noteEvery)
	defer note.Stop()
	for {
		d.mu.Lock()
		left, err, changed, idle := d.mu.left, d.mu.err, d.mu.changed, len(d.mu.runs) == 0
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
		case <-note.C:
			d.saveNew()
		case <-d.ctx.Done():
			if !idle {
				<-changed
			}
		}
	}
}

// end takes the download off the list; what is on the disk of one that is not complete
// stays for the next, which begins only when it has been put away.
func (d *fetch) end(err error) {
	d.mu.Lock()
	d.mu.ended, d.mu.err = true, err
	noSpace := d.mu.noSpace
	unused := d.mu.refs == 0
	d.mu.Unlock()
	d.putAway(err, noSpace)
	f := d.c.fetches
	f.mu.Lock()
	if f.byPath[d.path] == d {
		delete(f.byPath, d.path)
	}
	f.mu.Unlock()
	d.mu.Lock()
	d.progress()
	d.mu.Unlock()
	close(d.done)
	d.cancel()
	if unused {
		d.file.Close()
	}
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errTakenAway) {
		d.c.log.Error("cannot fetch", "path", d.path, "err", err)
	}
}

// putAway decides what becomes of the blocks of a download that has ended. What a store that
// is out of reach, or a reader that has gone, broke off is gone on with from there. What
// is not to be used makes place for another file, with another identity (see giveUp, too):
// programs may still have this one open, and one inode cannot be two files.
func (d *fetch) putAway(err error, noSpace bool) {
	switch {
	case err == nil:
	case noSpace || replaced(err) || errors.Is(err, ErrCorrupt):
		d.discard()
		if errors.Is(err, ErrCorrupt) {
			d.c.idents.renew(d.path)
		}
	default:
		d.save()
	}
}

// run is a request under way, for the blocks first to end-1; next arrives next. Guarded by
// fetch.mu.
type run struct {
	first, next, end int
	urgent           bool // for a reader that found all other requests busy
}

// spawn adds requests while there is something to ask for. Callers hold mu.
func (d *fetch) spawn() {
	limit := workersFirst
	if d.mu.left == len(d.mu.blocks) {
		limit = 1 // the first answer first
	}
	if len(d.mu.blocks)-d.mu.left > workersFirst*runMost {
		limit = workersMost // large enough, and it goes forward: more at a time
	}
	for d.mu.err == nil && d.ctx.Err() == nil && !time.Now().Before(d.mu.retryAt) && d.hasWork() {
		busy := len(d.mu.runs) >= limit
		if busy && (len(d.mu.urgent) == 0 || len(d.mu.runs) >= limit+workersUrgent) {
			return
		}
		r := d.next(busy)
		d.mu.runs[r] = struct{}{}
		d.c.fetches.wg.Add(1)
		go func() {
			defer d.c.fetches.wg.Done()
			d.work(r)
		}()
	}
}

// hurry puts blocks that a reader waits for before all others. Callers hold mu.
func (d *fetch) hurry(missing []int) {
	for _, b := range missing {
		if d.mu.blocks[b] == blockTodo && !slices.Contains(d.mu.urgent, b) {
			d.mu.urgent = append(d.mu.urgent, b)
		}
	}
	d.spawn()
}

// cut ends the request that block b is far behind in, so that another can begin with it: a
// reader who jumps ahead on a slow store waits for its own range, and not for all that
// comes before. Callers hold mu.
func (d *fetch) cut(b int) {
	for r := range d.mu.runs {
		if b < r.next+cutAhead || b >= r.end {
			continue
		}
		for i := b; i < r.end; i++ {
			d.mu.blocks[i] = blockTodo
		}
		r.end = b
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
func (d *fetch) next(busy bool) *run {
	most := runMost
	r := &run{urgent: busy}
	if len(d.mu.urgent) > 0 {
		r.first, d.mu.urgent = d.mu.urgent[0], d.mu.urgent[1:]
		if d.mu.rest == 0 || busy {
			most = 2 // nothing is wanted but what is read, and what may be read next
		}
	} else {
		r.first = d.findTodo()
	}
	for r.end = r.first; r.end < r.first+most && r.end < len(d.mu.blocks) && d.mu.blocks[r.end] == blockTodo; r.end++ {
		d.mu.blocks[r.end] = blockRunning
	}
	r.next = r.first
	if !busy {
		d.mu.cursor = r.end % len(d.mu.blocks)
	}
	return r
}

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

var errStalled = errors.New("the store stopped sending")

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
	err = d.check(e, crc)
	switch {
	case err == nil:
	case d.ctx.Err() != nil:
		return true, context.Canceled
	case errors.Is(err, errOffline): // all is here, and is checked once the store can be asked
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failed(err)
		return d.mu.err != nil, d.mu.err
	case !errors.Is(err, ErrCorrupt):
		return true, err
	default:
		d.c.log.Error("fetched content is wrong", "path", d.path, "key", d.key, "err", err)
		if d.mu.scratch > 0 {
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

// check compares with the manifest's checksum, else the store's, if it has one. ErrCorrupt, and
// what the store says when it is asked and does not tell.
func (d *fetch) check(e remoteEntry, crc uint32) error {
	want, known := e.sum()
	if !known && !e.asked() {
		var obj backend.Object
		err := d.c.names.ask(d.ctx, func(ctx context.Context) (err error) {
			obj, err = d.c.cfg.Store.Head(ctx, d.key)
			return err
		})
		switch {
		case errors.Is(err, backend.ErrNotExist): // deleted since
		case err != nil:
			return err
		case obj.ETag == e.etag:
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
	e, err := d.c.names.findAnew(d.ctx, d.path)
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
