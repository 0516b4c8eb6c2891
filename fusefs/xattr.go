package fusefs

import (
	"bytes"
	"context"
	"strings"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// Extended attributes that are answered here, not stored. They are not listed:
// what copies all attributes of a file (cp -a, rsync -X) would try to set them.
const (
	xattrPrefix  = "user.trainfs."
	XattrState   = xattrPrefix + "state"   // get: the path's state
	XattrCommit  = xattrPrefix + "commit"  // set to "1": commit now
	XattrControl = xattrPrefix + "control" // get: the cache directory, for the mounting user and root
)

// unsupported says that an attribute is none of ours: access control lists, which
// the kernel would have to enforce, and file capabilities, on a mount that is nosuid.
func unsupported(name string) bool {
	return strings.HasPrefix(name, "system.posix_acl_") || name == "security.capability"
}

var _ = (fs.NodeGetxattrer)((*Node)(nil))

func (n *Node) Getxattr(ctx context.Context, name string, dest []byte) (uint32, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	if unsupported(name) {
		return 0, syscall.ENODATA
	}
	p, ok := n.path()
	if !ok {
		return 0, syscall.ENOENT
	}
	if strings.HasPrefix(name, xattrPrefix) {
		return n.ownXattr(ctx, p, name, dest)
	}
	size, err := n.s.vfs.Getxattr(ctx, p, name, dest)
	return uint32(max(size, 0)), n.s.fail("getxattr", p, err)
}

func (n *Node) ownXattr(ctx context.Context, p, name string, dest []byte) (uint32, syscall.Errno) {
	switch name {
	case XattrState:
		state, err := n.s.vfs.State(ctx, p)
		if err != nil {
			return 0, n.s.fail("state", p, err)
		}
		return copyXattr(dest, []byte(state))
	case XattrControl:
		caller, ok := fuse.FromContext(ctx)
		if !ok || (caller.Uid != 0 && caller.Uid != n.s.uid) {
			return 0, syscall.EACCES
		}
		return copyXattr(dest, []byte(n.s.vfs.Dir()))
	}
	return 0, syscall.ENODATA
}

// copyXattr answers with value as getxattr(2) does; go-fuse turns ERANGE for an
// empty dest into the size.
func copyXattr(dest, value []byte) (uint32, syscall.Errno) {
	if len(dest) < len(value) {
		return uint32(len(value)), syscall.ERANGE
	}
	return uint32(copy(dest, value)), 0
}

var _ = (fs.NodeSetxattrer)((*Node)(nil))

func (n *Node) Setxattr(ctx context.Context, name string, data []byte, flags uint32) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	if unsupported(name) {
		return syscall.EOPNOTSUPP
	}
	p, ok := n.path()
	if !ok {
		return syscall.ENOENT
	}
	switch {
	case name == XattrCommit && string(data) == "1":
		return n.s.fail("commit", p, n.s.vfs.RequestCommit(ctx, p))
	case name == XattrCommit:
		return syscall.EINVAL
	case strings.HasPrefix(name, xattrPrefix):
		return syscall.EPERM
	}
	return n.s.fail("setxattr", p, n.s.vfs.Setxattr(ctx, p, name, data, int(flags)))
}

var _ = (fs.NodeListxattrer)((*Node)(nil))

// Listxattr leaves out our own names, should the files below carry such.
func (n *Node) Listxattr(ctx context.Context, dest []byte) (uint32, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	p, ok := n.path()
	if !ok {
		return 0, syscall.ENOENT
	}
	size, err := n.s.vfs.Listxattr(ctx, p, nil)
	if err != nil || size <= 0 {
		return 0, n.s.fail("listxattr", p, err)
	}
	all := make([]byte, size)
	size, err = n.s.vfs.Listxattr(ctx, p, all)
	if err != nil {
		return 0, n.s.fail("listxattr", p, err)
	}
	var shown []byte
	for name := range bytes.SplitAfterSeq(all[:max(size, 0)], []byte{0}) {
		if s := string(bytes.TrimSuffix(name, []byte{0})); !unsupported(s) && !strings.HasPrefix(s, xattrPrefix) {
			shown = append(shown, name...)
		}
	}
	return copyXattr(dest, shown)
}

var _ = (fs.NodeRemovexattrer)((*Node)(nil))

func (n *Node) Removexattr(ctx context.Context, name string) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	switch {
	case unsupported(name): // ENODATA would be news to what copies access control lists
		return syscall.EOPNOTSUPP
	case strings.HasPrefix(name, xattrPrefix):
		return syscall.ENODATA
	}
	p, ok := n.path()
	if !ok {
		return syscall.ENOENT
	}
	return n.s.fail("removexattr", p, n.s.vfs.Removexattr(ctx, p, name))
}
