package cache

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tree is the local namespace: plain files below one directory. Every operation
// resolves the parent with openat2 relative to the root's descriptor, refusing
// symbolic links and "..", and then works on the last name alone: whatever a
// program swaps meanwhile, nothing outside the root is touched.
type tree struct {
	root *os.File
	dev  uint64
}

const resolveFlags = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

func openTree(dir string) (*tree, error) {
	root, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &st); err != nil {
		root.Close()
		return nil, err
	}
	return &tree{root: root, dev: st.Dev}, nil
}

func (t *tree) close() error { return t.root.Close() }

// dirFD opens the directory p. The caller closes it.
func (t *tree) dirFD(p string) (int, error) {
	if p == "" {
		p = "."
	}
	return t.openat2(p, unix.O_PATH|unix.O_DIRECTORY, 0)
}

func (t *tree) openat2(p string, flags int, mode uint32) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags) | unix.O_CLOEXEC, Mode: uint64(mode), Resolve: resolveFlags}
	for {
		fd, err := unix.Openat2(int(t.root.Fd()), p, &how)
		if err != unix.EINTR && err != unix.EAGAIN { // EAGAIN: raced with a rename
			return fd, err
		}
	}
}

// at calls f with a descriptor of p's parent and p's last name. The root is ("", ".").
func (t *tree) at(p string, f func(dirfd int, name string) error) error {
	if p == "" {
		return f(int(t.root.Fd()), ".")
	}
	dir, name := path.Split(p)
	if dir == "" {
		return f(int(t.root.Fd()), name)
	}
	fd, err := t.dirFD(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd, name)
}

func (t *tree) lstat(p string) (st syscall.Stat_t, err error) {
	err = t.at(p, func(fd int, name string) error {
		var u unix.Stat_t
		if err := unix.Fstatat(fd, name, &u, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		st = fromUnix(&u)
		return nil
	})
	return st, err
}

// info is lstat with the time of birth, which tells a file from a later one that got
// the same inode number.
func (t *tree) info(p string) (st syscall.Stat_t, born uint64, err error) {
	err = t.at(p, func(fd int, name string) error {
		st, born, err = statx(fd, name, unix.AT_SYMLINK_NOFOLLOW)
		return err
	})
	return st, born, err
}

func (t *tree) exists(p string) bool {
	_, err := t.lstat(p)
	return err == nil
}

// open opens an existing file; a symbolic link gives ELOOP.
func (t *tree) open(p string, flags int) (*os.File, error) {
	if p == "" {
		p = "."
	}
	fd, err := t.openat2(p, (flags&^unix.O_CREAT)|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), p), nil
}

func (t *tree) create(p string, flags int, mode uint32) (*os.File, error) {
	var f *os.File
	err := t.at(p, func(dirfd int, name string) error {
		fd, err := ignoringEINTR(func() (int, error) {
			return unix.Openat(dirfd, name, flags|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		})
		if err == nil {
			f = os.NewFile(uintptr(fd), p)
		}
		return err
	})
	return f, err
}

func (t *tree) mkdir(p string, mode uint32) error {
	return t.at(p, func(fd int, name string) error { return unix.Mkdirat(fd, name, mode) })
}

func (t *tree) mknod(p string, mode, dev uint32) error {
	return t.at(p, func(fd int, name string) error { return unix.Mknodat(fd, name, mode, int(dev)) })
}

func (t *tree) symlink(target, p string) error {
	return t.at(p, func(fd int, name string) error { return unix.Symlinkat(target, fd, name) })
}

func (t *tree) readlink(p string) (target string, err error) {
	err = t.at(p, func(fd int, name string) error {
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(fd, name, buf)
		if err == nil {
			target = string(buf[:n])
		}
		return err
	})
	return target, err
}

func (t *tree) link(old, new string) error {
	return t.at(old, func(ofd int, oname string) error {
		return t.at(new, func(nfd int, nname string) error { return unix.Linkat(ofd, oname, nfd, nname, 0) })
	})
}

func (t *tree) unlink(p string) error {
	return t.at(p, func(fd int, name string) error { return unix.Unlinkat(fd, name, 0) })
}

func (t *tree) rmdir(p string) error {
	return t.at(p, func(fd int, name string) error { return unix.Unlinkat(fd, name, unix.AT_REMOVEDIR) })
}

func (t *tree) rename(old, new string, flags uint32) error {
	return t.at(old, func(ofd int, oname string) error {
		return t.at(new, func(nfd int, nname string) error {
			return unix.Renameat2(ofd, oname, nfd, nname, uint(flags))
		})
	})
}

func (t *tree) chown(p string, uid, gid int) error {
	return t.at(p, func(fd int, name string) error {
		return unix.Fchownat(fd, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (t *tree) chmod(p string, mode uint32) error {
	return t.pathFD(p, func(link string) error { return unix.Chmod(link, mode) })
}

func (t *tree) truncate(p string, size int64) error {
	f, err := t.open(p, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Ftruncate(int(f.Fd()), size)
}

// utimes sets what is not nil, also of a symbolic link.
func (t *tree) utimes(p string, atime, mtime *time.Time) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	for i, at := range []*time.Time{atime, mtime} {
		if at == nil {
			continue
		}
		v, err := unix.TimeToTimespec(*at)
		if err != nil {
			return err
		}
		ts[i] = v
	}
	return t.at(p, func(fd int, name string) error {
		return unix.UtimesNanoAt(fd, name, ts, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// pathFD calls f with a /proc name that stands for p itself, for the system calls
// that have no form relative to a descriptor.
func (t *tree) pathFD(p string, f func(link string) error) error {
	name := p
	if name == "" {
		name = "."
	}
	fd, err := t.openat2(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(procFD(fd))
}

// names lists a directory, unsorted.
func (t *tree) names(p string) ([]DirEntry, error) {
	f, err := t.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	out := make([]DirEntry, 0, len(list))
	for _, e := range list {
		out = append(out, DirEntry{Name: e.Name(), Type: typeBits(e.Type())})
	}
	return out, err
}

// walk calls f for p and everything below it, parents first, names in order. What
// vanishes meanwhile is passed over. f may return fs.SkipDir for a directory.
func (t *tree) walk(p string, f func(p string, st *syscall.Stat_t) error) error {
	st, err := t.lstat(p)
	if err != nil {
		return err
	}
	return t.walkFrom(p, &st, f)
}

func (t *tree) walkFrom(p string, st *syscall.Stat_t, f func(string, *syscall.Stat_t) error) error {
	err := f(p, st)
	if !isDir(st) || err != nil {
		if errors.Is(err, fs.SkipDir) {
			return nil
		}
		return err
	}
	list, err := t.names(p)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	for _, e := range list {
		child := join(p, e.Name)
		cst, err := t.lstat(child)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := t.walkFrom(child, &cst, f); err != nil {
			return err
		}
	}
	return nil
}

// syncDir makes the names in the directory p durable.
func (t *tree) syncDir(p string) error {
	f, err := t.open(p, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// parent is the directory that p is in; "" is the root, and its own parent.
func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return ""
}

// under tells that p is dir or lies below it.
func under(p, dir string) bool {
	return dir == "" || p == dir || (len(p) > len(dir) && p[len(dir)] == '/' && p[:len(dir)] == dir)
}

func isDir(st *syscall.Stat_t) bool     { return st.Mode&syscall.S_IFMT == syscall.S_IFDIR }
func isRegular(st *syscall.Stat_t) bool { return st.Mode&syscall.S_IFMT == syscall.S_IFREG }
func isSymlink(st *syscall.Stat_t) bool { return st.Mode&syscall.S_IFMT == syscall.S_IFLNK }

func mtimeOf(st *syscall.Stat_t) time.Time { return time.Unix(st.Mtim.Sec, st.Mtim.Nsec) }

func procFD(fd int) string { return filepath.Join("/proc/self/fd", itoa(fd)) }
