package fusefs

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// handle is an open file. LoopbackFile does the I/O that passthrough leaves to us; the
// methods here are those that the cache has to know of, and those whose ENOSYS or
// privileges must not get through.
type handle struct {
	*fs.LoopbackFile
	Handle
	node     *Node
	below    inode  // which file File is
	opener   uint32 // task that opened it; 0 if it cannot be seen
	through  bool   // by passthrough, else cached
	direct   bool   // opened with O_DIRECT
	used     atomic.Bool
	waiting  waiting
	released sync.Once
}

type inode struct{ dev, ino uint64 }

// newHandle makes h an open file of the node, and returns the flags of the answer. An
// h that cannot be one is given back.
func (n *Node) newHandle(ctx context.Context, h Handle) (*handle, uint32, error) {
	f := &handle{LoopbackFile: fs.NewLoopbackFileFromOS(h.File()), Handle: h, node: n, opener: callerTask(ctx)}
	flags, err := f.enter()
	if err != nil {
		f.Release(context.Background())
		return nil, 0, err
	}
	n.s.handles.add(f)
	return f, flags, nil
}

func (h *handle) enter() (flags uint32, err error) {
	st, err := h.fstat()
	if err != nil {
		return 0, err
	}
	h.below = inode{st.Dev, st.Ino}
	return h.node.admit(h)
}

var _ = (fs.FilePassthroughFder)((*handle)(nil))

// PassthroughFd keeps go-fuse from giving out descriptors: admit does that.
func (h *handle) PassthroughFd() (int, bool) { return 0, false }

var _ = (fs.FileWriter)((*handle)(nil))

func (h *handle) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	defer h.Touched()
	return h.LoopbackFile.Write(ctx, data, off)
}

var _ = (fs.FileWritever)((*handle)(nil))

func (h *handle) Writev(ctx context.Context, data [][]byte, off int64) (uint32, syscall.Errno) {
	defer h.Touched()
	return h.LoopbackFile.Writev(ctx, data, off)
}

var _ = (fs.FileAllocater)((*handle)(nil))

func (h *handle) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	defer h.Touched()
	return h.LoopbackFile.Allocate(ctx, off, size, mode)
}

var _ = (fs.FileSetattrer)((*handle)(nil))

func (h *handle) Setattr(ctx context.Context, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	defer h.Touched()
	return h.LoopbackFile.Setattr(ctx, in, out)
}

var _ = (fs.FileFlusher)((*handle)(nil))

// Flush is close: what goes wrong now, the program learns. The file below is closed
// as well, by a duplicate: it may be on a file system that has errors to tell then.
func (h *handle) Flush(ctx context.Context) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	h.waiting.leave(ctx)
	// It duplicates the descriptor and closes that. With none left, nothing is wrong with the file.
	if errno := h.LoopbackFile.Flush(ctx); errno != 0 && errno != syscall.EMFILE && errno != syscall.ENFILE {
		return presentable(errno)
	}
	if h.CanTear() {
		h.Killed(killed(ctx))
		if foreign(h.opener, callerTask(ctx)) {
			return 0 // the program has not closed it
		}
	}
	return h.node.s.fail("close", h.Path(), h.Handle.Flush(ctx))
}

var _ = (fs.FileFsyncer)((*handle)(nil))

func (h *handle) Fsync(ctx context.Context, _ uint32) syscall.Errno {
	ctx, done := patient(ctx)
	defer done()
	return h.node.s.fail("fsync", h.Path(), h.Handle.Fsync(ctx))
}

var _ = (fs.FileReleaser)((*handle)(nil))

// Release is also called for what is open when the mount goes away: the kernel then
// drops the RELEASE requests that it has not sent yet.
//
// The cache learns of it last: it may put another file in place of one that is not open,
// and none such may then be counted among the node's.
func (h *handle) Release(ctx context.Context) (errno syscall.Errno) {
	h.released.Do(func() {
		h.node.s.handles.drop(h)
		errno = h.LoopbackFile.Release(ctx)
		h.node.dismiss(h)
		h.Released()
	})
	return errno // to the kernel, which drops it
}

// handles are the open files of a mount.
type handles struct {
	mu  sync.Mutex
	set map[*handle]struct{}
}

func (s *handles) add(h *handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = map[*handle]struct{}{}
	}
	s.set[h] = struct{}{}
}

func (s *handles) drop(h *handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, h)
}

func (s *handles) releaseAll() {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.set))
	s.mu.Unlock()
	for _, h := range all {
		h.Release(context.Background())
	}
}

var _ = (fs.FileIoctler)((*handle)(nil))

// Ioctl refuses: LoopbackFile would let a program reset flags or move blocks of the
// file system below, or shut it down, with the daemon's privileges.
func (h *handle) Ioctl(context.Context, uint32, uint64, []byte, []byte) (int32, syscall.Errno) {
	return 0, syscall.ENOTTY
}

func (h *handle) fstat() (st syscall.Stat_t, err error) {
	err = h.control(func(fd int) error { return syscall.Fstat(fd, &st) })
	return st, err
}

func (h *handle) truncate(size int64) error {
	defer h.Touched()
	return h.control(func(fd int) error { return syscall.Ftruncate(fd, size) })
}

// control calls f with the descriptor, which is not closed meanwhile.
func (h *handle) control(f func(fd int) error) error {
	conn, err := h.File().SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := conn.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}
