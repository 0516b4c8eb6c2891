package file

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// crcAttr keeps the checksum of a file, with the size and mtime it speaks of: a program
// that changes the file does not change it.
const crcAttr = "user.trainfs.crc32c"

func (s *Store) Head(ctx context.Context, key string) (backend.Object, error) {
	f, obj, err := s.lookup(ctx, backend.OpHead, key)
	if err != nil {
		return backend.Object{}, err
	}
	f.Close()
	return obj, nil
}

func (s *Store) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	f, obj, err := s.lookup(ctx, backend.OpGet, key)
	if err != nil {
		return nil, backend.Object{}, err
	}
	defer f.Close()
	if o.ETag != "" && o.ETag != obj.ETag {
		return nil, backend.Object{}, &backend.Error{Op: backend.OpGet, Key: key, Kind: backend.ErrChanged}
	}
	body, err := content(f, obj)
	if err != nil {
		return nil, backend.Object{}, fail(backend.OpGet, key, err)
	}
	off := min(o.Offset, obj.Size)
	n := obj.Size - off
	if o.Length > 0 {
		n = min(n, o.Length)
	}
	return &reader{ctx: ctx, from: io.NewSectionReader(body, off, n), left: n, Closer: body}, obj, nil
}

// lookup finds the object of a key. The file is open with O_PATH: it can be described, and
// opened again, but not read.
func (s *Store) lookup(ctx context.Context, op, key string) (*os.File, backend.Object, error) {
	var obj backend.Object
	absent := &backend.Error{Op: op, Key: key, Kind: backend.ErrNotExist}
	if err := ctx.Err(); err != nil {
		return nil, obj, &backend.Error{Op: op, Key: key, Err: err}
	}
	if err := backend.CheckKey(op, key); err != nil {
		return nil, obj, err
	}
	if reserved(key) {
		return nil, obj, absent
	}
	f, err := openAt(s.root, key, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if missing(err) {
		return nil, obj, absent
	}
	if err != nil {
		return nil, obj, fail(op, key, err)
	}
	obj, ok, err := describe(f, key)
	if err == nil && !ok {
		err = absent
	}
	if err != nil {
		f.Close()
		return nil, obj, fail(op, key, err)
	}
	return f, obj, nil
}

// describe gives the object that f is under key; false if it is none.
func describe(f *os.File, key string) (obj backend.Object, ok bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return obj, false, os.NewSyscallError("fstat", err)
	}
	obj = object(key, &st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return obj, backend.IsMarker(key) && !isImplied(f), nil
	case unix.S_IFREG:
		obj.CRC32C, obj.HasCRC32C = readCRC(f, &st)
		return obj, true, nil
	case unix.S_IFLNK:
		return obj, true, nil
	}
	return obj, false, nil // a device, a socket or a pipe
}

// object is what a stat tells about a key.
func object(key string, st *unix.Stat_t) backend.Object {
	mtime := time.Unix(st.Mtim.Unix())
	obj := backend.Object{
		Key:      key,
		Size:     st.Size,
		Modified: mtime,
		// The ctime moves even if a program puts the mtime back.
		ETag: fmt.Sprintf("%x-%x-%x-%x", st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano()),
		Attr: backend.Attr{Mode: st.Mode & 07777, UID: st.Uid, GID: st.Gid, Mtime: mtime},
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		obj.Attr.Type, obj.Size = backend.Directory, 0
	case unix.S_IFLNK:
		obj.Attr.Type = backend.Symlink
	}
	return obj
}

func crcValue(crc uint32, size int64, mtime int64) string {
	return fmt.Sprintf("%08x %d %d", crc, size, mtime)
}

func readCRC(f *os.File, st *unix.Stat_t) (crc uint32, ok bool) {
	var buf [64]byte
	n, err := unix.Getxattr(procPath(int(f.Fd())), crcAttr, buf[:])
	if err != nil {
		return 0, false
	}
	value := string(buf[:n])
	if _, err := fmt.Sscanf(value, "%08x", &crc); err != nil {
		return 0, false
	}
	return crc, value == crcValue(crc, st.Size, st.Mtim.Nano())
}

// source is content that can be read at any offset.
type source interface {
	io.ReaderAt
	io.Closer
}

// content opens what is in an object: the file's bytes, the symlink's target, nothing.
func content(f *os.File, obj backend.Object) (source, error) {
	switch obj.Attr.Type {
	case backend.Directory:
		return text{strings.NewReader("")}, nil
	case backend.Symlink:
		buf := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(f.Fd()), "", buf)
		return text{strings.NewReader(string(buf[:max(n, 0)]))}, os.NewSyscallError("readlinkat", err)
	}
	return os.Open(procPath(int(f.Fd())))
}

type text struct{ *strings.Reader }

func (text) Close() error { return nil }

// reader gives exactly as many bytes as were promised.
type reader struct {
	ctx  context.Context
	from io.Reader
	left int64
	io.Closer
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.from.Read(p)
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF // somebody made the file shorter
	}
	return n, err
}
