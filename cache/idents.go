package cache

import (
	"sync"
	"syscall"
)

// idents gives every file one identity for as long as the kernel may hold it: that
// of its inode in the tree, or, for a file that was shown while it was only remote,
// the number it was shown with, also after it has been fetched.
type idents struct {
	dev uint64

	mu     sync.RWMutex
	next   uint64
	remote map[string]uint64 // path -> identity it was shown with
	alias  map[uint64]uint64 // inode in the tree -> identity it was shown with
}

func (t *idents) init(dev uint64) {
	t.dev, t.next = dev, 1<<62
	t.remote, t.alias = map[string]uint64{}, map[uint64]uint64{}
}

// of is the identity of a file in the tree.
func (t *idents) of(st *syscall.Stat_t) uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if id, ok := t.alias[st.Ino]; ok {
		return id
	}
	return st.Ino
}

// ofRemote is the identity of a path that is only remote.
func (t *idents) ofRemote(path string) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	id, ok := t.remote[path]
	if !ok {
		t.next++
		id = t.next
		t.remote[path] = id
	}
	return id
}

// renew gives path, which is only remote, another identity from its next look-up on.
func (t *idents) renew(path string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.remote, path)
}

// fetched says that path has now the inode ino.
func (t *idents) fetched(path string, ino uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.remote[path]; ok {
		t.alias[ino] = id
		delete(t.remote, path)
	}
}

// evicted is the way back.
func (t *idents) evicted(path string, ino uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.alias[ino]; ok {
		t.remote[path] = id
		delete(t.alias, ino)
	}
}

// drop forgets path; its inode too, if that was its last name.
func (t *idents) drop(path string, st *syscall.Stat_t) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.remote, path)
	if st.Nlink <= 1 {
		delete(t.alias, st.Ino)
	}
}

// move follows a rename of what is only remote.
func (t *idents) move(old, new string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, id := range t.remote {
		if under(p, new) && !under(p, old) {
			delete(t.remote, p)
		}
		if under(p, old) {
			delete(t.remote, p)
			t.remote[new+p[len(old):]] = id
		}
	}
}
