package cache

import (
	"strings"

	"github.com/trainfs/trainfs/layout"
)

// A member that was renamed out of a checkpoint directory leaves it as an unlinked one does:
// by a commit of the directory, whose manifest says that it is gone, and only then its object
// goes. Otherwise the manifest of another node would go on naming what is not there.
//
// Crash argument: first the new name is committed, then the tombstone of the old one is freed
// (it waits for nothing any more, which is one record), then the directory is committed. A
// kill before the record finds the new name committed, and frees the tombstone again; a kill
// after it finds a tombstone that is carried out by the next commit, as after an unlink.

// freeLeft frees the tombstones of members that were renamed out of a checkpoint directory and
// are committed under their new names, and wakes the directory. Callers hold mu.
func (c *Cache) freeLeft() error {
	var ops []op
	for key, t := range c.mu.tombs {
		path := strings.TrimSuffix(key, "/")
		class := c.cfg.Layout.Classify(path, false)
		if t.After == "" || t.Unit || class.Kind != layout.Checkpoint || class.Unit == path || under(t.After, class.Unit) {
			continue
		}
		if c.waitsFor(t) || c.isSource(path) || c.comingTo(path) || c.goesWithUnit(class.Unit) {
			continue
		}
		t.After = ""
		c.mu.tombs[key] = t
		ops = append(ops, put(tableTomb, key, t))
		c.leftBehind(path, t.said)
	}
	return c.journal.write(ops...)
}

// leftBehind makes the unit of path one that is committed anew. No program has changed it
// just now, so that what is known of its end, and its place in the order, remain. Callers
// hold mu.
func (c *Cache) leftBehind(path string, said bool) {
	if u := c.mu.units[c.unitPath(path)]; u != nil {
		u.gen++
		u.sealed, u.unmarked = false, false
		u.members = true
		return
	}
	c.shrink(path)
	if u := c.mu.units[c.unitPath(path)]; u != nil {
		u.said = said
	}
}

// waitsFor tells whether the new name that a tombstone waits for is not committed yet.
// Callers hold mu.
func (c *Cache) waitsFor(t tombstone) bool {
	if t.After == "" {
		return false
	}
	u := c.mu.units[c.cfg.Layout.Classify(t.After, false).Unit]
	return u != nil && (c.tree.exists(t.After) || len(c.movedBelow(t.After)) > 0)
}

// goesWithUnit tells whether the members of a checkpoint directory need no commit of it to
// go: it goes itself, or it is gone. Callers hold mu.
func (c *Cache) goesWithUnit(unit string) bool {
	return c.mu.tombs[unit].Unit || !c.tree.exists(unit)
}
