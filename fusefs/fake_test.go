package fusefs

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache"
)

// hook is asked before a call of a fake and may fail it, block or panic.
type hook func(ctx context.Context, op, path string) error

// fake is a VFS over a plain directory. It counts calls.
type fake struct {
	dir string

	touched, released, handles atomic.Int64

	mu struct {
		sync.Mutex
		streams map[string]*stream
		idents  map[string]uint64 // of files that were evicted, which keep theirs
		opens   map[string]int
		hook    hook
		opened  func(path string) // called when an open is done
		below   map[string]string // other files to open for these
		calls   map[string]int
		flags   int
		owner   cache.Owner
		commits []string
	}
}

func (f *fake) call(ctx context.Context, op, path string) error {
	f.mu.Lock()
	if f.mu.calls == nil {
		f.mu.calls = map[string]int{}
	}
	f.mu.calls[op]++
	hook := f.mu.hook
	f.mu.Unlock()
	if hook != nil {
		return hook(ctx, op, path)
	}
	return nil
}

func (f *fake) setHook(h hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.hook = h
}

func (f *fake) setOpened(opened func(path string)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.opened = opened
}

func (f *fake) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.calls[op]
}

func (f *fake) abs(path string) string { return filepath.Join(f.dir, path) }

func (f *fake) info(path string, err error) (cache.Info, error) {
	var i cache.Info
	if err == nil {
		err = syscall.Lstat(f.abs(path), &i.Stat_t)
	}
	i.Ident, i.Gen = i.Ino, 1
	if ident := f.ident(path); ident != 0 {
		i.Ident = ident
	}
	if s := f.streaming(path); s != nil && err == nil {
		i.Size, i.Mtim = int64(len(s.data)), s.mtime
	}
	return i, err
}

type fakeHandle struct {
	*fake
	file   *os.File
	path   string
	stream *stream
}

func (h *fakeHandle) File() *os.File { return h.file }
func (h *fakeHandle) Path() string   { return h.path }
func (h *fakeHandle) CanTear() bool  { return true }
func (h *fakeHandle) Killed(bool)    {}

func (h *fakeHandle) Flush(ctx context.Context) error { return h.call(ctx, "flush", h.path) }
func (h *fakeHandle) Touched()                        { h.touched.Add(1) }

func (h *fakeHandle) Fsync(ctx context.Context) error {
	if err := h.call(ctx, "fsync", h.path); err != nil {
		return err
	}
	return h.file.Sync()
}

func (h *fakeHandle) Released() {
	if h.file.Fd() != ^uintptr(0) {
		panic("released before it was closed")
	}
	h.released.Add(1)
	h.closed(h.path)
}

func (f *fake) open(path string, flags int, mode uint32) (*fakeHandle, error) {
	abs := f.abs(path)
	f.mu.Lock()
	if other := f.mu.below[path]; other != "" {
		abs = other
	}
	f.mu.Unlock()
	file, err := os.OpenFile(abs, flags|syscall.O_NOFOLLOW, os.FileMode(mode&0o777))
	if err != nil {
		return nil, err
	}
	f.handles.Add(1)
	f.mu.Lock()
	f.mu.flags = flags
	f.mu.Unlock()
	return &fakeHandle{f, file, path, nil}, nil
}

func (f *fake) Open(ctx context.Context, path string, flags int) (*fakeHandle, error) {
	if err := f.call(ctx, "open", path); err != nil {
		return nil, err
	}
	s := f.opening(path)
	if s != nil && flags&(syscall.O_ACCMODE|syscall.O_TRUNC) != 0 {
		select { // to write, all of it must be here
		case <-s.ended:
			s = nil
		case <-ctx.Done():
			f.closed(path)
			return nil, ctx.Err()
		}
	}
	h, err := f.open(path, flags, 0)
	if err != nil {
		f.closed(path)
		return nil, err
	}
	h.stream = s
	f.mu.Lock()
	opened := f.mu.opened
	f.mu.Unlock()
	if opened != nil {
		opened(path)
	}
	return h, nil
}

func (f *fake) Create(ctx context.Context, path string, flags int, mode uint32, o cache.Owner) (*fakeHandle, cache.Info, error) {
	if err := f.call(ctx, "create", path); err != nil {
		return nil, cache.Info{}, err
	}
	f.opening(path)
	h, err := f.open(path, flags|os.O_CREATE, mode)
	if err != nil {
		f.closed(path)
		return nil, cache.Info{}, err
	}
	i, err := f.made(path, o, nil)
	return h, i, err
}

// made gives what was made to its owner, as the real one does.
func (f *fake) made(path string, o cache.Owner, err error) (cache.Info, error) {
	f.mu.Lock()
	f.mu.owner = o
	f.mu.Unlock()
	if err == nil && os.Geteuid() == 0 {
		err = os.Lchown(f.abs(path), int(o.UID), int(o.GID))
	}
	return f.info(path, err)
}

func (f *fake) Lookup(ctx context.Context, path string) (cache.Info, error) {
	return f.info(path, f.call(ctx, "lookup", path))
}

func (f *fake) Stat(ctx context.Context, path string) (cache.Info, error) {
	return f.info(path, f.call(ctx, "stat", path))
}

func (f *fake) ReadDir(ctx context.Context, path string) ([]cache.DirEntry, error) {
	if err := f.call(ctx, "readdir", path); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(f.abs(path))
	var out []cache.DirEntry
	for _, e := range list {
		if i, err := f.info(filepath.Join(path, e.Name()), nil); err == nil {
			out = append(out, cache.DirEntry{Name: e.Name(), Type: i.Mode & syscall.S_IFMT, Ino: i.Ident})
		}
	}
	return out, err
}

func (f *fake) Mkdir(_ context.Context, path string, mode uint32, o cache.Owner) (cache.Info, error) {
	return f.made(path, o, syscall.Mkdir(f.abs(path), mode))
}

func (f *fake) Mknod(_ context.Context, path string, mode, rdev uint32, o cache.Owner) (cache.Info, error) {
	return f.made(path, o, syscall.Mknod(f.abs(path), mode, int(rdev)))
}

func (f *fake) Symlink(_ context.Context, target, path string, o cache.Owner) (cache.Info, error) {
	return f.made(path, o, os.Symlink(target, f.abs(path)))
}

func (f *fake) Readlink(_ context.Context, path string) (string, error) {
	return os.Readlink(f.abs(path))
}

func (f *fake) Link(_ context.Context, oldpath, newpath string) (cache.Info, error) {
	return f.info(newpath, os.Link(f.abs(oldpath), f.abs(newpath)))
}

func (f *fake) Unlink(ctx context.Context, path string) error {
	if err := f.call(ctx, "unlink", path); err != nil {
		return err
	}
	return syscall.Unlink(f.abs(path))
}

func (f *fake) Rmdir(_ context.Context, path string) error { return syscall.Rmdir(f.abs(path)) }

func (f *fake) Rename(_ context.Context, oldpath, newpath string, flags uint32) error {
	return unix.Renameat2(unix.AT_FDCWD, f.abs(oldpath), unix.AT_FDCWD, f.abs(newpath), uint(flags))
}

func (f *fake) Chmod(_ context.Context, path string, mode uint32) error {
	return syscall.Chmod(f.abs(path), mode)
}

func (f *fake) Chown(_ context.Context, path string, uid, gid int) error {
	return os.Lchown(f.abs(path), uid, gid)
}

func (f *fake) Truncate(_ context.Context, path string, size int64) error {
	return os.Truncate(f.abs(path), size)
}

func (f *fake) Utimes(_ context.Context, path string, atime, mtime *time.Time) error {
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Nsec: unix.UTIME_OMIT}}
	for i, t := range []*time.Time{atime, mtime} {
		if t != nil {
			ts[i] = unix.NsecToTimespec(t.UnixNano())
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, f.abs(path), ts, unix.AT_SYMLINK_NOFOLLOW)
}

func (f *fake) Getxattr(ctx context.Context, path, name string, dest []byte) (int, error) {
	if err := f.call(ctx, "getxattr", path); err != nil {
		return 0, err
	}
	return unix.Lgetxattr(f.abs(path), name, dest)
}

func (f *fake) Setxattr(_ context.Context, path, name string, data []byte, flags int) error {
	return unix.Lsetxattr(f.abs(path), name, data, flags)
}

func (f *fake) Listxattr(_ context.Context, path string, dest []byte) (int, error) {
	return unix.Llistxattr(f.abs(path), dest)
}

func (f *fake) Removexattr(_ context.Context, path, name string) error {
	return unix.Lremovexattr(f.abs(path), name)
}

func (f *fake) Statfs(context.Context) (st syscall.Statfs_t, err error) {
	return st, syscall.Statfs(f.dir, &st)
}

func (f *fake) SyncDir(ctx context.Context, path string) error { return f.call(ctx, "syncdir", path) }

func (f *fake) State(ctx context.Context, path string) (cache.State, error) {
	return cache.StateCommitted, f.call(ctx, "state", path)
}

func (f *fake) RequestCommit(_ context.Context, path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.commits = append(f.mu.commits, path)
	return nil
}

func (f *fake) Dir() string { return f.dir }
