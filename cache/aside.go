package cache

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// SetAside moves a unit whose history this node does not know, and which the store
// has otherwise, out of the tree (I6).
func (c *Cache) SetAside(u *Unit) (string, error) {
	to, err := c.setAside(u.Path)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	c.forget(u.Path)
	c.unaccount(u.Path)
	for p := range c.mu.unknown {
		if under(p, u.Path) {
			delete(c.mu.unknown, p)
		}
	}
	c.notify()
	c.mu.Unlock()
	c.names.forget(u.Path)
	return to, c.journal.write(del(tableSeal, u.Path))
}

// setAside moves a path from the tree to lost+found.
func (c *Cache) setAside(path string) (string, error) {
	name := strings.ReplaceAll(path, "/", "%2F")
	if most := 200; len(name) > most { // a name has at most 255 bytes
		name = name[len(name)-most:]
	}
	to := filepath.Join(c.dir, "lost+found", name+time.Now().UTC().Format(".20060102T150405.000000"))
	err := c.tree.at(path, func(dirfd int, last string) error {
		return unix.Renameat2(dirfd, last, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	})
	if err != nil {
		return "", fmt.Errorf("set aside %s: %w", path, err)
	}
	c.mu.Lock()
	c.mu.stats.lost++
	c.mu.Unlock()
	return to, nil
}
