package fusefs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// permBits are what of a mode is passed on where the type is known.
const permBits = 0o7777

var _ = (fs.NodeMkdirer)((*Node)(nil))

func (n *Node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	p, errno := n.childPath(name)
	if errno != 0 {
		return nil, errno
	}
	info, err := n.s.vfs.Mkdir(ctx, p, mode&permBits, owner(ctx))
	if err != nil {
		return nil, n.s.fail("mkdir", p, err)
	}
	return n.newEntry(ctx, &info, out), 0
}

var _ = (fs.NodeMknoder)((*Node)(nil))

func (n *Node) Mknod(ctx context.Context, name string, mode, rdev uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	p, errno := n.childPath(name)
	if errno != 0 {
		return nil, errno
	}
	info, err := n.s.vfs.Mknod(ctx, p, mode, rdev, owner(ctx))
	if err != nil {
		return nil, n.s.fail("mknod", p, err)
	}
	return n.newEntry(ctx, &info, out), 0
}

var _ = (fs.NodeSymlinker)((*Node)(nil))

func (n *Node) Symlink(ctx context.Context, target, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	p, errno := n.childPath(name)
	if errno != 0 {
		return nil, errno
	}
	info, err := n.s.vfs.Symlink(ctx, target, p, owner(ctx))
	if err != nil {
		return nil, n.s.fail("symlink", p, err)
	}
	return n.newEntry(ctx, &info, out), 0
}

var _ = (fs.NodeLinker)((*Node)(nil))

func (n *Node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	old, ok := target.(*Node)
	if !ok {
		return nil, syscall.EXDEV
	}
	oldpath, ok := old.path()
	if !ok {
		return nil, syscall.ENOENT // as link(2) does for a file without a name
	}
	p, errno := n.childPath(name)
	if errno != 0 {
		return nil, errno
	}
	info, err := n.s.vfs.Link(ctx, oldpath, p)
	if err != nil {
		return nil, n.s.fail("link", p, err)
	}
	if old.StableAttr() == stableAttr(&info) {
		old.tell(&info.Stat_t, &out.Attr)
		return old.EmbeddedInode(), 0
	}
	return n.newEntry(ctx, &info, out), 0
}

var _ = (fs.NodeUnlinker)((*Node)(nil))

func (n *Node) Unlink(ctx context.Context, name string) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	p, errno := n.childPath(name)
	if errno != 0 {
		return errno
	}
	return n.s.fail("unlink", p, n.s.vfs.Unlink(ctx, p))
}

var _ = (fs.NodeRmdirer)((*Node)(nil))

func (n *Node) Rmdir(ctx context.Context, name string) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	p, errno := n.childPath(name)
	if errno != 0 {
		return errno
	}
	return n.s.fail("rmdir", p, n.s.vfs.Rmdir(ctx, p))
}

var _ = (fs.NodeRenamer)((*Node)(nil))

// Rename has no RENAME_WHITEOUT: only overlayfs asks for it, and it would leave a
// device file behind that go-fuse's tree does not know.
func (n *Node) Rename(ctx context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	dir, ok := newParent.(*Node)
	if !ok {
		return syscall.EXDEV
	}
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return syscall.EINVAL
	}
	from, errno := n.childPath(name)
	if errno != 0 {
		return errno
	}
	to, errno := dir.childPath(newName)
	if errno != 0 {
		return errno
	}
	return n.s.fail("rename", from, n.s.vfs.Rename(ctx, from, to, flags))
}
