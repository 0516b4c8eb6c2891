package fusefs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links in a row the kernel follows, too.
const maxLinks = 40

// MountPointState is what there is where a mount is wanted.
type MountPointState int

// The states of a mount point. Only at a free one can be mounted right away.
const (
	MountPointFree         MountPointState = iota // an empty directory
	MountPointMissing                             // nothing
	MountPointNotDirectory                        // a file
	MountPointNotEmpty                            // a directory with something in it
	MountPointLive                                // a trainfs mount that answers
	MountPointStale                               // a trainfs mount whose daemon is gone
	MountPointOther                               // another file system is mounted
)

func (s MountPointState) String() string {
	switch s {
	case MountPointFree:
		return "free"
	case MountPointMissing:
		return "does not exist"
	case MountPointNotDirectory:
		return "not a directory"
	case MountPointNotEmpty:
		return "not empty"
	case MountPointLive:
		return "a trainfs mount"
	case MountPointStale:
		return "a trainfs mount whose daemon is gone"
	case MountPointOther:
		return "another file system's mount point"
	}
	return fmt.Sprintf("MountPointState(%d)", int(s))
}

// CheckMountPoint tells what is at path. It reads the table of mounts before it touches
// path, where a dead daemon's mount gives ENOTCONN.
func CheckMountPoint(path string) (MountPointState, error) {
	path, err := resolve(path)
	if errors.Is(err, os.ErrNotExist) {
		return MountPointMissing, nil
	}
	if err != nil {
		return 0, err
	}
	kind, mounted, err := mountedType(path)
	if err != nil {
		return 0, err
	}
	if mounted && kind != fsType {
		return MountPointOther, nil
	}
	var st unix.Stat_t
	err = unix.Lstat(path, &st)
	switch {
	case mounted && (errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)):
		return MountPointStale, nil
	case mounted: // also if it lets nobody in but another user
		return MountPointLive, nil
	case errors.Is(err, os.ErrNotExist):
		return MountPointMissing, nil
	case err != nil:
		return 0, &os.PathError{Op: "lstat", Path: path, Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return MountPointNotDirectory, nil
	}
	return emptiness(path)
}

func emptiness(dir string) (MountPointState, error) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return MountPointFree, nil
	}
	return MountPointNotEmpty, err
}

// resolve gives path as the table of mounts has it, absolute and without symbolic
// links, without a system call on a mount point itself.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	for range maxLinks {
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, filepath.Base(path))
		if _, mounted, err := mountedType(path); err != nil || mounted {
			return path, err
		}
		target, err := os.Readlink(path)
		if errors.Is(err, syscall.EINVAL) { // not a link
			return path, nil
		}
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		path = target
	}
	return "", &os.PathError{Op: "resolve", Path: path, Err: syscall.ELOOP}
}

// mountedType is the type of the file system that is mounted at path, the topmost.
func mountedType(path string) (kind string, mounted bool, err error) {
	mounts, err := mountsAt(path)
	if err != nil || len(mounts) == 0 {
		return "", false, err
	}
	return mounts[len(mounts)-1].FSType, true, nil
}

// mountsAt is what is mounted at path, the topmost last.
func mountsAt(path string) ([]*mountinfo.Info, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return m.Mountpoint != path, false
	})
	if err != nil {
		return nil, fmt.Errorf("table of mounts: %w", err)
	}
	return mounts, nil
}

// Unmount takes away the mount at path, whoever serves it. A lazy one vanishes from the
// tree at once and goes when its last user has gone.
func Unmount(path string, lazy bool) error {
	path, err := resolve(path)
	if err != nil {
		return err
	}
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	if err = unix.Unmount(path, flags); err == nil {
		return nil
	}
	if err != unix.EPERM {
		return &os.PathError{Op: "umount", Path: path, Err: err}
	}
	return helperUnmount(path, lazy)
}

// helperUnmount unmounts without privileges: fusermount3 lets a user take away what
// the same user has mounted.
func helperUnmount(path string, lazy bool) error {
	helper, err := exec.LookPath("fusermount3")
	if err != nil {
		if helper, err = exec.LookPath("fusermount"); err != nil {
			return fmt.Errorf("umount %s: neither root nor is fusermount3 (package fuse3) installed: %w", path, syscall.EPERM)
		}
	}
	args := []string{"-u"}
	if lazy {
		args = append(args, "-z")
	}
	out, err := exec.Command(helper, append(args, "--", path)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("umount %s: %s: %w", path, strings.TrimSpace(string(out)), err)
	}
	return nil
}
