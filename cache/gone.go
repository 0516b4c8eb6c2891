package cache

import (
	"strings"
	"time"
)

// gone is what this node has deleted in the store of late, and when.
//
// A look at the store that began before a deletion was carried out may have seen what was
// deleted, and its answer is shared with callers that come after the deletion, when the
// tombstone that would hide it has gone. So what was seen before it was deleted is left out
// of every answer, and the deletion is noted before its tombstone goes.
//
// It is remembered until every look that was under way has ended, and for goneFor in any
// case: for answers that are in somebody's hands.
type gone struct {
	keys  map[string]goneKey
	looks map[*time.Time]struct{} // when those under way began
	swept time.Time
}

type goneKey struct {
	at   time.Time
	unit bool // with all that was below
}

const goneFor = time.Minute

func newGone() gone {
	return gone{keys: map[string]goneKey{}, looks: map[*time.Time]struct{}{}}
}

// began notes a look at the store that is under way, until end is called.
func (n *names) began() (start time.Time, end func()) {
	start = time.Now()
	at := &start
	n.mu.Lock()
	n.gone.looks[at] = struct{}{}
	n.mu.Unlock()
	return start, func() {
		n.mu.Lock()
		delete(n.gone.looks, at)
		n.mu.Unlock()
	}
}

// deleted notes that keys are no longer in the store, before their tombstones go. What
// ends in a slash is the object of a directory, which may have others in it.
func (n *names) deleted(unit bool, keys ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for _, key := range keys {
		key = strings.TrimSuffix(key, "/")
		n.gone.keys[key] = goneKey{now, unit || n.gone.keys[key].unit}
	}
	n.gone.sweep(now)
}

// sweep forgets what nobody can bring up any more.
func (g *gone) sweep(now time.Time) {
	if now.Sub(g.swept) < goneFor/4 {
		return
	}
	g.swept = now
	limit := now.Add(-goneFor)
	for at := range g.looks {
		if at.Before(limit) {
			limit = *at
		}
	}
	for key, k := range g.keys {
		if k.at.Before(limit) {
			delete(g.keys, key)
		}
	}
}

// isGone tells whether path was deleted after it was seen at the time of e. It is asked
// after the tombstones are: a path that has none any more is noted here.
func (n *names) isGone(path string, e *remoteEntry) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gone.covers(path, e)
}

func (g *gone) covers(path string, e *remoteEntry) bool {
	if len(g.keys) == 0 {
		return false
	}
	if k, ok := g.keys[path]; ok && k.at.UnixNano() >= e.seen {
		return true
	}
	for p := parent(path); p != ""; p = parent(p) {
		if k, ok := g.keys[p]; ok && k.unit && k.at.UnixNano() >= e.seen {
			return true
		}
	}
	return false
}

// dropFrom is without for a set. Callers hold mu.
func (g *gone) dropFrom(dir string, s *nameSet) {
	for key := range g.keys {
		if parent(key) != dir || key == "" {
			continue
		}
		if e, ok := s.get(base(key)); ok && g.covers(key, &e) {
			s.remove(base(key))
		}
	}
}

// without drops from an answer what was deleted since it was begun. Callers hold mu.
func (g *gone) without(dir string, entries map[string]remoteEntry) {
	if len(g.keys) == 0 {
		return
	}
	for name, e := range entries {
		if name != "" && g.covers(join(dir, name), &e) {
			delete(entries, name)
		}
	}
}
