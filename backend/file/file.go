// Package file is a [backend.Store] over a directory: a local one, or one that machines
// share, such as NFS.
//
// Objects are plain files, with their real modes, times and, as root, owners; symlinks
// are symlinks, and directory markers directories. What is staged lies in
// .trainfs/v1/staging below the root, which no key reaches and no listing shows, and is
// renamed into place; so the root must be one file system.
//
// A directory is a marker (it has an object "dir/") if somebody made it: trainfs by a Put
// of the marker, or any other program. Directories that trainfs made only because a key
// lies below carry the extended attribute user.trainfs.implied, are no objects, and vanish
// with their last key, as they would in S3. Where the file system keeps no extended
// attributes they cannot be told apart: every directory is then a marker, and stays until
// that marker is deleted, since removing what may be someone's own is worse than leaving
// an empty directory behind. A marker shows in List only while nothing else is in it.
//
// What trainfs makes without being told a mode (implied directories, all of .trainfs/,
// objects put with no Attr) is open to those to whom the root is open: it gets the root's
// permission bits and group as they were at Open. A umask narrows that further.
//
// No key and nothing found in the directory leads out of it: all paths are resolved
// below the root's descriptor by openat2, which refuses every symlink on the way.
//
// A context ends a call between two system calls; one that hangs, as on a hard NFS mount
// whose server is gone, returns when the kernel lets it.
//
// file imports backend and backend/crc32c.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// Store is a directory.
type Store struct {
	root *os.File
	// chown tells that this process may give files away.
	chown bool

	// What is made without an Attr gets these, of the root.
	dirMode, fileMode uint32
	group             uint32
}

var _ backend.Store = (*Store)(nil)

// Open opens the directory of loc, which must exist, and removes the temporary files of
// uploads that died long ago.
func Open(ctx context.Context, loc backend.Location) (*Store, error) {
	root, err := os.OpenFile(loc.Path(), unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		kind := backend.ErrNoBucket
		if errors.Is(err, fs.ErrPermission) {
			kind = backend.ErrDenied
		}
		return nil, fmt.Errorf("open storage path: %w: %w", kind, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		root.Close()
		return nil, fmt.Errorf("open storage path: %w", os.NewSyscallError("fstat", err))
	}
	s := &Store{
		root:  root,
		chown: os.Geteuid() == 0,
		// The maker owns them, and must be able to go on, whatever let it into the root.
		dirMode:  st.Mode&0o777 | 0o700,
		fileMode: st.Mode&0o666 | 0o600,
		group:    st.Gid,
	}
	s.sweep(ctx, staleAfter)
	return s, nil
}

func (s *Store) Capabilities() backend.Capabilities {
	return backend.Capabilities{
		MinPartSize:     1,
		MaxPartSize:     5 << 30,
		MaxParts:        10_000,
		MaxSize:         16 << 40, // ext4's; a smaller file system says EFBIG
		ConditionalPut:  true,
		KeepsAttrInList: true,
	}
}

func (s *Store) Close() error { return s.root.Close() }

// check is what every call on a key begins with.
func check(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: op, Key: key, Err: err}
	}
	if err := backend.CheckKey(op, key); err != nil {
		return err
	}
	if reserved(key) {
		return &backend.Error{Op: op, Key: key, Kind: backend.ErrInvalidKey, Err: errors.New("reserved for staging")}
	}
	return nil
}

// reserved tells that key is the staging directory or in it.
func reserved(key string) bool { return strings.HasPrefix(key+"/", stagingDir+"/") }

// kinds says what an errno means; what is not in it may heal (a full disk, a stale handle).
var kinds = map[error]error{
	unix.EACCES:       backend.ErrDenied,
	unix.EPERM:        backend.ErrDenied,
	unix.EROFS:        backend.ErrDenied,
	unix.ENAMETOOLONG: backend.ErrInvalidKey,
	unix.EILSEQ:       backend.ErrInvalidKey,
	unix.ENOTDIR:      backend.ErrInvalidKey, // a key below a file
	unix.EISDIR:       backend.ErrInvalidKey, // a file where a directory is
	unix.ELOOP:        backend.ErrInvalidKey, // a key below a symlink
	unix.EFBIG:        backend.ErrTooLarge,
}

// fail makes a store's error of a system call's, unless it is one already.
func fail(op, key string, err error) error {
	var already *backend.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	for errno, kind := range kinds {
		if errors.Is(err, errno) {
			return &backend.Error{Op: op, Key: key, Kind: kind, Err: err}
		}
	}
	for _, kind := range []error{backend.ErrChecksum, backend.ErrNoStage, backend.ErrExist, backend.ErrNotExist} {
		if errors.Is(err, kind) {
			return &backend.Error{Op: op, Key: key, Kind: kind, Err: err}
		}
	}
	return &backend.Error{Op: op, Key: key, Err: err}
}

// missing tells that nothing of that name can be found: neither it nor, as a directory,
// what should lead to it.
func missing(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
