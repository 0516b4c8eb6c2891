package cache

// A stray is an open marker of this node, in the store, of a checkpoint directory of which
// nothing waits here: the power cut has taken what was begun in it, or it was deleted before
// a record spoke of it. It hides from other mounts what was committed before, or names a
// checkpoint that will never come. Only a start finds them.

// findStrays follows o/ records that no unit and no deletion answers for.
func (r *recovery) findStrays() error {
	return below(r.journal, tableOpen, "", func(unit string, _ openRecord) error {
		u, t := r.mu.units[unit], r.mu.tombs[unit]
		if (u == nil || u.empty() && u.state != StateTorn) && !t.Unit {
			r.mu.strays[unit] = struct{}{}
		}
		return nil
	})
}

// Strays are the checkpoint directories whose open marker has to go.
func (c *Cache) Strays() (units []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for unit := range c.mu.strays {
		units = append(units, unit)
	}
	return units
}

// IsStray tells whether it still has to: a unit of that name may have been made since.
func (c *Cache) IsStray(unit string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.mu.strays[unit]
	return ok
}

// StrayGone records that it has. The caller holds the lock on the marker's key.
func (c *Cache) StrayGone(unit string) error {
	if err := c.journal.write(del(tableOpen, unit)); err != nil {
		return err
	}
	c.mu.Lock()
	delete(c.mu.strays, unit)
	c.mu.Unlock()
	c.poke()
	return nil
}
