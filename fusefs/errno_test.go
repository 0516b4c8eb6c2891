package fusefs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/trainfs/trainfs/backend"
)

func isErrno(err error, want syscall.Errno) bool {
	var errno syscall.Errno
	return errors.As(err, &errno) && errno == want
}

func TestErrnoOf(t *testing.T) {
	store := func(kind, err error) error { return &backend.Error{Op: "put", Key: "k", Kind: kind, Err: err} }
	for _, c := range []struct {
		err  error
		want syscall.Errno
	}{
		{nil, 0},
		{syscall.ENOSPC, syscall.ENOSPC},
		{fmt.Errorf("close: %w", &os.PathError{Op: "open", Path: "p", Err: syscall.ENOTDIR}), syscall.ENOTDIR},
		{errors.New("what is this"), syscall.EIO},

		{context.Canceled, syscall.EINTR},
		{store(nil, context.Canceled), syscall.EINTR},
		{context.DeadlineExceeded, syscall.ETIMEDOUT},
		{os.ErrDeadlineExceeded, syscall.ETIMEDOUT},

		{fs.ErrNotExist, syscall.ENOENT},
		{fs.ErrExist, syscall.EEXIST},
		{fs.ErrPermission, syscall.EACCES},
		{syscall.EPERM, syscall.EPERM}, // is an fs.ErrPermission as well
		{fs.ErrInvalid, syscall.EINVAL},
		{fs.ErrClosed, syscall.EBADF},
		{errors.ErrUnsupported, syscall.EOPNOTSUPP},

		{store(backend.ErrNotExist, nil), syscall.ENOENT},
		{store(backend.ErrExist, nil), syscall.EEXIST},
		{store(backend.ErrChanged, nil), syscall.ESTALE},
		{store(backend.ErrDenied, nil), syscall.EACCES},
		{store(backend.ErrTooLarge, nil), syscall.EFBIG},
		{store(backend.ErrInvalidKey, nil), syscall.EINVAL},
		{store(backend.ErrChecksum, nil), syscall.EIO},
		{store(backend.ErrNoBucket, nil), syscall.EIO},
		{store(backend.ErrNoStage, nil), syscall.EIO},
		{store(backend.ErrConfig, nil), syscall.EIO},
		{store(backend.ErrDenied, syscall.ECONNRESET), syscall.EACCES},
		{store(nil, syscall.ECONNREFUSED), syscall.ECONNREFUSED},

		// What the kernel must never get.
		{syscall.ENOSYS, syscall.EIO},
		{fmt.Errorf("fsync: %w", syscall.ENOSYS), syscall.EIO},
		{syscall.Errno(0), syscall.EIO},
		{syscall.Errno(512), syscall.EIO}, // ERESTARTSYS
	} {
		if got := errnoOf(c.err); got != c.want {
			t.Errorf("%v: got %d (%v), want %d (%v)", c.err, got, got, c.want, c.want)
		}
	}
}

// answers is a file system that gives the same answer to everything that the kernel
// must not be told ENOSYS of.
type answers struct {
	fuse.RawFileSystem
	status fuse.Status
}

func (a answers) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status              { return a.status }
func (a answers) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status              { return a.status }
func (a answers) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status           { return a.status }
func (a answers) Fallocate(<-chan struct{}, *fuse.FallocateIn) fuse.Status      { return a.status }
func (a answers) Open(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status { return a.status }
func (a answers) Create(<-chan struct{}, *fuse.CreateIn, string, *fuse.CreateOut) fuse.Status {
	return a.status
}

func TestGuardLetsNoENOSYSOut(t *testing.T) {
	for _, c := range []struct{ from, want fuse.Status }{
		{fuse.ENOSYS, fuse.EIO},
		{fuse.ENOENT, fuse.ENOENT},
		{fuse.Status(syscall.EINTR), fuse.Status(syscall.EINTR)},
	} {
		g := &guard{answers{fuse.NewDefaultRawFileSystem(), c.from}, &Server{}}
		for op, got := range map[string]fuse.Status{
			"flush":     g.Flush(nil, nil),
			"fsync":     g.Fsync(nil, nil),
			"fsyncdir":  g.FsyncDir(nil, nil),
			"fallocate": g.Fallocate(nil, nil),
			"open":      g.Open(nil, nil, nil),
			"create":    g.Create(nil, nil, "", nil),
		} {
			if got != c.want {
				t.Errorf("%s: %v became %v, want %v", op, c.from, got, c.want)
			}
		}
	}
}
