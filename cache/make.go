package cache

import (
	"context"
	"os"
	"syscall"
	"unicode/utf8"

	"github.com/trainfs/trainfs/layout"
)

// text refuses what cannot be in a key, a manifest or the journal, all of which are UTF-8: a
// file of such a name could never be uploaded, and whoever makes it should know at once.
func text(s string) error {
	if !utf8.ValidString(s) {
		return syscall.EILSEQ
	}
	return nil
}

// creating checks that path may be made here, and makes its parent local.
func (c *Cache) creating(ctx context.Context, path string) error {
	if c.cfg.ReadOnly {
		return syscall.EROFS
	}
	if err := text(path); err != nil {
		return err
	}
	if c.cfg.Layout.Classify(path, false).Kind == layout.Internal {
		return syscall.EPERM // .trainfs is ours in the store
	}
	if err := c.shadow(ctx, parent(path)); err != nil {
		return err
	}
	c.names.created(parent(path))
	return c.freeSources(ctx, path)
}

// made finishes the making of a directory, link or special file.
func (c *Cache) made(path string, o Owner, dir bool) (Info, error) {
	if os.Geteuid() == 0 && (o.UID != 0 || o.GID != 0) {
		if err := c.tree.chown(path, int(o.UID), c.groupFor(path, o)); err != nil {
			return Info{}, err
		}
	}
	st, born, err := c.tree.info(path)
	if err != nil {
		return Info{}, err
	}
	c.touchPath(path, dir)
	return c.info(st, born), nil
}

// Mkdir makes a directory.
func (c *Cache) Mkdir(ctx context.Context, path string, mode uint32, o Owner) (Info, error) {
	if err := c.creating(ctx, path); err != nil {
		return Info{}, err
	}
	if err := c.tree.mkdir(path, mode); err != nil {
		return Info{}, err
	}
	c.names.born(path)
	return c.made(path, o, true)
}

// Mknod makes a special file, which stays local, or an empty regular one.
func (c *Cache) Mknod(ctx context.Context, path string, mode, rdev uint32, o Owner) (Info, error) {
	if err := c.creating(ctx, path); err != nil {
		return Info{}, err
	}
	if err := c.tree.mknod(path, mode, rdev); err != nil {
		return Info{}, err
	}
	return c.made(path, o, false)
}

// Symlink makes a symbolic link.
func (c *Cache) Symlink(ctx context.Context, target, path string, o Owner) (Info, error) {
	if err := text(target); err != nil { // it is the object's content, and in the manifest
		return Info{}, err
	}
	if err := c.creating(ctx, path); err != nil {
		return Info{}, err
	}
	if err := c.tree.symlink(target, path); err != nil {
		return Info{}, err
	}
	info, err := c.made(path, o, false)
	if err == nil && c.cfg.Layout.Classify(path, false).Kind == layout.Tracker {
		err = c.snapshotTrackerAt(path)
	}
	return info, err
}

// Readlink reads a symbolic link.
func (c *Cache) Readlink(ctx context.Context, path string) (target string, err error) {
	err = c.onLocal(ctx, path, false, func() (err error) {
		target, err = c.tree.readlink(path)
		return err
	})
	return target, err
}

// Link makes a hard link. The store gets two objects.
func (c *Cache) Link(ctx context.Context, old, new string) (Info, error) {
	if err := c.creating(ctx, new); err != nil {
		return Info{}, err
	}
	err := c.onLocal(ctx, old, false, func() error {
		if err := c.unsynced.settle(old); err != nil {
			return err
		}
		return c.tree.link(old, new)
	})
	if err != nil {
		return Info{}, err
	}
	st, err := c.tree.lstat(new)
	if err != nil {
		return Info{}, err
	}
	c.mu.Lock()
	c.linked(st.Ino, old)
	c.linked(st.Ino, new)
	c.mu.Unlock()
	return c.made(new, Owner{st.Uid, st.Gid}, false)
}

// linked notes one more name of an inode. Callers hold mu.
func (c *Cache) linked(ino uint64, path string) {
	if c.mu.links[ino] == nil {
		c.mu.links[ino] = map[string]bool{}
	}
	c.mu.links[ino][path] = true
}

// unlinked notes that a name of an inode is gone. Callers hold mu.
func (c *Cache) unlinked(ino uint64, path string) {
	if names := c.mu.links[ino]; names != nil {
		if delete(names, path); len(names) < 2 {
			delete(c.mu.links, ino)
		}
	}
}
