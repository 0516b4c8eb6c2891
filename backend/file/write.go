package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

func (s *Store) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	if err := check(ctx, backend.OpPut, key); err != nil {
		return backend.Object{}, err
	}
	attr, err := backend.CheckPut(backend.OpPut, key, c.Size, o.Attr)
	if err != nil {
		return backend.Object{}, err
	}
	var obj backend.Object
	switch attr.Type {
	case backend.Directory:
		obj, err = s.putMarker(key, attr, o.IfAbsent)
	case backend.Symlink:
		var target string
		if target, err = readTarget(c); err == nil {
			obj, err = s.putSymlink(key, target, attr, o.IfAbsent)
		}
	default:
		obj, err = s.putFile(key, attr, o.IfAbsent, func(f *os.File) (uint32, bool, error) {
			return c.CRC32C, true, write(ctx, f, 0, c)
		})
	}
	return obj, fail(backend.OpPut, key, err)
}

func (s *Store) Copy(ctx context.Context, src, dst string, o backend.PutOptions) (backend.Object, error) {
	if err := check(ctx, backend.OpCopy, dst); err != nil {
		return backend.Object{}, err
	}
	f, from, err := s.lookup(ctx, backend.OpCopy, src)
	if err != nil {
		return backend.Object{}, err
	}
	defer f.Close()
	attr := o.Attr
	if attr.IsZero() {
		attr = from.Attr
	}
	attr.Type = from.Attr.Type
	if attr, err = backend.CheckPut(backend.OpCopy, dst, from.Size, attr); err != nil {
		return backend.Object{}, err
	}
	body, err := content(f, from)
	if err != nil {
		return backend.Object{}, fail(backend.OpCopy, src, err)
	}
	defer body.Close()
	var obj backend.Object
	switch attr.Type {
	case backend.Directory:
		obj, err = s.putMarker(dst, attr, o.IfAbsent)
	case backend.Symlink:
		var target string
		if target, err = readTarget(backend.Content{R: body, Size: from.Size}); err == nil {
			obj, err = s.putSymlink(dst, target, attr, o.IfAbsent)
		}
	default:
		obj, err = s.putFile(dst, attr, o.IfAbsent, func(to *os.File) (uint32, bool, error) {
			return from.CRC32C, from.HasCRC32C, duplicate(ctx, to, body, from)
		})
	}
	return obj, fail(backend.OpCopy, dst, err)
}

// putFile makes a regular file of what fill writes, and puts it in place when it is
// durable. fill also tells the checksum, if it knows it.
func (s *Store) putFile(key string, attr backend.Attr, ifAbsent bool, fill func(*os.File) (crc uint32, known bool, err error)) (backend.Object, error) {
	t, err := s.newTemp(newID()+tempSuffix, attr)
	if err != nil {
		return backend.Object{}, err
	}
	defer t.discard()
	crc, known, err := fill(t.file)
	if err != nil {
		return backend.Object{}, err
	}
	if err := s.finish(t, attr, crc, known); err != nil {
		return backend.Object{}, err
	}
	if err := s.place(t, key, ifAbsent); err != nil {
		return backend.Object{}, err
	}
	obj, _, err := describe(t.file, key)
	return obj, err
}

func (s *Store) putSymlink(key, target string, attr backend.Attr, ifAbsent bool) (backend.Object, error) {
	t, err := s.newTempLink(target)
	if err != nil {
		return backend.Object{}, err
	}
	defer t.discard()
	if err := s.setAttr(t.dir, t.name, attr); err != nil {
		return backend.Object{}, err
	}
	if err := s.place(t, key, ifAbsent); err != nil {
		return backend.Object{}, err
	}
	obj, _, err := describe(t.file, key)
	return obj, err
}

func (s *Store) putMarker(key string, attr backend.Attr, ifAbsent bool) (obj backend.Object, err error) {
	err = s.inParent(key, func(parent *os.File, base string) error {
		err := unix.Mkdirat(int(parent.Fd()), base, 0o777)
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return os.NewSyscallError("mkdirat", err)
		}
		existed := err != nil
		dir, err := openAt(parent, base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		defer dir.Close()
		if existed && ifAbsent && !isImplied(dir) {
			return backend.ErrExist
		}
		setImplied(dir, false)
		if attr.Mode != 0 {
			if err := unix.Fchmod(int(dir.Fd()), attr.Mode); err != nil {
				return os.NewSyscallError("fchmod", err)
			}
		}
		if err := s.setAttr(parent, base, attr); err != nil {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
		obj, _, err = describe(dir, key)
		return err
	})
	return obj, err
}

// finish makes a file ready for its place: attributes and checksum set, and durable.
func (s *Store) finish(t *temp, attr backend.Attr, crc uint32, known bool) error {
	if err := s.setAttr(t.dir, t.name, attr); err != nil {
		return err
	}
	if attr.Mode != 0 { // after the owner, whose change clears set-user-id
		if err := unix.Fchmod(int(t.file.Fd()), attr.Mode); err != nil {
			return os.NewSyscallError("fchmod", err)
		}
	}
	if known {
		var st unix.Stat_t
		if err := unix.Fstat(int(t.file.Fd()), &st); err != nil {
			return os.NewSyscallError("fstat", err)
		}
		// Where it cannot be kept, it is not known.
		unix.Fsetxattr(int(t.file.Fd()), crcAttr, []byte(crcValue(crc, st.Size, st.Mtim.Nano())), 0)
	}
	return t.file.Sync()
}

// setAttr sets the owner, where this process may, and the mtime of name in dir.
func (s *Store) setAttr(dir *os.File, name string, attr backend.Attr) error {
	fd := int(dir.Fd())
	if s.chown && !attr.IsZero() {
		// EPERM: root on this machine is not root on the file server.
		err := unix.Fchownat(fd, name, int(attr.UID), int(attr.GID), unix.AT_SYMLINK_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EPERM) {
			return os.NewSyscallError("fchownat", err)
		}
	}
	if attr.Mtime.IsZero() {
		return nil
	}
	times := []unix.Timespec{
		{Nsec: unix.UTIME_OMIT},
		{Sec: attr.Mtime.Unix(), Nsec: int64(attr.Mtime.Nanosecond())},
	}
	return os.NewSyscallError("utimensat", unix.UtimesNanoAt(fd, name, times, unix.AT_SYMLINK_NOFOLLOW))
}

// place gives a temporary file its key, in one step.
func (s *Store) place(t *temp, key string, ifAbsent bool) error {
	return s.inParent(key, func(dir *os.File, base string) error {
		from, to := int(t.dir.Fd()), int(dir.Fd())
		if !ifAbsent {
			return os.NewSyscallError("renameat", unix.Renameat(from, t.name, to, base))
		}
		// NFS knows no rename that spares its target, but link does.
		err := unix.Linkat(from, t.name, to, base, 0)
		if errors.Is(err, unix.EEXIST) {
			var st unix.Stat_t
			if unix.Fstatat(to, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				return unix.EISDIR // there is no object of this key
			}
			return backend.ErrExist
		}
		if err != nil {
			return os.NewSyscallError("linkat", err)
		}
		return os.NewSyscallError("unlinkat", unix.Unlinkat(from, t.name, 0))
	})
}

func readTarget(c backend.Content) (string, error) {
	p := make([]byte, c.Size)
	if _, err := io.ReadFull(c.Reader(), p); err != nil {
		return "", err
	}
	return string(p), nil
}

const chunkBytes = 1 << 20

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkBytes); return &b }}

// write copies c into f at off, and checks it on the way.
func write(ctx context.Context, f *os.File, off int64, c backend.Content) error {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	crc := uint32(0)
	for done := int64(0); done < c.Size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := (*buf)[:min(chunkBytes, c.Size-done)]
		if n, err := c.R.ReadAt(p, c.Offset+done); n < len(p) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read content: %w", err)
		}
		if _, err := f.WriteAt(p, off+done); err != nil {
			return err
		}
		crc = crc32c.Update(crc, p)
		done += int64(len(p))
	}
	if crc != c.CRC32C {
		return fmt.Errorf("%w: %08x, not %08x", backend.ErrChecksum, crc, c.CRC32C)
	}
	return nil
}

// duplicate copies the file that body is open on. io.CopyN leaves it to the kernel, or to
// the file server, where they can.
func duplicate(ctx context.Context, to *os.File, body source, from backend.Object) error {
	src, ok := body.(*os.File)
	if !ok {
		return fmt.Errorf("%q is no regular file", from.Key)
	}
	const step = 256 << 20 // between two looks at ctx
	for left := from.Size; left > 0; left -= min(step, left) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := io.CopyN(to, src, min(step, left)); err != nil {
			return err
		}
	}
	now, _, err := describe(src, from.Key)
	if err == nil && now.ETag != from.ETag {
		err = fmt.Errorf("%q was changed while it was copied", from.Key)
	}
	return err
}
