package cache

import (
	"context"
	"fmt"
	"math"
	"sort"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/cache/killpoint"
)

// This file keeps the cache within its bounds. What counts is the disk space of the
// files in the tree and of downloads; what goes, least recently used first, are whole
// units that are committed, not pinned and not open (I5). Where nothing can go, programs
// that would add to it wait for uploads, and then get ENOSPC (P7).
//
// Crash argument: evicting is unlinking a file whose clean record stays. A file that is
// absent is fetched again; it was not deleted (I3).

const (
	evictEvery = time.Second
	// A file is left alone for so long after its last close: the kernel may still have it
	// open for a moment when its release has been handled.
	evictGrace = 2 * time.Second
	// Once at it, eviction goes on until this part of cache_size is free.
	headroom = 20
)

// usage is the accounting, guarded by Cache.mu.
type usage struct {
	files map[string]int64     // local file -> disk space, bytes
	units map[string]*unitSize // by path of the unit
	total int64
	part  int64 // what the downloads under way will take, as of the last look
	full  bool  // over a bound, and nothing can go
}

type unitSize struct {
	bytes int64
	files int
	used  time.Time
}

func newUsage() usage {
	return usage{files: map[string]int64{}, units: map[string]*unitSize{}}
}

// sizeOf is the disk space of a file; that of one with several names is shared among
// them.
func sizeOf(st *syscall.Stat_t) int64 { return st.Blocks * 512 / max(1, int64(st.Nlink)) }

// account notes the disk space of a local file, and that it was used. Callers hold mu.
func (c *Cache) account(path string, st *syscall.Stat_t, used time.Time) {
	u := c.mu.usage.units[c.unitPath(path)]
	if u == nil {
		u = &unitSize{}
		c.mu.usage.units[c.unitPath(path)] = u
	}
	old, known := c.mu.usage.files[path]
	if !known {
		u.files++
	}
	size := sizeOf(st)
	c.mu.usage.files[path] = size
	u.bytes += size - old
	c.mu.usage.total += size - old
	u.used = later(u.used, used)
}

// unaccount forgets what is at and below path. Callers hold mu.
func (c *Cache) unaccount(path string) {
	drop := func(p string) {
		size, ok := c.mu.usage.files[p]
		if !ok {
			return
		}
		delete(c.mu.usage.files, p)
		c.mu.usage.total -= size
		if u := c.mu.usage.units[c.unitPath(p)]; u != nil {
			u.bytes -= size
			if u.files--; u.files <= 0 {
				delete(c.mu.usage.units, c.unitPath(p))
			}
		}
	}
	if _, ok := c.mu.usage.files[path]; ok {
		drop(path)
		return
	}
	for p := range c.mu.usage.files {
		if under(p, path) {
			drop(p)
		}
	}
}

// accountTree does so for everything at and below path.
func (c *Cache) accountTree(path string) {
	err := c.tree.walk(path, func(p string, st *syscall.Stat_t) error {
		if isRegular(st) {
			c.mu.Lock()
			c.account(p, st, mtimeOf(st))
			c.mu.Unlock()
		}
		return nil
	})
	if err != nil && !isNotExist(err) {
		c.log.Warn("disk space cannot be counted", "path", path, "err", err)
	}
}

// usedNow notes a use for the order of eviction.
func (c *Cache) usedNow(path string) {
	if u := c.mu.usage.units[c.unitPath(path)]; u != nil {
		u.used = time.Now()
	}
}

// excess is by how many bytes the cache is over its bounds; negative is what is left.
func (c *Cache) excess() int64 {
	over := int64(math.MinInt64 / 2)
	part := c.fetches.diskBytes()
	c.mu.Lock()
	c.mu.usage.part = part
	if c.cfg.CacheSize > 0 {
		over = c.mu.usage.total + part - c.cfg.CacheSize
	}
	c.mu.Unlock()
	var fs syscall.Statfs_t
	if syscall.Fstatfs(int(c.tree.root.Fd()), &fs) == nil {
		over = max(over, c.minFree(&fs)-int64(fs.Bavail)*fs.Bsize)
	}
	return over
}

// minFree is min_free; by default 1 GiB, but no more than a twentieth of the disk.
func (c *Cache) minFree(fs *syscall.Statfs_t) int64 {
	if c.cfg.MinFree > 0 {
		return c.cfg.MinFree
	}
	return min(1<<30, int64(fs.Blocks)*fs.Bsize/20)
}

// evictLoop keeps the bounds.
func (c *Cache) evictLoop() {
	defer c.loops.Done()
	t := time.NewTicker(evictEvery)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
		case <-c.squeeze:
		}
		c.recount()
		c.makeRoom()
	}
}

// recount looks at what grows out of our sight: files open for writing, and downloads.
func (c *Cache) recount() {
	c.mu.Lock()
	for h := range c.mu.handles {
		p := h.Path()
		if st, err := c.tree.lstat(p); err == nil && st.Ino == h.ino {
			c.account(p, &st, time.Now())
		}
	}
	c.mu.Unlock()
}

// makeRoom evicts until the cache is within its bounds, or nothing can go.
func (c *Cache) makeRoom() {
	over := c.excess()
	if over >= 0 {
		for _, unit := range c.oldest() {
			freed, _ := c.evictUnit(unit, false)
			if over -= freed; over < -c.cfg.CacheSize/headroom {
				break
			}
		}
	}
	c.mu.Lock()
	changed := c.mu.usage.full != (over >= 0)
	c.mu.usage.full = over >= 0
	if changed {
		c.notify()
	}
	c.mu.Unlock()
	if changed && over >= 0 {
		c.log.Warn("the cache is full and nothing can be evicted: writers wait for uploads", "bytes_over", over)
	}
}

// roomFor makes room for a download, and tells whether there is any.
func (c *Cache) roomFor(bytes int64) bool {
	over := c.excess() + bytes
	if over <= 0 {
		return true
	}
	c.mu.Lock()
	if c.cfg.CacheSize > 0 && bytes > c.cfg.CacheSize {
		c.mu.Unlock()
		return false
	}
	c.mu.Unlock()
	for _, unit := range c.oldest() {
		freed, _ := c.evictUnit(unit, false)
		if over -= freed; over <= 0 {
			return true
		}
	}
	return over <= 0
}

// oldest lists the units in the tree, least recently used first.
func (c *Cache) oldest() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]string, 0, len(c.mu.usage.units))
	for p := range c.mu.usage.units {
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool {
		a, b := c.mu.usage.units[out[i]], c.mu.usage.units[out[j]]
		if !a.used.Equal(b.used) {
			return a.used.Before(b.used)
		}
		return out[i] < out[j]
	})
	return out
}

// pinned says why a unit cannot be evicted now; "" if it can. Callers hold mu.
func (c *Cache) pinned(unit string, asked bool) string {
	if u := c.mu.units[unit]; u != nil {
		if u.state == StateTorn {
			return "torn: its only copy is here"
		}
		return "not committed yet"
	}
	for p := range c.mu.opened {
		if under(p, unit) {
			return "open: " + p
		}
	}
	if u := c.mu.usage.units[unit]; u != nil && !asked && time.Since(u.used) < evictGrace {
		return "just used"
	}
	return ""
}

// evictUnit drops the local copies of a committed unit. asked: by name, not for room.
func (c *Cache) evictUnit(unit string, asked bool) (freed int64, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if why := c.pinned(unit, asked); why != "" {
		return 0, why
	}
	c.tree.walk(unit, func(p string, st *syscall.Stat_t) error {
		if !isRegular(st) {
			return nil
		}
		var r fileRecord
		found, err := c.journal.get(tableFile, p, &r)
		if err != nil || !found || !r.clean(st) {
			if c.goesUp(c.cfg.Layout.Classify(p, false)) {
				c.touch(p, false)
				why = "changed outside the mount: " + p
			} else {
				why = "kept local on purpose: " + p
			}
			return nil
		}
		if err := c.tree.unlink(p); err == nil {
			c.idents.evicted(p, st.Ino)
			freed += sizeOf(st)
			c.unaccount(p)
			c.names.evicted(p, &r, c.fetches.sameAt(p))
			c.mu.stats.evicted++
			killpoint.At(killpoint.EvictFile)
		}
		return nil
	})
	killpoint.At(killpoint.EvictUnit)
	return freed, why
}

// admit makes a program that would add to the cache wait while it is full.
func (c *Cache) admit(ctx context.Context) error {
	c.mu.Lock()
	full, changed := c.mu.usage.full, c.mu.changed
	if !full && c.cfg.CacheSize > 0 && c.mu.usage.total+c.mu.usage.part >= c.cfg.CacheSize {
		full = true // since the last look
	}
	c.mu.Unlock()
	if !full {
		return nil
	}
	timeout := time.NewTimer(c.cfg.FullTimeout)
	defer timeout.Stop()
	for {
		select {
		case c.squeeze <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-time.After(evictEvery / 4):
		case <-timeout.C:
			return fmt.Errorf("the cache is full, and what is in it is not uploaded yet: %w", syscall.ENOSPC)
		case <-ctx.Done():
			return ctx.Err()
		}
		over := c.excess()
		c.mu.Lock()
		changed = c.mu.changed
		c.mu.Unlock()
		if over < 0 {
			return nil
		}
	}
}

// Evict drops the local copies of what is at and below paths, as far as it is
// committed. kept says what stays, and why.
func (c *Cache) Evict(ctx context.Context, paths []string) (freed int64, kept []string, err error) {
	for _, path := range paths {
		if path != "" && !c.tree.exists(path) {
			if _, err := c.remoteInfo(ctx, path); err != nil {
				return freed, kept, fmt.Errorf("evict %s: %w", path, err)
			}
		}
		for _, unit := range c.oldest() {
			if !under(unit, path) && !under(path, unit) {
				continue
			}
			n, why := c.evictUnit(unit, true)
			freed += n
			if why != "" {
				kept = append(kept, unit+": "+why)
			}
			if err := ctx.Err(); err != nil {
				return freed, kept, err
			}
		}
	}
	return freed, kept, nil
}

// CacheUnit is one unit in the cache.
type CacheUnit struct {
	Path     string    `json:"path"`
	Bytes    int64     `json:"bytes"`
	Files    int       `json:"files"`
	LastUsed time.Time `json:"last_used"`
	Pinned   string    `json:"pinned,omitempty"` // why it cannot be evicted now
}

// CacheReport is what `trainfs cache` shows.
type CacheReport struct {
	CacheDir string      `json:"cache_dir"`
	Limit    int64       `json:"cache_size"` // 0: none
	MinFree  int64       `json:"min_free"`
	Used     int64       `json:"used"`    // below tree/
	Partial  int64       `json:"partial"` // downloads that are not complete
	DiskFree int64       `json:"disk_free"`
	Full     bool        `json:"full"`
	Evicted  int64       `json:"evicted_files"` // since the start
	Units    []CacheUnit `json:"units"`         // least recently used first
}

// CacheReport tells what is in the cache, and what of it is pinned.
func (c *Cache) CacheReport() CacheReport {
	c.recount()
	r := CacheReport{CacheDir: c.dir, Limit: c.cfg.CacheSize}
	var fs syscall.Statfs_t
	if syscall.Fstatfs(int(c.tree.root.Fd()), &fs) == nil {
		r.DiskFree, r.MinFree = int64(fs.Bavail)*fs.Bsize, c.minFree(&fs)
	}
	order := c.oldest()
	r.Partial = c.fetches.diskBytes()
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Used, r.Full, r.Evicted = c.mu.usage.total, c.mu.usage.full, c.mu.stats.evicted
	for _, p := range order {
		if u := c.mu.usage.units[p]; u != nil {
			r.Units = append(r.Units, CacheUnit{p, u.bytes, u.files, u.used, c.pinned(p, false)})
		}
	}
	return r
}

// diskBytes is the disk space that the downloads under way will take.
func (f *fetches) diskBytes() (sum int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.byPath {
		d.mu.Lock()
		if !d.mu.noSpace {
			sum += d.size
		}
		d.mu.Unlock()
	}
	return sum
}
