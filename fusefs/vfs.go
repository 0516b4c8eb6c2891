package fusefs

import (
	"context"
	"os"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// VFS is what a mount shows: *[cache.Cache], for which H is *[cache.Handle].
//
// A path is relative to the root, has no "." or ".." or empty part, and "" is the root.
// It is where go-fuse last saw the file; it can be gone or taken by another by the time
// of the call, which is then answered for what is there, and never followed through a
// symbolic link.
//
// A context ends when the program is killed or interrupted with Ctrl-C, or the mount
// goes away; the operation then returns an error that wraps context.Canceled as soon as
// it can. It must not be used after the operation has returned, except through
// context.WithoutCancel. It has no deadline: what waits for a store sets its own.
//
// Errors wrap a syscall.Errno, an error of package io/fs, context or backend; errnoOf
// says what the program gets.
//
// The kernel has checked permissions, against the modes and owners in Info. Modes given
// have the program's umask applied: the process that serves the mount must have umask 0.
// A new file in a set-group-id directory takes the directory's group and not Owner's,
// and a new directory there is set-group-id as well.
type VFS[H Handle] interface {
	// Lookup and Stat answer for one name, which may be remote. Lookup is asked when
	// the kernel does not know the name, Stat when it wants the attributes anew.
	// Ident and Gen must be the same in both as long as it is the same file.
	Lookup(ctx context.Context, path string) (cache.Info, error)
	Stat(ctx context.Context, path string) (cache.Info, error)

	// ReadDir lists all names without "." and "..". Ino, where known, is Ident.
	ReadDir(ctx context.Context, path string) ([]cache.DirEntry, error)

	// Open opens a regular file. Flags are an access mode and any of O_TRUNC, O_SYNC and
	// O_DSYNC; with O_TRUNC nothing need be fetched. O_APPEND and O_DIRECT are the
	// kernel's business and never set.
	//
	// All handles of one Ident and Gen that are open at one time, until Released, are
	// of one inode below, whichever of them stream: the kernel keeps one set of pages
	// and one file for passthrough for them all. An open that would be of another
	// inode fails with ESTALE. Streaming handles can only be opened while none of the
	// others is open that was opened when all was here.
	Open(ctx context.Context, path string, flags int) (H, error)
	// Create makes a file and opens it; without O_EXCL it opens one that is there.
	Create(ctx context.Context, path string, flags int, mode uint32, o cache.Owner) (H, cache.Info, error)

	Mkdir(ctx context.Context, path string, mode uint32, o cache.Owner) (cache.Info, error)
	Mknod(ctx context.Context, path string, mode, rdev uint32, o cache.Owner) (cache.Info, error)
	Symlink(ctx context.Context, target, path string, o cache.Owner) (cache.Info, error)
	Readlink(ctx context.Context, path string) (string, error)
	// Link returns the Ident and Gen that oldpath has.
	Link(ctx context.Context, oldpath, newpath string) (cache.Info, error)
	Unlink(ctx context.Context, path string) error
	Rmdir(ctx context.Context, path string) error
	// Rename takes RENAME_NOREPLACE and RENAME_EXCHANGE.
	Rename(ctx context.Context, oldpath, newpath string, flags uint32) error

	// The following change a symbolic link itself, where that is possible.
	Chmod(ctx context.Context, path string, mode uint32) error
	Chown(ctx context.Context, path string, uid, gid int) error // -1: leave
	Truncate(ctx context.Context, path string, size int64) error
	Utimes(ctx context.Context, path string, atime, mtime *time.Time) error // nil: leave

	// As the system calls: an empty dest asks for the size.
	Getxattr(ctx context.Context, path, name string, dest []byte) (int, error)
	Setxattr(ctx context.Context, path, name string, data []byte, flags int) error
	Listxattr(ctx context.Context, path string, dest []byte) (int, error)
	Removexattr(ctx context.Context, path, name string) error

	Statfs(ctx context.Context) (syscall.Statfs_t, error)
	// SyncDir is fsync of a directory: its names are durable.
	SyncDir(ctx context.Context, path string) error

	State(ctx context.Context, path string) (cache.State, error)
	RequestCommit(ctx context.Context, path string) error
	// Dir is the cache directory, which is on the file system of the files that Open opens.
	Dir() string
}

// Handle is an open file of the cache.
type Handle interface {
	// File is the descriptor, opened as asked, of this handle alone. It is closed by
	// this package, before Released, and by nobody else.
	File() *os.File
	// Streaming says that the content was still being fetched when the file was opened,
	// for reading. It is so for the life of the handle. Data is read through ReadAt,
	// and size and times are those that Stat gives, which do not change as the rest
	// arrives; File is the file that it becomes.
	Streaming() bool
	// Wait waits for a range, and says whether File has it then.
	Wait(ctx context.Context, off int64, n int) (inFile bool, err error)
	// ReadAt reads, and waits for the range to arrive or ctx to end. It is short only
	// at the end of the file, where it gives 0 bytes and no error. What was changed
	// since all of it is here, it gives as changed.
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	// Path is where the file is now.
	Path() string
	// CanTear says that half of this file, taken for the whole, would mislead a reader. Then
	// Killed tells before each Flush whether it is a signal that closes the file.
	CanTear() bool
	Killed(yes bool)
	// Flush is called at every close of a descriptor, so more than once where a
	// descriptor was duplicated. Its error is what close returns. If CanTear, it is not
	// called when a child closes what it has inherited from a program that goes on.
	Flush(ctx context.Context) error
	// Fsync syncs the file to the disk, and as far as configured to the store.
	Fsync(ctx context.Context) error
	// Touched says that data was changed through the daemon. It is called for every
	// write and must cost next to nothing. With passthrough, writes are not seen.
	Touched()
	// Released says that the last descriptor is gone and File is closed.
	Released()
}

var _ VFS[*cache.Handle] = (*cache.Cache)(nil)

// vfs is VFS as the rest of this package uses it: Go's methods cannot return a narrower
// type than an interface asks for, so Mount wraps what it is given.
type vfs = VFS[Handle]

type erased[H Handle] struct{ VFS[H] }

func (e erased[H]) Open(ctx context.Context, path string, flags int) (Handle, error) {
	h, err := e.VFS.Open(ctx, path, flags)
	if err != nil {
		return nil, err // not a Handle that holds a nil pointer
	}
	return h, nil
}

func (e erased[H]) Create(ctx context.Context, path string, flags int, mode uint32, o cache.Owner) (Handle, cache.Info, error) {
	h, info, err := e.VFS.Create(ctx, path, flags, mode, o)
	if err != nil {
		return nil, cache.Info{}, err
	}
	return h, info, nil
}
