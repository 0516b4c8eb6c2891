package cache

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
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

var errStalled error = timeoutError("the store stopped sending")

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
