package cache

import "strings"

// A file that is made again must not go up while the store is still at the deletion of the one
// before it: carried out last, the deletion would take the new object. So from Deletions to
// DeletionsEnded nothing goes up at the keys that were given out, nor to their checkpoint
// directories, not even an open marker.
//
// Crash argument: this is in memory only. After a kill the tombstone is there, and so is the
// file: its commit replaces the object, and the tombstone goes with it. A deletion that the
// store carries out later than that is gap G14.

// startDeleting notes what is given out. Callers hold mu.
func (c *Cache) startDeleting(list []Tombstone) {
	for _, t := range list {
		path := strings.TrimSuffix(t.Key, "/")
		c.mu.deleting[path] = c.mu.deleting[path] || t.Unit
		if _, ok := c.mu.deleting[c.unitPath(path)]; !ok {
			c.mu.deleting[c.unitPath(path)] = false
		}
	}
}

// DeletionsEnded says that the store is at none of the deletions any more that Deletions has
// given out, be they carried out or not.
func (c *Cache) DeletionsEnded() {
	c.mu.Lock()
	clear(c.mu.deleting)
	c.notify()
	c.mu.Unlock()
	c.poke()
}

// isDeleting tells whether a unit is at a key that the store is deleting. Callers hold mu.
func (c *Cache) isDeleting(unit string) bool {
	if len(c.mu.deleting) == 0 {
		return false
	}
	if _, ok := c.mu.deleting[unit]; ok {
		return true
	}
	for p := parent(unit); p != ""; p = parent(p) {
		if c.mu.deleting[p] {
			return true
		}
	}
	return false
}
