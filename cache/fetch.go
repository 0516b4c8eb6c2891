package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

const (
	fetchBlock = 1 << 20 // what is marked as here or not, bytes
	wholeUpTo  = 4 << 20 // smaller files are waited for whole, bytes
	runMost    = 16      // blocks in one request, at most
	windowMem  = 16      // blocks kept by a download that has no place on the disk
)

type blockState uint8

const (
	blockTodo blockState = iota
	blockRunning
	blockDone
)

// fetch is the download of one version of one remote file. Blocks that somebody is
// waiting for come first, then what follows them, then the rest. The file is sparse
// until it is complete; then it is checked and becomes, by a rename, the file in the
// tree.
type fetch struct {
	c    *Cache
	path string
	key  string // in the store
	size int64
	part string   // file name below fetch/
	file *os.File // read and written here

	mu struct {
		sync.Mutex
		entry    remoteEntry
		attr     backend.Attr
		blocks   []blockState
		sums     []uint32
		left     int               // blocks not done
		urgent   []int             // blocks that readers wait for, and nobody fetches yet
		cursor   int               // where the next run begins
		refs     int               // openers and others that want it
		rest     int               // of them, those that want all of it
		runs     map[*run]struct{} // requests under way
		tries    int               // failures in a row
		scratch  int               // times it was begun again
		retryAt  time.Time         // not before, after a failure
		answered bool              // the store has begun to send it
		noSpace  bool
		window   map[int][]byte // with noSpace: the last blocks read
		err      error
		ended    bool
		changed  chan struct{} // closed and replaced at every progress
		unsaved  bool          // a block has come since it was noted which are here
	}
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when it is in the tree, or has failed
}

// localOrStream makes path a file of the tree, like localize, or, for a large remote
// file, returns its download with one more reference.
func (c *Cache) localOrStream(ctx context.Context, path string) (*fetch, error) {
	st, err := c.tree.lstat(path)
	if err == nil {
		if !isRegular(&st) {
			return nil, nil
		}
		if stale, err := c.stale(ctx, path, &st, true); err != nil || !stale {
			return nil, err
		}
	} else if !isNotExist(err) {
		return nil, err
	}
	e, err := c.names.find(ctx, path)
	if err != nil {
		return nil, err
	}
	if e.dir {
		return nil, c.makeShadow(ctx, path, e)
	}
	c.prefetchUnit(path)
	if e.size <= wholeUpTo {
		if err := c.fetches.whole(ctx, path, e); !isNoSpace(err) {
			return nil, err
		}
	}
	for try := 0; ; try++ {
		f, err := c.fetches.join(ctx, path, e, c.cfg.Prefetch != PrefetchOff)
		if errors.Is(err, errFetched) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if f.soonHere(ctx) {
			f.leave()
			return nil, nil
		}
		if err = f.failure(); err == nil {
			return f, nil
		}
		f.leave()
		if !replaced(err) || try == 3 {
			return nil, err
		}
		// What was known of it was old: whoever opens a file now gets what is there now.
		if e, err = c.names.findAnew(ctx, path); err != nil {
			return nil, err
		}
	}
}

// replaced tells that the object is another one now, or gone.
func replaced(err error) bool {
	return errors.Is(err, backend.ErrChanged) || errors.Is(err, backend.ErrNotExist)
}

const (
	rateAfter = 50 * time.Millisecond // how long a download runs before its rate is judged
	soon      = time.Second           // a file that will be here by then is waited for
)

// soonHere waits for a download that comes so fast that reading the file afterwards, past
// this process, is the quicker way; it returns true once the file is in the tree. It
// gives up as soon as the rate says otherwise.
func (d *fetch) soonHere(ctx context.Context) bool {
	if d.c.cfg.Prefetch == PrefetchOff {
		return false
	}
	start, judge := time.Now(), time.NewTicker(rateAfter)
	defer judge.Stop()
	d.mu.Lock()
	before := d.mu.left
	d.mu.Unlock()
	for {
		select {
		case <-d.done:
			return d.failure() == nil
		case <-ctx.Done():
			return false
		case <-judge.C:
		}
		d.mu.Lock()
		left, noSpace, answered := d.mu.left, d.mu.noSpace, d.mu.answered
		d.mu.Unlock()
		got, took := before-left, time.Since(start)
		if !noSpace && !answered && took < soon {
			continue // it may be another object by now
		}
		if noSpace || got == 0 || took > 3*soon/2 || took*time.Duration(left)/time.Duration(got) > soon {
			return false
		}
	}
}

var errFetched = errors.New("it is in the tree already")

// join finds or begins the download of path, and holds a reference to it: leave gives
// it back. rest asks for all of the file, not only for what is read.
func (f *fetches) join(ctx context.Context, path string, e remoteEntry, rest bool) (*fetch, error) {
	room := f.c.roomFor(e.size)
	for {
		d, ending, err := f.joinOnce(path, e, rest, room)
		if ending == nil {
			return d, err
		}
		select { // one that nobody wanted is being put away
		case <-ending.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *fetches) joinOnce(path string, e remoteEntry, rest, room bool) (d, ending *fetch, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d := f.byPath[path]; d != nil {
		if d.want(rest) {
			return d, nil, nil
		}
		return nil, d, nil
	}
	if f.c.tree.exists(path) {
		return nil, nil, errFetched
	}
	if err := f.ctx.Err(); err != nil {
		return nil, nil, err
	}
	if d, err = f.begin(path, e); err != nil {
		return nil, nil, err
	}
	if !room {
		d.readPast()
	}
	d.want(rest)
	f.byPath[path] = d
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		d.run()
	}()
	return d, nil, nil
}

// whole brings path into the tree and returns when it is there. What changes in the
// store meanwhile is fetched as it is then.
func (f *fetches) whole(ctx context.Context, path string, e remoteEntry) error {
	for try := 0; ; try++ {
		err := f.wholeOnce(ctx, path, e)
		if !replaced(err) || try == 3 {
			return err
		}
		if e, err = f.c.names.findAnew(ctx, path); err != nil {
			return err
		}
	}
}

func (f *fetches) wholeOnce(ctx context.Context, path string, e remoteEntry) error {
	d, err := f.join(ctx, path, e, true)
	if errors.Is(err, errFetched) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.leaveRest()
	for {
		d.mu.Lock()
		noSpace, changed := d.mu.noSpace, d.mu.changed
		d.mu.Unlock()
		if noSpace {
			return fmt.Errorf("no room in the cache for %s (%d bytes): %w", path, d.size, syscall.ENOSPC)
		}
		select {
		case <-d.done:
			return d.failure()
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// readPast makes a download one that leaves nothing on the disk. Callers hold mu, or are
// the only ones to know it.
func (d *fetch) readPast() {
	if !d.mu.noSpace {
		d.c.log.Warn("no room in the cache for a file: it is read from the store each time", "path", d.path, "bytes", d.size)
	}
	d.mu.noSpace = true
	d.mu.window = map[int][]byte{}
}

// want adds a reference, unless the download has ended.
func (d *fetch) want(rest bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.mu.ended || d.mu.err != nil || d.ctx.Err() != nil {
		return false
	}
	d.mu.refs++
	if rest {
		d.mu.rest++
	}
	d.progress()
	return true
}

// leave gives a reference back. What nobody wants any more is not downloaded further;
// what is there is kept for the next time.
func (d *fetch) leave() { d.drop(d.c.cfg.Prefetch != PrefetchOff) }

func (d *fetch) leaveRest() { d.drop(true) }

func (d *fetch) drop(rest bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.refs--
	if rest {
		d.mu.rest--
	}
	if d.mu.refs > 0 {
		return
	}
	d.cancel()
	if d.mu.ended {
		d.file.Close()
	}
}

func (d *fetch) failure() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.err
}

// progress tells those who wait. Callers hold mu.
func (d *fetch) progress() {
	close(d.mu.changed)
	d.mu.changed = make(chan struct{})
}

// reopen gives a descriptor of its own to a handle.
func (d *fetch) reopen() (*os.File, error) {
	return os.Open(procFD(int(d.file.Fd())))
}

// readAt reads a range when it is here.
func (d *fetch) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	inFile, err := d.wait(ctx, off, len(p))
	switch {
	case err != nil:
		return 0, err
	case inFile:
		return readFull(d.file, p, off)
	}
	return d.readWindow(ctx, p, off)
}

// wait waits until a range is here, and tells whether it is in the file; if not, the file
// has no place in the cache.
func (d *fetch) wait(ctx context.Context, off int64, n int) (inFile bool, err error) {
	if off >= d.size || n == 0 {
		return true, nil
	}
	first, last := int(off/fetchBlock), int((min(off+int64(n), d.size)-1)/fetchBlock)
	var impatient <-chan time.Time
	cut := false
	for {
		d.mu.Lock()
		missing, noSpace, err, changed := d.missing(first, last), d.mu.noSpace, d.mu.err, d.mu.changed
		unchecked := d.mu.left == 0 && !d.mu.ended && err == nil // the end is not told before it is known to be right
		if len(missing) > 0 && err == nil && !noSpace {
			if cut {
				d.cut(missing[0])
			}
			d.hurry(missing)
			if impatient == nil {
				t := time.NewTimer(patience)
				defer t.Stop()
				impatient = t.C
			}
		}
		d.mu.Unlock()
		switch {
		case unchecked:
		case err != nil && (len(missing) > 0 || errors.Is(err, ErrCorrupt)):
			return false, err
		case len(missing) == 0:
			return true, nil
		case noSpace:
			return false, nil
		}
		select {
		case <-changed:
		case <-impatient:
			cut = true
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// missing lists the blocks of a range that are not here. Callers hold mu.
func (d *fetch) missing(first, last int) []int {
	var out []int
	for b := first; b <= last; b++ {
		if d.mu.blocks[b] != blockDone {
			out = append(out, b)
		}
	}
	return out
}

func readFull(f *os.File, p []byte, off int64) (int, error) {
	n, err := f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// readWindow reads past the disk: there is no place for the file in the cache. Only the
// last blocks are kept, in memory.
func (d *fetch) readWindow(ctx context.Context, p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < d.size {
		b := int(off / fetchBlock)
		data, err := d.windowBlock(ctx, b)
		if err != nil {
			return n, err
		}
		m := copy(p[n:], data[off-int64(b)*fetchBlock:])
		n, off = n+m, off+int64(m)
	}
	return n, nil
}

func (d *fetch) windowBlock(ctx context.Context, b int) ([]byte, error) {
	d.mu.Lock()
	data, etag := d.mu.window[b], d.mu.entry.etag
	d.mu.Unlock()
	if data != nil {
		return data, nil
	}
	at := int64(b) * fetchBlock
	data = make([]byte, min(fetchBlock, d.size-at))
	err := d.c.names.ask(ctx, func(ctx context.Context) error {
		body, _, err := d.c.cfg.Store.Get(ctx, d.key, backend.GetOptions{Offset: at, Length: int64(len(data)), ETag: etag})
		if err != nil {
			return err
		}
		defer body.Close()
		_, err = io.ReadFull(body, data)
		return err
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if replaced(err) && d.mu.err == nil {
			d.giveUp(err)
			d.progress()
		}
		return nil, err
	}
	for old := range d.mu.window {
		if len(d.mu.window) < windowMem {
			break
		}
		delete(d.mu.window, old)
	}
	d.mu.window[b] = data
	return data, nil
}

// prefetchUnit fetches the other files of a checkpoint directory, of which one was just
// opened: whoever loads a checkpoint wants all of it.
func (c *Cache) prefetchUnit(path string) {
	unit := c.cfg.Layout.Classify(path, false).Unit
	if c.cfg.Prefetch != PrefetchCheckpoint || unit == path || c.cfg.Layout.Classify(unit, true).Kind != layout.Checkpoint {
		return
	}
	f := c.fetches
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ahead[unit] || f.ctx.Err() != nil {
		return
	}
	f.ahead[unit] = true
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		if err := c.fetchUnit(f.ctx, unit); err != nil && f.ctx.Err() == nil {
			c.log.Warn("prefetch stopped", "unit", unit, "err", err)
		}
		f.mu.Lock()
		delete(f.ahead, unit)
		f.mu.Unlock()
	}()
}

// fetchUnit brings everything at and below path into the tree, two files at a time.
func (c *Cache) fetchUnit(ctx context.Context, path string) error {
	g := newLimited(ctx, 2)
	var walk func(dir string) error
	walk = func(dir string) error {
		list, err := c.ReadDir(g.ctx, dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			p := join(dir, e.Name)
			if e.Type == syscall.S_IFDIR {
				if err := walk(p); err != nil {
					return err
				}
				continue
			}
			if e.Type != syscall.S_IFREG && e.Type != syscall.S_IFLNK && e.Type != 0 {
				continue
			}
			g.Go(func() error { return c.localize(g.ctx, p, false) })
		}
		return nil
	}
	err := walk(path)
	return errors.Join(err, g.Wait())
}

func (d *fetch) name() string { return filepath.Join(d.c.dir, "fetch", d.part) }

func (d *fetch) String() string { return fmt.Sprintf("fetch of %s", d.path) }

// Prefetch brings everything at and below paths into the tree.
func (c *Cache) Prefetch(ctx context.Context, paths []string) error {
	for _, p := range paths {
		if err := c.localize(ctx, p, false); err != nil {
			return fmt.Errorf("prefetch %q: %w", p, err)
		}
		st, err := c.tree.lstat(p)
		if err != nil {
			return err
		}
		if isDir(&st) {
			if err := c.fetchUnit(ctx, p); err != nil {
				return fmt.Errorf("prefetch %s: %w", p, err)
			}
		}
	}
	return nil
}
