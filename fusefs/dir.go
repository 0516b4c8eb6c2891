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
	node    *Node
	entries []fuse.DirEntry
	listed  bool
	next    int
}

var _ = (fs.NodeOpendirHandler)((*Node)(nil))

// OpendirHandle does nothing that could take time: a directory is also opened for
// its fsync or to be the current one.
func (n *Node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return &dirHandle{node: n}, 0, 0
}

func (d *dirHandle) list(ctx context.Context) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	p, ok := d.node.path()
	if !ok {
		d.entries, d.listed = nil, true // removed: empty, as on a local disk
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
	d.entries = make([]fuse.DirEntry, 0, len(list)+2)
	d.add(cache.DirEntry{Name: ".", Type: syscall.S_IFDIR, Ino: self})
	d.add(cache.DirEntry{Name: "..", Type: syscall.S_IFDIR, Ino: above})
	for _, e := range list {
		d.add(e)
	}
	d.listed = true
	return 0
}

// add gives the entry an offset that stands for the place behind it, as d_off does.
func (d *dirHandle) add(e cache.DirEntry) {
	if e.Ino == 0 {
		e.Ino = unknownIno
	}
	d.entries = append(d.entries, fuse.DirEntry{
		Name: e.Name, Mode: e.Type, Ino: e.Ino, Off: uint64(len(d.entries) + 1),
	})
}

var _ = (fs.FileReaddirenter)((*dirHandle)(nil))

func (d *dirHandle) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if !d.listed {
		if errno := d.list(ctx); errno != 0 {
			return nil, errno
		}
	}
	if d.next >= len(d.entries) {
		return nil, 0
	}
	e := d.entries[d.next]
	d.next++
	return &e, 0
}

var _ = (fs.FileSeekdirer)((*dirHandle)(nil))

func (d *dirHandle) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	if off == 0 || !d.listed {
		if errno := d.list(ctx); errno != 0 {
			return errno
		}
	}
	if off > uint64(len(d.entries)) {
		return syscall.EINVAL
	}
	d.next = int(off)
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
