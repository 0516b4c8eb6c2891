package fusefs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/trainfs/trainfs/cache"
)

// unknownIno is what libfuse gives for a number that only a lookup would tell. Zero
// would make readdir(3) skip the name.
const unknownIno = 0xffffffff

// dirHandle is an open directory. It lists at the first read, and again when it is
// rewound; between these its offsets stand for the same names. go-fuse calls the
// methods of a listing under a lock.
type dirHandle struct {
	node   *Node
	self   [2]cache.DirEntry // "." and ".."
	list   []cache.DirEntry  // kept as it comes: there may be a million
	listed bool
	gone   bool // there is nothing to list
	next   uint64
}

var _ = (fs.NodeOpendirHandler)((*Node)(nil))

// OpendirHandle does nothing that could take time: a directory is also opened for
// its fsync or to be the current one.
func (n *Node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return &dirHandle{node: n}, 0, 0
}

func (d *dirHandle) read(ctx context.Context) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	p, ok := d.node.path()
	if !ok {
		d.list, d.gone, d.listed = nil, true, true // removed: empty, as on a local disk
		return 0
	}
	list, err := d.node.s.vfs.ReadDir(ctx, p)
	if err != nil {
		return d.node.s.fail("readdir", p, err)
	}
	self, above := d.node.StableAttr().Ino, d.node.StableAttr().Ino
	if _, parent := d.node.Parent(); parent != nil {
		above = parent.StableAttr().Ino
	}
	d.self[0] = cache.DirEntry{Name: ".", Type: syscall.S_IFDIR, Ino: self}
	d.self[1] = cache.DirEntry{Name: "..", Type: syscall.S_IFDIR, Ino: above}
	d.list, d.gone, d.listed = list, false, true
	return 0
}

// len is how many names there are, with "." and "..".
func (d *dirHandle) len() uint64 {
	if d.gone {
		return 0
	}
	return uint64(len(d.self) + len(d.list))
}

// at gives an entry; its offset stands for the place behind it, as d_off does.
func (d *dirHandle) at(i uint64) *fuse.DirEntry {
	e := &d.self[min(i, 1)]
	if n := uint64(len(d.self)); i >= n {
		e = &d.list[i-n]
	}
	out := &fuse.DirEntry{Name: e.Name, Mode: e.Type, Ino: e.Ino, Off: i + 1}
	if out.Ino == 0 {
		out.Ino = unknownIno
	}
	return out
}

var _ = (fs.FileReaddirenter)((*dirHandle)(nil))

func (d *dirHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if !d.listed {
		if errno := d.read(ctx); errno != 0 {
			return nil, errno
		}
	}
	if d.next >= d.len() {
		return nil, 0
	}
	d.next++
	return d.at(d.next - 1), 0
}

var _ = (fs.FileSeekdirer)((*dirHandle)(nil))

func (d *dirHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	if off == 0 || !d.listed {
		if errno := d.read(ctx); errno != 0 {
			return errno
		}
	}
	if off > d.len() {
		return syscall.EINVAL
	}
	d.next = off
	return 0
}

var _ = (fs.FileFsyncdirer)((*dirHandle)(nil))

func (d *dirHandle) Fsyncdir(ctx context.Context, _ uint32) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	p, ok := d.node.path()
	if !ok {
		return 0 // nothing left that could be lost
	}
	return d.node.s.fail("fsync", p, d.node.s.vfs.SyncDir(ctx, p))
}
