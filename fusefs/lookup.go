package fusefs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

var _ = (fs.NodeLookuper)((*Node)(nil))

// Lookup finds a name. READDIRPLUS is off, so that it is only called for names that a
// program really uses.
func (n *Node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	p, errno := n.childPath(name)
	if errno != 0 {
		return nil, errno
	}
	info, err := n.s.vfs.Lookup(ctx, p)
	if err != nil {
		return nil, n.s.fail("lookup", p, err)
	}
	return n.entry(ctx, name, &info, out), 0
}

var _ = (fs.NodeReadlinker)((*Node)(nil))

func (n *Node) Readlink(ctx context.Context) ([]byte, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	p, ok := n.path()
	if !ok {
		return nil, syscall.ENOENT
	}
	target, err := n.s.vfs.Readlink(ctx, p)
	if err != nil {
		return nil, n.s.fail("readlink", p, err)
	}
	return []byte(target), 0
}

var _ = (fs.NodeStatfser)((*Node)(nil))

func (n *Node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	st, err := n.s.vfs.Statfs(ctx)
	if err != nil {
		return n.s.fail("statfs", "", err)
	}
	out.FromStatfsT(&st)
	return 0
}
