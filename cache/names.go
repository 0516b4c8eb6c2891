package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/trainfs/trainfs/layout"
)

// names is what this node knows of the store's names: nothing that is not asked for,
// and nothing for longer than its time to live.
//
// A name found is kept for ListTTL, a name missed for NegativeTTL (none by default).
// There is one exception, without which every create would wait for the network: in a
// directory where this node has just been creating files, a missing name is judged
// by a listing at most CreateTTL old, or costFactor times as old as it took; a CreateTTL of
// nothing means never. Control files and trackers are always asked for.
type names struct {
	c      *Cache
	flight singleflight.Group
	down   chan struct{} // the store was lost

	mu      sync.Mutex
	dirs    map[string]*dirNames
	views   map[string]*unitView
	apart   map[string]*takenApart // by directory
	hidden  map[uint64]struct{}    // hashes of the keys that cannot be names; logged once
	gone    gone
	commits uint64 // counts what this node has published; a look that spans one is not kept
	lost    error  // why the store cannot be reached: see reach.go
}

type dirNames struct {
	entries  nameSet
	listed   time.Time
	cost     time.Duration // of the last listing
	creating time.Time     // the last time this node made something here
}

const (
	creatingFor    = time.Minute // a directory counts as one being filled for so long
	costFactor     = 20          // relisting takes at most 1/20 of the time
	mostHiddenTold = 1000
	maxKnownNames  = 1 << 20 // then everything is forgotten; it can be asked for again
)

// whileCreating is how long a listing that has taken cost says what is missing in a directory
// in which this node is creating files.
func (c *Config) whileCreating(cost time.Duration) time.Duration {
	if c.CreateTTL <= time.Nanosecond { // what a user's zero has become: zero asks for the default
		return 0
	}
	return max(c.CreateTTL, costFactor*cost)
}

func newNames(c *Cache) *names {
	return &names{c: c, down: make(chan struct{}, 1), dirs: map[string]*dirNames{}, views: map[string]*unitView{}, apart: map[string]*takenApart{}, hidden: map[uint64]struct{}{}, gone: newGone()}
}

func (n *names) dir(path string) *dirNames {
	d := n.dirs[path]
	if d == nil {
		if len(n.dirs) > maxKnownNames {
			clear(n.dirs)
		}
		d = &dirNames{}
		n.dirs[path] = d
	}
	return d
}

// created notes that this node makes something in dir.
func (n *names) created(dir string) {
	n.mu.Lock()
	n.dir(dir).creating = time.Now()
	n.mu.Unlock()
}

// born notes that this node has made dir, and that the store had none.
func (n *names) born(path string) {
	n.mu.Lock()
	now := time.Now()
	n.dirs[path] = &dirNames{listed: now, creating: now}
	if class := n.c.cfg.Layout.Classify(path, true); class.Kind == layout.Checkpoint && class.Unit == path {
		n.views[path] = &unitView{entries: map[string]remoteEntry{"": {dir: true}}, visible: true, at: now}
	}
	n.mu.Unlock()
}

// forget drops what is known of path and below.
func (n *names) forget(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.dirs {
		if under(p, path) {
			delete(n.dirs, p)
		}
	}
	for p := range n.views {
		if under(p, path) || under(path, p) {
			delete(n.views, p)
		}
	}
	if d := n.dirs[parent(path)]; d != nil {
		d.entries.remove(base(path))
	}
}

// find asks for one name. fs.ErrNotExist if the store has none that may be shown.
func (n *names) find(ctx context.Context, path string) (remoteEntry, error) {
	return n.findWith(ctx, path, false)
}

// findWith is find; exact: whatever a listing of the directory says, the store is asked for the name.
func (n *names) findWith(ctx context.Context, path string, exact bool) (remoteEntry, error) {
	if path == "" {
		return remoteEntry{dir: true}, nil
	}
	if r, ok := n.c.movedAt(path); ok {
		return r.entry(), nil
	}
	if n.c.buried(path) || n.c.cfg.Layout.Classify(path, false).Kind == layout.Internal {
		return remoteEntry{}, fs.ErrNotExist
	}
	if err := layout.CheckPath(path); err != nil {
		return remoteEntry{}, fs.ErrNotExist
	}
	e, err := n.anywhere(ctx, path, exact)
	if err == nil && n.isGone(path, &e) {
		return remoteEntry{}, fs.ErrNotExist
	}
	return e, err
}

func (n *names) anywhere(ctx context.Context, path string, exact bool) (remoteEntry, error) {
	asDir := n.c.cfg.Layout.Classify(path, true)
	if asDir.Kind == layout.Checkpoint && asDir.Unit != path {
		return n.member(ctx, asDir.Unit, path)
	}
	e, err := n.plain(ctx, path, exact)
	if err == nil && e.dir && asDir.Kind == layout.Checkpoint {
		return n.member(ctx, path, path)
	}
	return e, err
}

// plain finds a name that is not in a checkpoint directory.
func (n *names) plain(ctx context.Context, path string, exact bool) (remoteEntry, error) {
	dir, name := parent(path), base(path)
	kind := n.c.cfg.Layout.Classify(path, false).Kind
	exact = exact || kind == layout.Control || kind == layout.Tracker
	now := time.Now()

	n.mu.Lock()
	d := n.dir(dir)
	e, found := d.entries.get(name)
	if found && !exact && e.age(now) < n.c.cfg.ListTTL {
		n.mu.Unlock()
		return e, nil
	}
	age, filling := now.Sub(d.listed), now.Sub(d.creating) < creatingFor
	known := !d.listed.IsZero()
	limit := n.c.cfg.NegativeTTL
	if filling {
		limit = max(limit, n.c.cfg.whileCreating(d.cost))
	}
	n.mu.Unlock()

	switch {
	case !exact && !found && known && age < limit:
		return remoteEntry{}, fs.ErrNotExist
	case !exact && filling:
		if err := n.list(ctx, dir, limit); err != nil {
			return n.whileOffline(dir, name, err)
		}
		n.mu.Lock()
		e, found = n.dir(dir).entries.get(name)
		n.mu.Unlock()
		if !found {
			return e, fs.ErrNotExist
		}
		return e, nil
	}
	e, err := n.probe(ctx, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return n.whileOffline(dir, name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.dir(dir).entries.set(name, e)
	} else {
		n.dir(dir).entries.remove(name)
	}
	return e, err
}

// whileOffline answers from memory if the store cannot be asked: what was known is
// shown. What is missing in a directory whose names are known, or that this node has
// made itself, counts as missing, so that work goes on; but it is remembered that nobody
// has looked, so that what is made under that name replaces nothing (I6). Of a
// directory that others have made nothing can be said, and of a tracker only what is
// known for sure: a job that finds none begins from scratch.
func (n *names) whileOffline(dir, name string, err error) (remoteEntry, error) {
	if !errors.Is(err, errOffline) {
		return remoteEntry{}, err
	}
	n.mu.Lock()
	d := n.dirs[dir]
	known := d != nil && !d.listed.IsZero()
	var e remoteEntry
	found := false
	if known {
		e, found = d.entries.get(name)
	}
	n.mu.Unlock()
	path := join(dir, name)
	switch {
	case found:
		return e, nil
	case n.fromRecord(path, &e):
		return e, nil
	case known:
	case !n.c.madeHere(dir) || n.c.cfg.Layout.Classify(path, false).Kind == layout.Tracker:
		return remoteEntry{}, err
	}
	n.c.mu.Lock()
	if len(n.c.mu.unasked) < maxRecent {
		n.c.mu.unasked[path] = struct{}{}
	}
	n.c.mu.Unlock()
	return remoteEntry{}, fmt.Errorf("%w: %w", syscall.ENOENT, err)
}

// fromRecord answers for a file that this node has committed or fetched once.
func (n *names) fromRecord(path string, e *remoteEntry) bool {
	var r fileRecord
	found, err := n.c.journal.get(tableFile, path, &r)
	if err != nil || !found || r.ID == (Identity{}) {
		return false
	}
	*e = entryOfRecord(&r)
	return true
}

// evicted notes that a file is now only in the store.
func (n *names) evicted(path string, r *fileRecord, sameAt time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := entryOfRecord(r)
	// The store had it when that was last looked at. Before list_ttl all are as old.
	e.seen = max(sameAt.UnixNano(), time.Now().Add(-n.c.cfg.ListTTL).UnixNano())
	n.dir(parent(path)).entries.set(base(path), e)
}
