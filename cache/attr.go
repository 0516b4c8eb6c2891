package cache

import (
	"context"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// change makes path local, changes it, and notes that it has changed.
func (c *Cache) change(ctx context.Context, path string, truncate bool, f func() error) error {
	if c.cfg.ReadOnly {
		return syscall.EROFS
	}
	err := c.onLocal(ctx, path, truncate, func() error {
		c.mu.Lock() // so that nobody takes the file away between the change and its note
		defer c.mu.Unlock()
		if err := f(); err != nil {
			return err
		}
		st, err := c.tree.lstat(path)
		if err != nil {
			return err
		}
		for _, p := range c.sharing(st.Ino, path) {
			c.touch(p, isDir(&st))
		}
		return nil
	})
	if err == nil {
		c.poke()
	}
	return err
}

// Chmod sets permission bits.
func (c *Cache) Chmod(ctx context.Context, path string, mode uint32) error {
	return c.change(ctx, path, false, func() error { return c.tree.chmod(path, mode&0o7777) })
}

// Chown sets the owner; -1 leaves it.
func (c *Cache) Chown(ctx context.Context, path string, uid, gid int) error {
	return c.change(ctx, path, false, func() error { return c.tree.chown(path, uid, gid) })
}

// Utimes sets what is not nil.
func (c *Cache) Utimes(ctx context.Context, path string, atime, mtime *time.Time) error {
	if mtime == nil && c.tree.exists(path) { // nothing that goes up
		return c.tree.utimes(path, atime, nil)
	}
	return c.change(ctx, path, false, func() error { return c.tree.utimes(path, atime, mtime) })
}

// Truncate sets the size. To zero, a remote file is not fetched first.
func (c *Cache) Truncate(ctx context.Context, path string, size int64) error {
	h, err := c.Open(ctx, path, unix.O_WRONLY|truncFlag(size))
	if err != nil {
		return err
	}
	defer h.Released()
	defer h.file.Close()
	return unix.Ftruncate(int(h.file.Fd()), size)
}

func truncFlag(size int64) int {
	if size == 0 {
		return unix.O_TRUNC
	}
	return 0
}

// Getxattr reads an extended attribute; they stay on this node.
func (c *Cache) Getxattr(ctx context.Context, path, name string, dest []byte) (n int, err error) {
	if !c.tree.exists(path) {
		return 0, syscall.ENODATA
	}
	err = c.xattr(path, func(p string) error {
		n, err = unix.Lgetxattr(p, name, dest)
		return err
	})
	return n, err
}

// Setxattr sets an extended attribute.
func (c *Cache) Setxattr(ctx context.Context, path, name string, data []byte, flags int) error {
	if c.cfg.ReadOnly {
		return syscall.EROFS
	}
	return c.onLocal(ctx, path, false, func() error {
		return c.xattr(path, func(p string) error { return unix.Lsetxattr(p, name, data, flags) })
	})
}

// Listxattr lists them.
func (c *Cache) Listxattr(ctx context.Context, path string, dest []byte) (n int, err error) {
	if !c.tree.exists(path) {
		return 0, nil
	}
	err = c.xattr(path, func(p string) error {
		n, err = unix.Llistxattr(p, dest)
		return err
	})
	return n, err
}

// Removexattr removes one.
func (c *Cache) Removexattr(ctx context.Context, path, name string) error {
	if c.cfg.ReadOnly {
		return syscall.EROFS
	}
	if !c.tree.exists(path) {
		return syscall.ENODATA
	}
	return c.xattr(path, func(p string) error { return unix.Lremovexattr(p, name) })
}

// xattr calls f with a name for path whose parent is a descriptor: these system calls
// have no form relative to one.
func (c *Cache) xattr(path string, f func(string) error) error {
	return c.tree.at(path, func(dirfd int, name string) error { return f(procFD(dirfd) + "/" + name) })
}

// Statfs describes the disk of the cache.
func (c *Cache) Statfs(ctx context.Context) (st syscall.Statfs_t, err error) {
	return st, syscall.Fstatfs(int(c.tree.root.Fd()), &st)
}

// SyncDir makes the names of a directory durable. For a checkpoint directory it also
// says that it is finished (commit signal 1), and with fsync=remote it waits.
func (c *Cache) SyncDir(ctx context.Context, path string) error {
	if err := c.tree.syncDir(path); err != nil {
		return err
	}
	if err := c.journal.durably(); err != nil { // what was renamed and deleted there
		return err
	}
	if c.cfg.Layout.Classify(path, true).Unit != path {
		return nil
	}
	c.signal(path)
	if c.cfg.FsyncRemote && c.committer != nil && !c.cfg.ReadOnly {
		return c.committer.CommitUnit(ctx, path)
	}
	return nil
}
