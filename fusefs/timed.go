package fusefs

import (
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// timed tells how long each request took, for metrics. It stands in the way only when
// somebody asks for that. Requests that the kernel answers itself (passthrough, names and
// attributes that it keeps) do not come by here. Forget, locks and the like do no work
// worth timing and are passed on.
type timed struct {
	fuse.RawFileSystem
	observe func(op string, took time.Duration)
}

// Ops are the operations that Config.Observe is told of.
var Ops = []string{
	"lookup", "getattr", "setattr", "mknod", "mkdir", "unlink", "rmdir", "rename", "link", "symlink", "readlink",
	"getxattr", "setxattr", "create", "open", "read", "write", "release", "flush", "fsync", "fallocate",
	"opendir", "readdir", "fsyncdir", "statfs",
}

// since is deferred with the time at which the request came.
func (t *timed) since(op string, start time.Time) { t.observe(op, time.Since(start)) }

func (t *timed) Lookup(cancel <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	defer t.since("lookup", time.Now())
	return t.RawFileSystem.Lookup(cancel, h, name, out)
}

func (t *timed) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer t.since("getattr", time.Now())
	return t.RawFileSystem.GetAttr(cancel, in, out)
}

func (t *timed) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	defer t.since("setattr", time.Now())
	return t.RawFileSystem.SetAttr(cancel, in, out)
}

func (t *timed) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	defer t.since("mknod", time.Now())
	return t.RawFileSystem.Mknod(cancel, in, name, out)
}

func (t *timed) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	defer t.since("mkdir", time.Now())
	return t.RawFileSystem.Mkdir(cancel, in, name, out)
}

func (t *timed) Unlink(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	defer t.since("unlink", time.Now())
	return t.RawFileSystem.Unlink(cancel, h, name)
}

func (t *timed) Rmdir(cancel <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	defer t.since("rmdir", time.Now())
	return t.RawFileSystem.Rmdir(cancel, h, name)
}

func (t *timed) Rename(cancel <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	defer t.since("rename", time.Now())
	return t.RawFileSystem.Rename(cancel, in, from, to)
}

func (t *timed) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	defer t.since("link", time.Now())
	return t.RawFileSystem.Link(cancel, in, name, out)
}

func (t *timed) Symlink(cancel <-chan struct{}, h *fuse.InHeader, to, name string, out *fuse.EntryOut) fuse.Status {
	defer t.since("symlink", time.Now())
	return t.RawFileSystem.Symlink(cancel, h, to, name, out)
}

func (t *timed) Readlink(cancel <-chan struct{}, h *fuse.InHeader) ([]byte, fuse.Status) {
	defer t.since("readlink", time.Now())
	return t.RawFileSystem.Readlink(cancel, h)
}

func (t *timed) GetXAttr(cancel <-chan struct{}, h *fuse.InHeader, attr string, into []byte) (uint32, fuse.Status) {
	defer t.since("getxattr", time.Now())
	return t.RawFileSystem.GetXAttr(cancel, h, attr, into)
}

func (t *timed) SetXAttr(cancel <-chan struct{}, in *fuse.SetXAttrIn, attr string, data []byte) fuse.Status {
	defer t.since("setxattr", time.Now())
	return t.RawFileSystem.SetXAttr(cancel, in, attr, data)
}

func (t *timed) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	defer t.since("create", time.Now())
	return t.RawFileSystem.Create(cancel, in, name, out)
}

func (t *timed) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer t.since("open", time.Now())
	return t.RawFileSystem.Open(cancel, in, out)
}

func (t *timed) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	defer t.since("read", time.Now())
	return t.RawFileSystem.Read(cancel, in, buf)
}

func (t *timed) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	defer t.since("write", time.Now())
	return t.RawFileSystem.Write(cancel, in, data)
}

// Writev is tried before Write; where it is not implemented, Write counts.
func (t *timed) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	start := time.Now()
	n, status := t.RawFileSystem.Writev(cancel, in, data)
	if status != fuse.ENOSYS {
		t.since("write", start)
	}
	return n, status
}

func (t *timed) Release(cancel <-chan struct{}, in *fuse.ReleaseIn) {
	defer t.since("release", time.Now())
	t.RawFileSystem.Release(cancel, in)
}

func (t *timed) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	defer t.since("flush", time.Now())
	return t.RawFileSystem.Flush(cancel, in)
}

func (t *timed) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	defer t.since("fsync", time.Now())
	return t.RawFileSystem.Fsync(cancel, in)
}

func (t *timed) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	defer t.since("fallocate", time.Now())
	return t.RawFileSystem.Fallocate(cancel, in)
}

func (t *timed) OpenDir(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	defer t.since("opendir", time.Now())
	return t.RawFileSystem.OpenDir(cancel, in, out)
}

func (t *timed) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	defer t.since("readdir", time.Now())
	return t.RawFileSystem.ReadDir(cancel, in, out)
}

func (t *timed) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	defer t.since("fsyncdir", time.Now())
	return t.RawFileSystem.FsyncDir(cancel, in)
}

func (t *timed) StatFs(cancel <-chan struct{}, h *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	defer t.since("statfs", time.Now())
	return t.RawFileSystem.StatFs(cancel, h, out)
}
