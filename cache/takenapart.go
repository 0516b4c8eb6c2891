package cache

import "time"

// A checkpoint directory is removed in three steps, by rm -r as by pyarrow: it is listed, what
// the listing showed is removed, and then the directory. Another node may publish its part of
// that checkpoint in between. To the program the directory would not be empty, though it has
// removed all it was shown, and a job whose num_to_keep deletes a checkpoint would fail.
//
// A deletion takes the parts of all nodes. So what has come since the listing does not stand in
// the way of rmdir, if something in that directory has been removed here.
type takenApart struct {
	shown   map[string]struct{} // names
	at      time.Time           // of the last listing
	removed time.Time           // when something in the directory was last removed here
	gone    time.Time           // when the directory itself was
}

// takingApartTakes is for how long after its listing, and after each removal in it, a directory is
// being taken apart.
const takingApartTakes = time.Minute

// listed notes that a program has been shown dir, a checkpoint directory or one in it.
func (n *names) listed(dir string, entries []DirEntry) {
	shown := make(map[string]struct{}, len(entries))
	for _, e := range entries {
		shown[e.Name] = struct{}{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for d, t := range n.apart {
		if now.Sub(t.at) > takingApartTakes && now.Sub(t.removed) > takingApartTakes {
			delete(n.apart, d)
		}
	}
	t := &takenApart{shown: shown, at: now}
	if last := n.apart[dir]; last != nil {
		t.removed = last.removed
	}
	n.apart[dir] = t
}

// takenFrom notes that path has been removed here.
func (n *names) takenFrom(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if t := n.apart[parent(path)]; t != nil && now.Sub(later(t.at, t.removed)) <= takingApartTakes {
		t.removed = now
	}
	if t := n.apart[path]; t != nil {
		t.gone = now
	}
}

// cameSince tells whether path, in a directory that is being taken apart, is nothing that the
// program was shown, or a directory that it has removed since it was shown it.
func (n *names) cameSince(path string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.apart[parent(path)]
	if t == nil || time.Since(t.removed) > takingApartTakes {
		return false
	}
	if below := n.apart[path]; below != nil && below.gone.After(t.at) {
		return true
	}
	_, shown := t.shown[base(path)]
	return !shown
}
