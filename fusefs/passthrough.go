package fusefs

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// passthrough is whether files of this mount bypass the daemon: why not, or nil. Which
// of them then do, iomode.go decides.
type passthrough struct{ whyNot atomic.Pointer[string] }

func (p *passthrough) off(why string) { p.whyNot.Store(&why) }

// Passthrough tells whether reads and writes bypass the daemon, and if not, why.
func (s *Server) Passthrough() (bool, string) {
	if why := s.passthrough.whyNot.Load(); why != nil {
		return false, *why
	}
	return true, ""
}

// decide settles it before the first request. That the kernel offers passthrough says
// nothing about privileges and the cache's file system, so one file is tried: go-fuse
// would find out at the first open, and tell nobody.
func (p *passthrough) decide(s *Server, cfg Config) {
	if !cfg.Passthrough {
		p.off("switched off")
		return
	}
	// KernelSettings is what the kernel offered; what was granted is the part of it that
	// was asked for.
	if s.fuse.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH == 0 {
		p.off("the kernel has no FUSE passthrough (Linux 6.9 has)")
		return
	}
	if err := p.try(s); err != nil {
		p.off(explainBacking(err))
	}
}

func (p *passthrough) try(s *Server) error {
	f, err := probeFile(s.vfs.Dir())
	if err != nil {
		return err
	}
	defer f.Close()
	id, errno := s.fuse.RegisterBackingFd(&fuse.BackingMap{Fd: int32(f.Fd())})
	if errno != 0 {
		return errno
	}
	if errno := s.fuse.UnregisterBackingFd(id); errno != 0 {
		return errno
	}
	return nil
}

// probeFile is a regular file in dir that nobody sees, or only for a moment where the
// file system has no O_TMPFILE.
func probeFile(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR, 0o600)
	if err == nil {
		return f, nil
	}
	if f, err = os.CreateTemp(dir, ".passthrough-*"); err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func explainBacking(err error) string {
	switch {
	case errors.Is(err, syscall.EPERM):
		return "it needs CAP_SYS_ADMIN"
	case errors.Is(err, syscall.ELOOP):
		return "the cache directory's file system is stacked on too many others"
	case errors.Is(err, syscall.EOPNOTSUPP), errors.Is(err, syscall.ENOTTY), errors.Is(err, syscall.EINVAL):
		return fmt.Sprintf("the cache directory's file system does not do it: %v", err)
	}
	return fmt.Sprintf("trying it failed: %v", err)
}

// lost gives passthrough up, for the files that are not open by it: the kernel has
// refused one, which the trial has made unlikely.
func (p *passthrough) lost(s *Server, err error) {
	why := "the kernel refused a file while mounted: " + explainBacking(err)
	if p.whyNot.CompareAndSwap(nil, &why) {
		s.log.Warn("passthrough lost: reads and writes go through the daemon now", "err", why)
	}
}
