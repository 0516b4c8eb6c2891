package file

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
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
	if o.SourceETag != "" && o.SourceETag != from.ETag {
		return backend.Object{}, &backend.Error{Op: backend.OpCopy, Key: src, Kind: backend.ErrChanged}
	}
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
			err := duplicate(ctx, to, body, from)
			if errors.Is(err, errTorn) && o.SourceETag != "" {
				err = &backend.Error{Op: backend.OpCopy, Key: src, Kind: backend.ErrChanged, Err: err}
			}
			return from.CRC32C, from.HasCRC32C, err
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
		err := unix.Mkdirat(int(parent.Fd()), base, s.dirMode)
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
		if !existed {
			s.share(dir)
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
