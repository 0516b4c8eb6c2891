package cache

import (
	"fmt"
	"slices"
	"sort"
	"syscall"

	"github.com/trainfs/trainfs/layout"
)

// Blockers names what a checkpoint or a tracker version has to wait for before it
// may become visible (P4): for a checkpoint, those closed before it in its trial; for
// a tracker, the pending checkpoints that it names and those below its directory that
// were closed before it.
func (c *Cache) Blockers(u *Unit, seq uint64, named []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, o := range c.mu.units {
		if o == u || o.gone || o.Class.Kind != layout.Checkpoint {
			continue
		}
		if o.state == StateTorn || o.empty() {
			continue // it will not come
		}
		switch u.Class.Kind {
		case layout.Checkpoint:
			if o.Class.Trial == u.Class.Trial && c.comesBefore(o, u, seq) {
				out = append(out, o.Path)
			}
		case layout.Tracker:
			earlier := o.seq != 0 && o.seq < seq
			if under(o.Path, parent(u.Path)) && (earlier || contains(named, base(o.Path))) {
				out = append(out, o.Path)
			}
		}
	}
	sort.Strings(out)
	return out
}

// HereOrCommitted tells whether a checkpoint directory is in the tree, or this node has
// published it.
func (c *Cache) HereOrCommitted(unit string) bool {
	var r ownRecord
	found, err := c.journal.get(tableOwn, unit, &r)
	return err != nil || found || c.tree.exists(unit)
}

// HasNamed tells that of a checkpoint which a tracker in dir names. It lies beside the
// tracker, or in a directory beside it, as the trials do below Tune's experiment state.
func (c *Cache) HasNamed(dir, name string) bool {
	if c.HereOrCommitted(join(dir, name)) {
		return true
	}
	beside, _ := c.tree.names(dir)
	return slices.ContainsFunc(beside, func(e DirEntry) bool {
		return e.Type == syscall.S_IFDIR && c.HereOrCommitted(join(join(dir, e.Name), name))
	})
}

// Torn are the torn checkpoints that a tracker names.
func (c *Cache) Torn(tracker *Unit, named []string) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.mu.units {
		if o.state == StateTorn && o.Class.Kind == layout.Checkpoint && under(o.Path, parent(tracker.Path)) && contains(named, base(o.Path)) {
			out = append(out, o.Path)
		}
	}
	return out
}

// Explain notes why a unit does not go forward.
func (c *Cache) Explain(u *Unit, format string, args ...any) {
	c.mu.Lock()
	u.reason = fmt.Sprintf(format, args...)
	c.mu.Unlock()
}

// Seq is the unit's place in the order of closing.
func (c *Cache) Seq(u *Unit) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return u.seq
}
