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
	removed bool                // something in the directory has been removed of late
	gone    bool                // the directory itself
}

// takingApartTakes is for how long after its listing a directory may be taken apart.
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
		if now.Sub(t.at) > takingApartTakes {
			delete(n.apart, d)
		}
	}
	last := n.apart[dir]
	n.apart[dir] = &takenApart{shown: shown, at: now, removed: last != nil && last.removed}
}

// takenFrom notes that path has been removed here.
func (n *names) takenFrom(path string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if t := n.apart[parent(path)]; t != nil {
		t.removed = true
	}
	if t := n.apart[path]; t != nil {
		t.gone = true
	}
}

// cameSince tells whether path, in a directory that is being taken apart, is nothing that the
// program was shown, or a directory in it that it has removed.
func (n *names) cameSince(path string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.apart[parent(path)]
	if t == nil || !t.removed || time.Since(t.at) > takingApartTakes {
		return false
	}
	if below := n.apart[path]; below != nil && below.gone {
		return true
	}
	_, shown := t.shown[base(path)]
	return !shown
}
