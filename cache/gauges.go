package cache

import (
	"syscall"
	"time"

	"github.com/trainfs/trainfs/layout"
)

// This file is what metrics and the status page ask for again and again. FLUSH needs
// Cache.mu, so none of it holds that lock for longer than a few units take, however many
// there are. What is told is therefore not of one moment.

// Gauges is what the metrics tell of a cache.
type Gauges struct {
	Units     map[State]int // not committed
	Transient int           // of them, those whose last upload failed and may heal by itself
	Permanent int           // and those that somebody has to mend
	LeftBytes int64         // to upload
	Deletions int           // that the store has not seen
	Oldest    time.Time     // since when the oldest of them is not committed; zero: there is none

	Retries int64 // uploads that failed and are tried again, since the start
	Evicted int64 // files, since the start

	CacheBytes, CacheLimit int64 // limit 0: none
	DiskFree, MinFree      int64
	Full                   bool
	StoreReachable         bool
	LostFound, HiddenKeys  int
}

// Gauges takes stock.
func (c *Cache) Gauges() Gauges {
	g := Gauges{Units: map[State]int{}, CacheLimit: c.cfg.CacheSize}
	c.eachUnit(func(u *Unit) {
		g.Units[u.state]++
		g.LeftBytes += max(0, c.unitBytes(u)-u.done)
		if u.state != StateTorn && !u.empty() && (g.Oldest.IsZero() || u.since.Before(g.Oldest)) {
			g.Oldest = u.since
		}
		switch {
		case u.permanent:
			g.Permanent++
		case u.attempts > 0:
			g.Transient++
		}
	})
	part := c.fetches.diskBytes()
	c.mu.Lock()
	g.Retries, g.Evicted, g.LostFound = c.mu.stats.retries, c.mu.stats.evicted, c.mu.stats.lost
	g.Deletions = len(c.mu.tombs)
	g.CacheBytes, g.Full = c.mu.usage.total+part, c.mu.usage.full
	g.StoreReachable = c.mu.stats.storeErr == nil
	c.mu.Unlock()
	c.names.mu.Lock()
	g.HiddenKeys = len(c.names.hidden)
	g.StoreReachable = g.StoreReachable && c.names.lost == nil
	c.names.mu.Unlock()
	var fs syscall.Statfs_t
	if syscall.Fstatfs(int(c.tree.root.Fd()), &fs) == nil {
		g.DiskFree, g.MinFree = int64(fs.Bavail)*fs.Bsize, c.minFree(&fs)
	}
	return g
}

// unitsAtOnce is for how many units eachUnit holds the lock.
const unitsAtOnce = 32

// eachUnit calls visit for every unit that has something the store has not, with mu held.
// It lets go of mu in between.
func (c *Cache) eachUnit(visit func(*Unit)) {
	c.mu.Lock()
	all := make([]*Unit, 0, len(c.mu.units))
	for _, u := range c.mu.units {
		all = append(all, u)
	}
	c.mu.Unlock()
	for len(all) > 0 {
		few := all[:min(unitsAtOnce, len(all))]
		all = all[len(few):]
		c.sizeUp(few)
		c.mu.Lock()
		for _, u := range few {
			if c.mu.units[u.Path] != u || u.writers > 0 && c.upToDate(u) {
				continue // gone meanwhile, or a log that stays open
			}
			visit(u)
		}
		c.mu.Unlock()
	}
}

// sizeUp looks up what unitBytes would look up with mu held.
func (c *Cache) sizeUp(units []*Unit) {
	c.mu.Lock()
	var old []*Unit
	for _, u := range units {
		if u.bytes <= 0 && time.Since(u.sized) >= time.Second {
			old = append(old, u)
		}
	}
	c.mu.Unlock()
	for _, u := range old {
		size := c.sizeOnDisk(u)
		c.mu.Lock()
		u.size, u.sized = size, time.Now()
		c.mu.Unlock()
	}
}

// sizeOnDisk is how much the files of a unit hold.
func (c *Cache) sizeOnDisk(u *Unit) (sum int64) {
	add := func(_ string, st *syscall.Stat_t) error {
		if isRegular(st) {
			sum += st.Size
		}
		return nil
	}
	if u.Dir && u.Class.Kind == layout.Checkpoint {
		c.tree.walk(u.Path, add)
	} else if st, err := c.tree.lstat(u.Path); err == nil {
		add(u.Path, &st)
	}
	return sum
}

// Checkpoints lists the checkpoints that have local files, committed or not.
func (c *Cache) Checkpoints() []CacheUnit {
	c.mu.Lock()
	all := make([]CacheUnit, 0, len(c.mu.usage.units))
	for path, u := range c.mu.usage.units {
		all = append(all, CacheUnit{Path: path, Bytes: u.bytes, Files: u.files, LastUsed: u.used})
	}
	c.mu.Unlock()
	checkpoints := all[:0]
	for _, u := range all {
		if c.cfg.Layout.Classify(u.Path, true).Kind == layout.Checkpoint || c.cfg.Layout.Classify(u.Path, false).Kind == layout.Checkpoint {
			checkpoints = append(checkpoints, u)
		}
	}
	return checkpoints
}
