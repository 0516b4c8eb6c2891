package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// This file keeps uploads from waiting for answers that will never come. No program waits for
// an upload, and on a slow network it may take as long as it takes. But a firewall that has
// forgotten a connection, or a proxy that was restarted, tells nobody: a request on it would wait
// for minutes after the outage, and its checkpoint, and those after it, with it. So the
// uploader's requests are watched. While one does not move, watchStore asks whether the store
// answers. Once an outage is over, what has not moved since is given up, and tried again.

var errNoAnswer error = timeoutError("no answer, and nothing moves: the request was given up")

// timeoutError is why a request is given up that gets no answer. It says so to the store's client, as
// net.Error does: its connections may be dead.
type timeoutError string

func (e timeoutError) Error() string { return string(e) }
func (timeoutError) Timeout() bool   { return true }

// A request that does not move, while the store answers others, is given up after so many times
// store_timeout, more where the server has work of its own to do: joining parts, copying. Each
// time that this happens the next ones get twice as long, up to mostPatience: a store that is
// merely slow gets its answers through in the end.
const (
	stalledFor     = 3
	stalledWorking = 12
	mostPatience   = 5 * time.Minute
)

// flights are the requests that are under way.
type flights struct {
	mu      sync.Mutex
	list    map[*flight]struct{}
	back    time.Time // when the last outage was over, or a dead connection was found
	givenUp int       // times in a row, without one that ended well
}

// flight is one of them.
type flight struct {
	op     string
	moved  atomic.Pointer[time.Time] // when some of its body was last asked for, or when it began
	cancel context.CancelCauseFunc
}

func (f *flight) move() { now := time.Now(); f.moved.Store(&now) }

// watched is the store as the uploader has it.
func (c *Cache) watched() backend.Store {
	return backend.Intercept(movingStore{c.cfg.Store}, func(ctx context.Context, op, key string, next func(context.Context) error) error {
		if op == backend.OpGet { // its body outlives the call; who reads it has a watch of his own
			return next(ctx)
		}
		return c.flights.fly(ctx, op, key, next)
	})
}

type flightKey struct{}

func (fs *flights) fly(ctx context.Context, op, key string, next func(context.Context) error) error {
	fctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &flight{op: op, cancel: cancel}
	f.move()
	fs.mu.Lock()
	fs.list[f] = struct{}{}
	fs.mu.Unlock()
	err := next(context.WithValue(fctx, flightKey{}, f))
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.list, f)
	if err == nil {
		fs.givenUp = 0
	} else if ctx.Err() == nil && errors.Is(context.Cause(fctx), errNoAnswer) {
		// Not the store's words: that the request was cancelled would count as for good.
		return &backend.Error{Op: op, Key: key, Err: fmt.Errorf("%w (%v)", errNoAnswer, err)}
	}
	return err
}

// watchFlights looks at the requests under way until ctx ends.
func (c *Cache) watchFlights(ctx context.Context) {
	defer c.loops.Done()
	t := time.NewTicker(max(c.cfg.StoreTimeout/2, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if c.flights.look(c.cfg.StoreTimeout) {
			c.names.suspect()
		}
	}
}

// outageOver gives up what has not moved since before.
func (c *Cache) outageOver() {
	c.flights.mu.Lock()
	c.flights.back = time.Now()
	c.flights.mu.Unlock()
	c.flights.look(c.cfg.StoreTimeout)
}

// look gives up what has waited too long. stuck: something does not move.
func (fs *flights) look(timeout time.Duration) (stuck bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	now, gaveUp := time.Now(), false
	for f := range fs.list {
		idle := now.Sub(*f.moved.Load())
		if idle <= timeout {
			continue
		}
		stuck = true
		if idle > fs.limit(f, timeout) {
			f.cancel(errNoAnswer)
			gaveUp = true
		}
	}
	if gaveUp { // where one connection is dead, those that stand still are too
		fs.givenUp, fs.back = fs.givenUp+1, now
	}
	return stuck
}

// limit is how long a request may stand still.
func (fs *flights) limit(f *flight, timeout time.Duration) time.Duration {
	limit := timeout
	if !f.moved.Load().Before(fs.back) {
		switch limit = stalledFor * timeout; f.op {
		case backend.OpPublishStage, backend.OpCopy, backend.OpDelete:
			limit = stalledWorking * timeout
		}
	}
	return min(limit<<min(fs.givenUp, 10), max(limit, mostPatience))
}

// movingStore notes when the body of a request is read.
type movingStore struct{ backend.Store }

func (m movingStore) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	return m.Store.Put(ctx, key, movingContent(ctx, c), o)
}

func (m movingStore) PutPart(ctx context.Context, s backend.Stage, n int, c backend.Content) (backend.Part, error) {
	return m.Store.PutPart(ctx, s, n, movingContent(ctx, c))
}

func movingContent(ctx context.Context, c backend.Content) backend.Content {
	if f, ok := ctx.Value(flightKey{}).(*flight); ok {
		c.R = &movingReader{c.R, f}
	}
	return c
}

type movingReader struct {
	io.ReaderAt
	f *flight
}

func (r *movingReader) ReadAt(p []byte, off int64) (int, error) {
	r.f.move()
	return r.ReaderAt.ReadAt(p, off)
}
