package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
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
	e, err := c.findAway(ctx, path)
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

func (d *fetch) name() string { return filepath.Join(d.c.dir, "fetch", d.part) }

func (d *fetch) String() string { return fmt.Sprintf("fetch of %s", d.path) }
