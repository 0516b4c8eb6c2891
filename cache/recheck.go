package cache

import (
	"time"

	"github.com/trainfs/trainfs/layout"
)

// A mapping can outlive the last descriptor of its file, and with passthrough what is
// written through it is not seen here. Where mapped.go cannot find out that there is one, and
// for what is changed in the tree itself, only the file's mtime tells. So files are looked at
// again for a while after their commit. Most mappings are used right away or not at all, so
// the looks are far between soon: thousands of committed files cost next to nothing.

const (
	maxRecent    = 100_000
	recentFor    = 10 * time.Minute
	firstRecheck = 5 * time.Second // after the commit; each later one after twice the time
)

// recheck says when a committed file is looked at again.
type recheck struct {
	next time.Time
	wait time.Duration // from the commit to next
}

func newRecheck() recheck { return recheck{time.Now().Add(firstRecheck), firstRecheck} }

// dueRechecks are the files to look at now. Each of them is due again when twice the time
// since its commit has passed; the look after recentFor is the last.
func (c *Cache) dueRechecks(now time.Time) (paths []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p, r := range c.mu.recent {
		if r.next.After(now) {
			continue
		}
		paths = append(paths, p)
		if r.wait > recentFor {
			delete(c.mu.recent, p)
			continue
		}
		r.next, r.wait = r.next.Add(r.wait), 2*r.wait
		c.mu.recent[p] = r
	}
	return paths
}

// Recheck looks again at files that were committed lately: a mapping that outlived its
// descriptors may have changed them out of our sight.
func (c *Cache) Recheck() {
	for _, p := range c.dueRechecks(time.Now()) {
		c.recheckFile(p)
	}
}

func (c *Cache) recheckFile(p string) {
	if !c.isChanged(p) {
		return
	}
	class := c.cfg.Layout.Classify(p, false)
	c.mu.Lock()
	// Looked at once more: a commit may have ended since, and nobody would say of a unit that is
	// dirty after it that it is finished.
	changed := c.mu.writers[p] == 0 && c.mu.units[class.Unit] == nil && c.isChanged(p)
	if changed {
		c.touch(p, false)
	}
	c.mu.Unlock()
	if changed && class.Kind == layout.Tracker {
		if err := c.snapshotTrackerAt(p); err != nil {
			c.log.Error("a tracker was changed through a mapping, and cannot be read", "path", p, "err", err)
		}
	}
	c.poke()
}

// isChanged tells whether a file that the store has is another one here.
func (c *Cache) isChanged(path string) bool {
	st, err := c.tree.lstat(path)
	if err != nil || !isRegular(&st) {
		return false
	}
	var r fileRecord
	found, err := c.journal.get(tableFile, path, &r)
	return err == nil && found && !r.clean(&st)
}
