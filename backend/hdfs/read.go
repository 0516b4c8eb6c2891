package hdfs

import (
	"context"
	"errors"
	"io"

	"github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend"
)

func (s *Store) Head(ctx context.Context, key string) (backend.Object, error) {
	if err := check(ctx, backend.OpHead, key); err != nil {
		return backend.Object{}, err
	}
	obj, err := call(ctx, s, func(c *hdfs.Client) (backend.Object, error) { return s.describe(c, key) })
	return obj, absent(backend.OpHead, key, err)
}

func (s *Store) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	if err := check(ctx, backend.OpGet, key); err != nil {
		return nil, backend.Object{}, err
	}
	type opened struct {
		file *hdfs.FileReader
		obj  backend.Object
	}
	got, err := call(ctx, s, func(c *hdfs.Client) (opened, error) {
		obj, err := s.describe(c, key)
		if err != nil || backend.IsMarker(key) {
			return opened{obj: obj}, err
		}
		f, err := c.Open(s.path(key))
		if err != nil {
			return opened{}, err
		}
		if listed(key, f.Stat()).ETag != obj.ETag { // replaced between the two
			obj = listed(key, f.Stat())
		}
		return opened{f, obj}, nil
	})
	if err != nil {
		return nil, backend.Object{}, absent(backend.OpGet, key, err)
	}
	if o.ETag != "" && o.ETag != got.obj.ETag {
		if got.file != nil {
			got.file.Close()
		}
		return nil, backend.Object{}, &backend.Error{Op: backend.OpGet, Key: key, Kind: backend.ErrChanged}
	}
	if got.file == nil {
		return io.NopCloser(eof{}), got.obj, nil
	}
	b := &body{ctx: ctx, key: key, file: got.file, left: got.obj.Size - o.Offset}
	if o.Length > 0 {
		b.left = min(b.left, o.Length)
	}
	if b.left > 0 {
		_, err = got.file.Seek(o.Offset, io.SeekStart)
	}
	return b, got.obj, fail(backend.OpGet, key, err)
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }

// body is a range of a file that is being read. What has been read is copied from a buffer
// of its own, so that a read that its context has ended does not write into the caller's.
type body struct {
	ctx  context.Context
	key  string
	file *hdfs.FileReader
	left int64

	buf     []byte
	pending chan struct{} // a read that was left alone; closed once it has ended
}

func (b *body) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, &backend.Error{Op: backend.OpGet, Key: b.key, Err: err}
	}
	if b.left <= 0 || len(p) == 0 {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	const most = 1 << 20
	want := int(min(int64(len(p)), b.left, most))
	if len(b.buf) < want {
		b.buf = make([]byte, want)
	}
	var n int
	var err error
	done := make(chan struct{})
	go func() { n, err = b.file.Read(b.buf[:want]); close(done) }()
	select {
	case <-done:
	case <-b.ctx.Done():
		b.pending = done
		return 0, &backend.Error{Op: backend.OpGet, Key: b.key, Err: b.ctx.Err()}
	}
	copy(p, b.buf[:n])
	b.left -= int64(n)
	if err == nil {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the file has become shorter
	}
	return n, &backend.Error{Op: backend.OpGet, Key: b.key, Err: brief(err)}
}

func (b *body) Close() error {
	if b.pending == nil {
		return b.file.Close()
	}
	go func() { <-b.pending; b.file.Close() }()
	return nil
}

// absent is fail where nothing of that name, or on the way to it, means that there is none.
func absent(op, key string, err error) error {
	if kind := exceptions[exceptionOf(err)]; kind == backend.ErrInvalidKey {
		err = errors.Join(backend.ErrNotExist, err)
	}
	return fail(op, key, err)
}
