package cache

// A name goes in two steps: its tombstone, then the tree (or, of a file that is only in the
// store, the record of where its bytes are). Whoever looked at a unit between the two would see
// a file that is there, and take the tombstone for one that his look covers: his commit would
// drop it, and the file would come back. So nobody looks in between.

// startGoing keeps Snapshot from looking at what is at, below or above path, until the returned
// func is called.
func (c *Cache) startGoing(path string) (done func()) {
	c.planting.RLock()
	c.mu.Lock()
	c.mu.going[path]++
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		if c.mu.going[path]--; c.mu.going[path] <= 0 {
			delete(c.mu.going, path)
		}
		c.notify()
		c.mu.Unlock()
		c.planting.RUnlock()
	}
}

// untilGone waits until nothing at, below or above path is going. That waits for the local
// disk only. Callers hold mu, which is released meanwhile.
func (c *Cache) untilGone(path string) {
	for c.isGoing(path) {
		changed := c.mu.changed
		c.mu.Unlock()
		<-changed
		c.mu.Lock()
	}
}

func (c *Cache) isGoing(path string) bool {
	for p := range c.mu.going {
		if under(p, path) || under(path, p) {
			return true
		}
	}
	return false
}
