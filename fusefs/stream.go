package fusefs

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// What is different for a handle whose content is still being fetched: the file below has
// holes, and neither its size nor its times are to be believed. What is not here is the
// same for all handles, or needs a handle that was opened for writing, which never streams.

var _ = (fs.FileReader)((*handle)(nil))

// Read must be right for all of the range or fail: the kernel takes a short read for the
// end of the file and cuts its size.
func (h *handle) Read(ctx context.Context, buf []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	h.node.settle(h)
	if !h.Streaming() {
		return h.LoopbackFile.Read(ctx, buf, off)
	}
	ctx, done := patient(ctx)
	defer done()
	if !h.direct {
		defer h.waiting.enter(ctx)()
	}
	inFile, err := h.Wait(ctx, off, len(buf))
	if err == nil && inFile { // from there it goes to the kernel without a copy
		return h.LoopbackFile.Read(ctx, buf, off)
	}
	var n int
	if err == nil {
		n, err = h.ReadAt(ctx, buf, off)
	}
	if err != nil {
		return nil, h.node.s.fail("read", h.Path(), err)
	}
	return fuse.ReadResultData(buf[:n]), 0
}

var _ = (fs.FileLseeker)((*handle)(nil))

// Lseek is only asked for data and holes. While the file is being fetched it has none of
// the latter, whatever is below: a copy would leave out what it takes for a hole.
func (h *handle) Lseek(ctx context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	if h.isWhole() {
		return h.LoopbackFile.Lseek(ctx, off, whence)
	}
	ctx, done := patient(ctx)
	defer done()
	st, err := h.stat(ctx)
	switch {
	case err != nil:
		return 0, h.node.s.fail("lseek", h.Path(), err)
	case off >= uint64(st.Size):
		return 0, syscall.ENXIO
	case whence == unix.SEEK_DATA:
		return off, 0
	case whence == unix.SEEK_HOLE:
		return uint64(st.Size), 0
	}
	return 0, syscall.EINVAL
}

// isWhole tells that the file below is all that there is to know: it was whole when h was
// opened, or some other open file of the node was.
func (h *handle) isWhole() bool {
	if !h.Streaming() {
		return true
	}
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	return h.node.mu.whole
}

// stat asks the cache, by name, for what is still being fetched. If the name is gone or
// cannot be asked for, what the kernel was told last still holds: nobody has written.
func (h *handle) stat(ctx context.Context) (syscall.Stat_t, error) {
	if h.isWhole() {
		return h.fstat()
	}
	n := h.node
	p, named := n.path()
	if named {
		info, err := n.s.vfs.Stat(ctx, p)
		if err == nil && stableAttr(&info) == n.StableAttr() {
			return info.Stat_t, nil
		}
		named = err != nil
	}
	st := n.lastTold()
	if !named {
		st.Nlink = 0
	}
	return st, nil
}

// waiting are the reads of a handle that may be waiting for their range.
//
// The kernel reads ahead in requests of its own, which no signal interrupts, and sends
// no RELEASE before they are answered. So a killed program, or one that closes the file
// early, would keep its download alive until all of the range is there. But a thread
// that closes is not in a read, nor is one that is gone: what they asked for can be given
// up. Whoever waits for the same pages, too, asks again. Not so with O_DIRECT, where the
// answer is the program's own, which may close while the kernel reads on its behalf.
type waiting struct {
	mu  sync.Mutex
	set map[*request]struct{}
}

func (w *waiting) enter(ctx context.Context) (leave func()) {
	r, ok := ctx.(*request)
	if !ok {
		return func() {}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		w.set = map[*request]struct{}{}
	}
	r.unwanted = make(chan struct{})
	w.set[r] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.set, r)
	}
}

// leave cancels what nobody waits for now that the thread of ctx closes the file.
func (w *waiting) leave(ctx context.Context) {
	closing, ok := ctx.(*request)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for r := range w.set {
		if r.Pid == closing.Pid || exited(r.Pid) {
			r.giveUp()
		}
	}
}

// exited tells that a thread is no more. Threads that cannot be seen, as they run outside
// of our process namespace, have no number.
func exited(tid uint32) bool {
	if tid == 0 {
		return false
	}
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(tid), 10) + "/status")
	return os.IsNotExist(err) || bytes.Contains(status, []byte("\nState:\tZ")) || bytes.Contains(status, []byte("\nState:\tX"))
}
