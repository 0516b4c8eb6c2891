package fusefs

import (
	"context"
	"errors"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// openFlags are what the cache gets of a program's flags. Not O_APPEND: the kernel
// sends an append with its offset, and a descriptor that appends would ignore it. Not
// O_DIRECT: go-fuse's buffers need not be aligned for the disk, and for passthrough the
// kernel opens the file below anew with the program's flags (fuse_passthrough_open).
func openFlags(flags uint32) int {
	return int(flags & (unix.O_ACCMODE | unix.O_TRUNC | unix.O_EXCL | unix.O_SYNC | unix.O_DSYNC))
}

var _ = (fs.NodeOpener)((*Node)(nil))

func (n *Node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	p, ok := n.path()
	if !ok {
		return nil, 0, syscall.ENOENT
	}
	f, answer, errno := n.open(ctx, p, openFlags(flags))
	if errno != 0 {
		return nil, 0, errno
	}
	f.direct = flags&unix.O_DIRECT != 0
	if f.through && flags&(unix.O_ACCMODE|unix.O_TRUNC) == unix.O_RDONLY {
		answer |= fuse.FOPEN_NOFLUSH // nothing can be wrong with its close, which so need not wait for us
	}
	if flags&unix.O_TRUNC == 0 { // else the kernel sets the size itself
		if st, err := f.stat(ctx); err == nil {
			n.recheck(&st)
		}
	}
	return f, answer, 0
}

// open tries a second time if the file has arrived between the cache's open of it as one
// that is still being fetched and now, and another open, of the whole, was quicker.
func (n *Node) open(ctx context.Context, p string, flags int) (*handle, uint32, syscall.Errno) {
	for again := true; ; again = false {
		h, err := n.s.vfs.Open(ctx, p, flags)
		if err != nil {
			return nil, 0, n.s.fail("open", p, err)
		}
		f, answer, err := n.newHandle(ctx, h)
		if err == nil {
			return f, answer, 0
		}
		if !again || !errors.Is(err, errTwoModes) {
			return nil, 0, n.clash(ctx, p, err)
		}
	}
}

var _ = (fs.NodeCreater)((*Node)(nil))

func (n *Node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	ctx, done := patient(ctx)
	defer done()
	p, errno := n.childPath(name)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	h, info, err := n.s.vfs.Create(ctx, p, openFlags(flags), mode&permBits, owner(ctx))
	if err != nil {
		return nil, nil, 0, n.s.fail("create", p, err)
	}
	child := n.newEntry(ctx, &info, out)
	node := child.Operations().(*Node)
	f, answer, err := node.newHandle(ctx, h)
	if err != nil {
		return nil, nil, 0, node.clash(ctx, p, err)
	}
	f.direct = flags&unix.O_DIRECT != 0
	return child, f, answer, 0
}

var _ = (fs.NodeCopyFileRanger)((*Node)(nil))

// CopyFileRange has the kernel copy by reading what is still being fetched: the file
// below has holes.
func (n *Node) CopyFileRange(_ context.Context, in fs.FileHandle, offIn uint64, _ *fs.Inode, out fs.FileHandle, offOut, size, flags uint64) (uint32, syscall.Errno) {
	from, ok := in.(*handle)
	if !ok {
		return 0, syscall.EXDEV // the kernel copies itself then
	}
	to, ok := out.(*handle)
	if !ok {
		return 0, syscall.EXDEV
	}
	if !from.isWhole() {
		return 0, syscall.EXDEV
	}
	defer to.Touched()
	offsets := [2]int64{int64(offIn), int64(offOut)}
	var count int
	err := from.control(func(rfd int) error {
		return to.control(func(wfd int) (err error) {
			count, err = unix.CopyFileRange(rfd, &offsets[0], wfd, &offsets[1], int(size), int(flags))
			return err
		})
	})
	if err != nil {
		return 0, n.s.fail("copy_file_range", to.Path(), err)
	}
	return uint32(count), 0
}
