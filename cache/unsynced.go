package cache

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// unsynced are files that were fetched and that a power cut could empty, though by size
// and time they would look clean. Nobody who reads waits for a disk; so they are synced
// behind, one after the other. Until then w/INODE in the journal says that they are not to
// be trusted after a power cut. What gives such a file another name syncs it first: under
// that name its bytes could be the only ones.
type unsynced struct {
	c    *Cache
	wake chan struct{}

	mu    sync.Mutex
	paths map[uint64]string // by inode
}

func newUnsynced(c *Cache) *unsynced {
	return &unsynced{c: c, wake: make(chan struct{}, 1), paths: map[uint64]string{}}
}

// fetchedRecord names a fetched file that is not synced.
type fetchedRecord struct {
	Path string   `json:"path"`
	ID   Identity `json:"id"`
}

func inodeKey(ino uint64) string { return fmt.Sprintf("%016x", ino) }

// add takes a file whose w/ record is in the journal.
func (u *unsynced) add(path string, ino uint64) {
	u.mu.Lock()
	u.paths[ino] = path
	u.mu.Unlock()
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// loop syncs what there is until the cache is closed.
func (u *unsynced) loop() {
	defer u.c.loops.Done()
	for {
		ino, path := u.any()
		switch {
		case path == "":
			select {
			case <-u.wake:
			case <-u.c.stop:
				return
			}
			continue
		default:
			select {
			case <-u.c.stop:
				return
			default:
			}
		}
		if err := u.sync(ino, path); err != nil {
			u.c.log.Warn("a fetched file is not synced; a power cut would have it fetched again", "path", path, "err", err)
		}
	}
}

func (u *unsynced) any() (ino uint64, path string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for ino, path := range u.paths {
		return ino, path
	}
	return 0, ""
}

// sync puts one file on the disk, and takes it off the list whether that went well or not.
func (u *unsynced) sync(ino uint64, path string) error {
	defer func() {
		u.mu.Lock()
		delete(u.paths, ino)
		u.mu.Unlock()
	}()
	f, err := u.c.tree.open(path, unix.O_RDONLY)
	if isNotExist(err) {
		return u.c.journal.write(del(tableUnsynced, inodeKey(ino))) // evicted or deleted
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Ino == ino { // else it was replaced
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return u.c.journal.write(del(tableUnsynced, inodeKey(ino)))
}

// settle syncs what lies at and below path, before it gets another name.
func (u *unsynced) settle(path string) error {
	u.mu.Lock()
	now := map[uint64]string{}
	for ino, p := range u.paths {
		if under(p, path) {
			now[ino] = p
		}
	}
	u.mu.Unlock()
	for ino, p := range now {
		if err := u.sync(ino, p); err != nil {
			return err
		}
	}
	return nil
}
