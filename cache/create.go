package cache

import (
	"context"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache/killpoint"
)

// Create makes a file, or opens it as Open does if it is there and flags have no
// O_EXCL.
func (c *Cache) Create(ctx context.Context, path string, flags int, mode uint32, o Owner) (*Handle, Info, error) {
	if err := c.creating(ctx, path); err != nil {
		return nil, Info{}, err
	}
	// The kernel has just looked the name up, and with it the store: that is not asked again.
	if flags&unix.O_EXCL == 0 && c.tree.exists(path) {
		h, err := c.Open(ctx, path, flags&^unix.O_CREAT)
		return c.withInfo(h, err)
	}
	if err := c.admit(ctx); err != nil {
		return nil, Info{}, err
	}
	slot, err := c.opens.take(path)
	if err != nil {
		return nil, Info{}, err
	}
	killpoint.At(killpoint.CreateSlot)
	f, err := c.tree.create(path, flags|unix.O_EXCL, mode)
	if err != nil {
		c.opens.release(slot)
		return nil, Info{}, err
	}
	killpoint.At(killpoint.CreateFile)
	c.own(f, path, o)
	st, born, err := statx(int(f.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		f.Close()
		c.opens.release(slot)
		return nil, Info{}, err
	}
	c.opens.opened(slot, st.Ino)
	killpoint.At(killpoint.CreateInode)
	h := c.newHandle(f, path, flags, slot, st.Ino)
	return h, c.info(st, born), nil
}

func (c *Cache) withInfo(h *Handle, err error) (*Handle, Info, error) {
	if err != nil {
		return nil, Info{}, err
	}
	st, born, err := statx(int(h.file.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		h.file.Close()
		h.Released()
		return nil, Info{}, err
	}
	return h, c.info(st, born), nil
}

// own gives a new file to the program's user; its group is the directory's, if that
// is set-group-id.
func (c *Cache) own(f *os.File, path string, o Owner) {
	if os.Geteuid() == 0 && (o.UID != 0 || o.GID != 0) {
		unix.Fchown(int(f.Fd()), int(o.UID), c.groupFor(path, o))
	}
}

func (c *Cache) groupFor(path string, o Owner) int {
	if st, err := c.tree.lstat(parent(path)); err == nil && st.Mode&syscall.S_ISGID != 0 {
		return -1 // the kernel has set it
	}
	return int(o.GID)
}
