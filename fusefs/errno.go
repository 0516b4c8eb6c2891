package fusefs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/trainfs/trainfs/backend"
)

// errnos maps errors to what the program sees, the first match wins. What the store
// says comes first: it may wrap a system error of the connection, which says less.
var errnos = []struct {
	err   error
	errno syscall.Errno
}{
	{context.Canceled, syscall.EINTR},
	{backend.ErrNotExist, syscall.ENOENT},
	{backend.ErrExist, syscall.EEXIST},
	{backend.ErrDenied, syscall.EACCES},
	{backend.ErrTooLarge, syscall.EFBIG},
	{backend.ErrInvalidKey, syscall.EINVAL},
	// The file was replaced while it was read: opening it again gives the new one.
	{backend.ErrChanged, syscall.ESTALE},
	// A checksum, a bucket or a configuration that is wrong is nothing that a program
	// could react to by its errno; status and log have the words.
	{backend.ErrChecksum, syscall.EIO},
	{backend.ErrNoBucket, syscall.EIO},
	{backend.ErrNoStage, syscall.EIO},
	{backend.ErrConfig, syscall.EIO},
}

// ioErrnos comes after a syscall.Errno was looked for, which is more precise.
var ioErrnos = []struct {
	err   error
	errno syscall.Errno
}{
	// Also os.ErrDeadlineExceeded. A time limit of ours, not the caller's: the store
	// did not answer in time. Programs know ETIMEDOUT from network file systems.
	{context.DeadlineExceeded, syscall.ETIMEDOUT},
	{os.ErrDeadlineExceeded, syscall.ETIMEDOUT},
	{fs.ErrNotExist, syscall.ENOENT},
	{fs.ErrExist, syscall.EEXIST},
	{fs.ErrPermission, syscall.EACCES},
	{fs.ErrInvalid, syscall.EINVAL},
	{fs.ErrClosed, syscall.EBADF},
	{errors.ErrUnsupported, syscall.EOPNOTSUPP},
}

// errnoOf is the one place where an error becomes an errno. What it does not know is
// EIO. It never returns ENOSYS, which the kernel would take as "never ask again".
func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	for _, m := range errnos {
		if errors.Is(err, m.err) {
			return m.errno
		}
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return presentable(errno)
	}
	for _, m := range ioErrnos {
		if errors.Is(err, m.err) {
			return m.errno
		}
	}
	return syscall.EIO
}

// presentable keeps from the kernel what it would misunderstand: ENOSYS, an error
// that is none, and the kernel's internal numbers from 512, for which it would refuse the
// answer and let the program hang.
func presentable(errno syscall.Errno) syscall.Errno {
	if errno == 0 || errno == syscall.ENOSYS || errno >= 512 {
		return syscall.EIO
	}
	return errno
}
