package file

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// impliedAttr marks a directory that exists only because keys lie below.
const impliedAttr = "user.trainfs.implied"

// openAt opens name below dir, following no symlink and never leaving dir.
func openAt(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags) | unix.O_CLOEXEC,
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(int(dir.Fd()), name, &how)
		switch {
		case err == nil:
			// os calls lstat by this name where ReadDir is told no types.
			return os.NewFile(uintptr(fd), procPath(fd)), nil
		case !errors.Is(err, unix.EINTR):
			return nil, os.NewSyscallError("openat2", err)
		}
	}
}

// procPath names an open file itself, whatever its name has become. It serves the calls
// that take no descriptor, or none opened with O_PATH.
func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// split gives the directory of a key, "." for the root, and the name in it.
func split(key string) (dir, base string) {
	key = strings.TrimSuffix(key, "/")
	return path.Dir(key), path.Base(key)
}

func (s *Store) openDir(name string) (*os.File, error) {
	return openAt(s.root, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// makeDir opens a directory, making it and its parents where they are missing. Those it
// makes are marked as implied, and durable.
func (s *Store) makeDir(name string) (*os.File, error) {
	dir, err := s.openDir(name)
	if !errors.Is(err, unix.ENOENT) {
		return dir, err
	}
	parent, err := s.makeDir(path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	switch err := unix.Mkdirat(int(parent.Fd()), path.Base(name), s.dirMode); {
	case errors.Is(err, unix.EEXIST):
		return openAt(parent, path.Base(name), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	case err != nil:
		return nil, os.NewSyscallError("mkdirat", err)
	}
	dir, err = openAt(parent, path.Base(name), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	s.share(dir)
	setImplied(dir, true)
	if err := syncDir(parent); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// share gives what trainfs has made by itself to the group of the root, whose permissions
// it has. Where that is not allowed, the group has no part in it. An inherited set-group-id
// has done it already.
func (s *Store) share(f *os.File) {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) == nil && st.Gid != s.group {
		unix.Fchown(int(f.Fd()), -1, int(s.group))
	}
}

// setImplied ignores errors: they mean that the file system keeps no such attributes.
func setImplied(dir *os.File, implied bool) {
	if implied {
		unix.Fsetxattr(int(dir.Fd()), impliedAttr, []byte{'1'}, 0)
	} else {
		unix.Fremovexattr(int(dir.Fd()), impliedAttr)
	}
}

func isImplied(dir *os.File) bool {
	n, err := unix.Getxattr(procPath(int(dir.Fd())), impliedAttr, nil)
	return err == nil && n > 0
}

// syncDir makes the names in dir durable. A file system that cannot say so (EINVAL) has
// nothing to make durable.
func syncDir(dir *os.File) error {
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return nil
}

// inParent calls f with the directory of key, which is made where it is missing. A
// concurrent Delete may take an empty one away again before f has put anything into it:
// then f fails with ENOENT, and has another go.
func (s *Store) inParent(key string, f func(dir *os.File, base string) error) error {
	parent, base := split(key)
	var err error
	for range 100 {
		var dir *os.File
		if dir, err = s.makeDir(parent); err == nil {
			err = f(dir, base)
			if err == nil {
				err = syncDir(dir)
			}
			dir.Close()
		}
		if !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	return err
}
