package fusefs

import (
	"context"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// tell gives the kernel the attributes in st, under the node's own number.
func (n *Node) tell(st *syscall.Stat_t, out *fuse.Attr) {
	out.FromStat(st)
	out.Ino = n.StableAttr().Ino
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.told = *st
}

// recheck makes the kernel ask for the attributes again if the file that was just
// opened is not what it was told of: another node has published it anew, or programs
// have written to it past us. The kernel would go by the old size for the attribute
// timeout otherwise, and without passthrough cut off reads there.
//
// Offset -1 invalidates attributes only, which takes no lock that this request's
// caller could hold (fuse_reverse_inval_inode in the kernel's fs/fuse/inode.c).
func (n *Node) recheck(st *syscall.Stat_t) {
	n.mu.Lock()
	same := n.mu.told.Size == st.Size && n.mu.told.Mtim == st.Mtim
	n.mu.told = *st
	n.mu.Unlock()
	if !same && n.s.attrTimeout > 0 {
		_ = n.NotifyContent(-1, 0) // fails if the kernel has dropped the inode, and its attributes
	}
}

var _ = (fs.NodeGetattrer)((*Node)(nil))

// Getattr asks the open file if there is one, go-fuse passes any: that is exact, also
// for a file without a name. For anything else the path is asked; if another file has
// taken it, ESTALE makes the kernel look the name up again.
func (n *Node) Getattr(ctx context.Context, f fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	if h, ok := f.(*handle); ok {
		return n.fstat(ctx, h, out)
	}
	p, ok := n.path()
	if !ok {
		return n.lastStat(out)
	}
	info, err := n.s.vfs.Stat(ctx, p)
	if err != nil {
		return n.s.fail("stat", p, err)
	}
	if p != "" && stableAttr(&info) != n.StableAttr() {
		return syscall.ESTALE
	}
	n.tell(&info.Stat_t, &out.Attr)
	return 0
}

// lastStat answers for what is gone but still held, such as a process's current
// directory.
func (n *Node) lastStat(out *fuse.AttrOut) syscall.Errno {
	st := n.lastTold()
	if st.Mode == 0 {
		return syscall.ENOENT // nothing was ever told
	}
	st.Nlink = 0
	n.tell(&st, &out.Attr)
	return 0
}

func (n *Node) lastTold() syscall.Stat_t {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mu.told
}

func (n *Node) fstat(ctx context.Context, h *handle, out *fuse.AttrOut) syscall.Errno {
	st, err := h.stat(ctx)
	if err != nil {
		return n.s.fail("stat", h.Path(), err)
	}
	n.tell(&st, &out.Attr)
	return 0
}

var _ = (fs.NodeSetattrer)((*Node)(nil))

// Setattr goes through the cache by path, so that it knows; only ftruncate, for which
// the kernel names the open file, and a file that has no name left use the descriptor.
func (n *Node) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	h, _ := f.(*handle)
	p, ok := n.path()
	if !ok {
		if h == nil || !h.isWhole() {
			h = n.anyWhole()
		}
		if h == nil {
			return syscall.ENOENT
		}
		if errno := h.Setattr(ctx, in, out); errno != 0 {
			return errno
		}
		return n.fstat(ctx, h, out)
	}
	if errno := n.setattr(ctx, p, h, in); errno != 0 {
		return errno
	}
	return n.Getattr(ctx, f, out)
}

// setattr truncates before it sets times, so that a time that was given stays.
func (n *Node) setattr(ctx context.Context, p string, h *handle, in *fuse.SetAttrIn) syscall.Errno {
	if mode, ok := in.GetMode(); ok {
		if err := n.s.vfs.Chmod(ctx, p, mode&permBits); err != nil {
			return n.s.fail("chmod", p, err)
		}
	}
	if uid, gid, ok := ids(in); ok {
		if err := n.s.vfs.Chown(ctx, p, uid, gid); err != nil {
			return n.s.fail("chown", p, err)
		}
	}
	if size, ok := in.GetSize(); ok {
		if errno := n.truncate(ctx, p, h, int64(size)); errno != 0 {
			return errno
		}
	}
	if atime, mtime := times(in); atime != nil || mtime != nil {
		if err := n.s.vfs.Utimes(ctx, p, atime, mtime); err != nil {
			return n.s.fail("utimes", p, err)
		}
	}
	return 0
}

func (n *Node) truncate(ctx context.Context, p string, h *handle, size int64) syscall.Errno {
	if h != nil {
		return n.s.fail("truncate", p, h.truncate(size))
	}
	return n.s.fail("truncate", p, n.s.vfs.Truncate(ctx, p, size))
}

func ids(in *fuse.SetAttrIn) (uid, gid int, ok bool) {
	uid, gid = -1, -1
	if u, set := in.GetUID(); set {
		uid, ok = int(u), true
	}
	if g, set := in.GetGID(); set {
		gid, ok = int(g), true
	}
	return uid, gid, ok
}

func times(in *fuse.SetAttrIn) (atime, mtime *time.Time) {
	if t, ok := in.GetATime(); ok {
		atime = &t
	}
	if t, ok := in.GetMTime(); ok {
		mtime = &t
	}
	return atime, mtime
}
