package cache

import (
	"strings"
	"time"

	"github.com/trainfs/trainfs/layout"
)

// remakeTime bounds how long a deleted tracker stays in the store. Programs that make a
// link anew (Lightning's last.ckpt) remove it first: deleted at once, the store would have
// none until what the new one names has gone up.
const remakeTime = 3 * time.Second

// maybeRemade tells that a tracker was deleted so short a time ago that it is most likely
// about to be made anew.
func (c *Cache) maybeRemade(key string, t tombstone, kind layout.Kind) bool {
	return kind == layout.Tracker && !t.Unit && !strings.HasSuffix(key, "/") && time.Since(t.at) < min(c.cfg.Settle, remakeTime)
}

// numbered gives a tombstone its place in time. Callers hold mu.
func (c *Cache) numbered(key string, t tombstone) tombstone {
	t.Seq, t.at = c.nextSeq(), time.Now()
	if before, ok := c.mu.tombs[key]; ok {
		t.First = before.first()
	}
	if u := c.mu.units[key]; u != nil && len(u.versions) > 0 { // they go with it, unseen by the store
		if first := u.versions[0].Seq; t.First == 0 || first < t.First {
			t.First = first
		}
	}
	return t
}

// trackersBehind are the trackers of which the store may have an older version than this
// node, and since when: from that place in time on the store's version may name what this
// node's does not any more. Those that are torn will not come. Callers hold mu.
func (c *Cache) trackersBehind() map[string]uint64 {
	out := map[string]uint64{}
	add := func(path string, since uint64) {
		if old, ok := out[path]; !ok || since < old {
			out[path] = since
		}
	}
	for p, u := range c.mu.units {
		if u.Class.Kind == layout.Tracker && u.state != StateTorn && len(u.versions) > 0 {
			add(p, u.versions[0].Seq)
		}
	}
	for key, t := range c.mu.tombs { // removed, and perhaps made anew
		if t.Unit || strings.HasSuffix(key, "/") || c.cfg.Layout.Classify(key, false).Kind != layout.Tracker {
			continue
		}
		if u := c.mu.units[key]; u == nil || u.state != StateTorn {
			add(key, t.first())
		}
	}
	return out
}

// behind tells whether a tracker in the trial of unit, or above it, has been behind since
// before seq.
func behind(trackers map[string]uint64, unit string, seq uint64) bool {
	for p, since := range trackers {
		if since < seq && under(unit, parent(p)) {
			return true
		}
	}
	return false
}
