package fusefs

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// guard stands between the kernel and go-fuse's bridge, for what must hold of every
// answer whichever code gave it.
type guard struct {
	fuse.RawFileSystem
	s *Server
}

// answerable is for the requests that the kernel never sends again after ENOSYS.
func answerable(status fuse.Status) fuse.Status {
	if status.Ok() {
		return status
	}
	return fuse.Status(presentable(syscall.Errno(status)))
}

func (g *guard) Flush(cancel <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	return answerable(g.RawFileSystem.Flush(cancel, in))
}

func (g *guard) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return answerable(g.RawFileSystem.Fsync(cancel, in))
}

func (g *guard) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return answerable(g.RawFileSystem.FsyncDir(cancel, in))
}

func (g *guard) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	return answerable(g.RawFileSystem.Fallocate(cancel, in))
}

func (g *guard) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	status := g.RawFileSystem.Open(cancel, in, out)
	if status.Ok() {
		g.s.backings.answer(out)
	}
	return answerable(status)
}

func (g *guard) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	status := g.RawFileSystem.Create(cancel, in, name, out)
	if status.Ok() {
		g.s.backings.answer(&out.OpenOut)
	}
	return answerable(status)
}

// fail turns err into the answer. What the program only sees as EIO is logged, as the
// words are lost otherwise; not more than once a second, as a failing disk or store
// fails every request.
func (s *Server) fail(op, path string, err error) syscall.Errno {
	errno := errnoOf(err)
	if errno != syscall.EIO {
		return errno
	}
	if ok, skipped := s.failures.allow(time.Now()); ok {
		s.log.Warn("request failed", "op", op, "path", path, "err", fmt.Sprint(err), "not_logged", skipped)
	}
	return errno
}

// limiter lets one event a second through and counts the others.
type limiter struct {
	last    atomic.Int64 // Unix seconds
	skipped atomic.Int64
}

func (l *limiter) allow(now time.Time) (ok bool, skipped int64) {
	last := l.last.Load()
	if now.Unix() <= last || !l.last.CompareAndSwap(last, now.Unix()) {
		l.skipped.Add(1)
		return false, 0
	}
	return true, l.skipped.Swap(0)
}
