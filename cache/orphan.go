package cache

// A file can be open when its last name goes, by unlink or by a rename onto it. What is
// written to it from then on goes nowhere, and it is none of the business of the file that
// gets the name next: neither may the one's writes make a unit of that name, nor may the
// one's close count as the other's.

// orphan takes from path the handles of a file which has lost that name. If the file has
// another, they count there, else nowhere. Callers hold mu.
func (c *Cache) orphan(path string, lost func(ino uint64) bool) {
	if c.mu.writers[path] == 0 {
		return
	}
	moved := false
	for h := range c.mu.handles {
		if h.Path() != path || !lost(h.ino) {
			continue
		}
		to := ""
		for p := range c.mu.links[h.ino] {
			if p != path {
				to = p
			}
		}
		h.move(to)
		moved = true
	}
	if moved {
		c.recountWriters()
	}
}

// dropNothing drops a unit that has nothing in the tree, though nobody deleted it here.
func (c *Cache) dropNothing(s *Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := s.Unit
	if u.gen != s.Gen || u.writers > 0 || c.mu.units[u.Path] != u {
		return
	}
	u.gone = true
	delete(c.mu.units, u.Path)
	if u.inHand() {
		c.mu.leaving[u] = struct{}{}
	}
	c.notify()
}
