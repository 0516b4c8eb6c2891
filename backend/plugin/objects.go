package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

func (s *Store) Head(ctx context.Context, key string) (backend.Object, error) {
	if err := backend.CheckKey(backend.OpHead, key); err != nil {
		return backend.Object{}, err
	}
	a, err := s.do(ctx, message{Op: backend.OpHead, Key: key}, nil)
	if err != nil {
		return backend.Object{}, err
	}
	return described(backend.OpHead, key, a)
}

// described is the object of an answer, which has to be that of key.
func described(op, key string, a *answer) (backend.Object, error) {
	if a.Object == nil {
		return backend.Object{}, lie(op, key, "no object in the answer")
	}
	obj := a.Object.backend()
	if obj.Key != key {
		return backend.Object{}, lie(op, key, "an object with the key %q", obj.Key)
	}
	return obj, credible(op, obj)
}

func credible(op string, obj backend.Object) error {
	switch {
	case obj.Size < 0:
		return lie(op, obj.Key, "a size of %d bytes", obj.Size)
	case obj.ETag == "":
		return lie(op, obj.Key, "no etag")
	case backend.IsMarker(obj.Key) && obj.Size > 0:
		return lie(op, obj.Key, "a directory of %d bytes", obj.Size)
	}
	return nil
}

func (s *Store) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	a, err := s.do(ctx, message{Op: backend.OpList, Prefix: o.Prefix, Shallow: o.Shallow, Token: o.Token, Limit: o.Limit}, nil)
	if err != nil {
		return backend.Page{}, err
	}
	page := backend.Page{Prefixes: a.Prefixes, Token: a.Token}
	for _, x := range a.Objects {
		page.Objects = append(page.Objects, x.backend())
	}
	return page, s.checkPage(o, page)
}

// checkPage refuses a page that is none of the listing that was asked for: a listing that
// leaves names out makes files look deleted.
func (s *Store) checkPage(o backend.ListOptions, p backend.Page) error {
	n, last := len(p.Objects)+len(p.Prefixes), ""
	switch {
	case o.Limit > 0 && n > o.Limit:
		return lie(backend.OpList, o.Prefix, "%d names, where %d were asked for", n, o.Limit)
	case p.Token != "" && (n == 0 || p.Token == o.Token):
		return lie(backend.OpList, o.Prefix, "a page that leads no further")
	}
	for _, obj := range p.Objects {
		if err := credible(backend.OpList, obj); err != nil {
			return err
		}
		rest, ok := strings.CutPrefix(obj.Key, o.Prefix)
		if !ok || obj.Key <= last || o.Shallow && strings.Contains(strings.TrimSuffix(rest, "/"), "/") {
			return lie(backend.OpList, o.Prefix, "%q on this page, behind %q", obj.Key, last)
		}
		last = obj.Key
	}
	last = ""
	for _, dir := range p.Prefixes {
		rest, ok := strings.CutPrefix(dir, o.Prefix)
		if !o.Shallow || !ok || dir <= last || strings.Index(rest, "/") != len(rest)-1 {
			return lie(backend.OpList, o.Prefix, "the prefix %q on this page, behind %q", dir, last)
		}
		last = dir
	}
	return nil
}

func (s *Store) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	if err := backend.CheckKey(backend.OpGet, key); err != nil {
		return nil, backend.Object{}, err
	}
	r := &reader{ctx: ctx, s: s, key: key, etag: o.ETag, next: o.Offset, end: o.Offset + o.Length}
	if o.Length == 0 {
		r.end = -1
	}
	if err := r.fill(); err != nil && !errors.Is(err, io.EOF) {
		return nil, backend.Object{}, err
	}
	return r, r.obj, nil
}

// reader asks for one piece after the other, all of one version of the object.
type reader struct {
	ctx  context.Context
	s    *Store
	key  string
	etag string
	obj  backend.Object

	next, end int64 // end is -1 until the object's size is known, if all of it is wanted
	piece     []byte
}

// fill asks for the next piece, and at first for the object even if nothing of it is wanted.
func (r *reader) fill() error {
	if r.obj.Key != "" && r.next >= r.end {
		return io.EOF
	}
	length := int64(pieceSize)
	if r.end >= 0 {
		length = min(length, r.end-r.next)
	}
	a, err := r.s.do(r.ctx, message{Op: opRead, Key: r.key, Offset: r.next, Length: length, ETag: r.etag}, nil)
	if err != nil {
		var told *backend.Error
		if errors.As(err, &told) {
			told.Op = backend.OpGet
		}
		return err
	}
	obj, err := described(backend.OpGet, r.key, a)
	if err != nil {
		return err
	}
	if r.etag != "" && obj.ETag != r.etag {
		return &backend.Error{Op: backend.OpGet, Key: r.key, Kind: backend.ErrChanged}
	}
	r.obj, r.etag = obj, obj.ETag
	if r.end < 0 || r.end > obj.Size {
		r.end = obj.Size
	}
	want := max(0, min(length, r.end-r.next))
	switch got := int64(len(a.data)); {
	case got > want:
		return lie(backend.OpGet, r.key, "%d bytes where %d were asked for", got, want)
	case got < want:
		return &backend.Error{Op: backend.OpGet, Key: r.key, Err: fmt.Errorf("%w: the plug-in gave %d bytes of %d", io.ErrUnexpectedEOF, got, want)}
	}
	r.piece, r.next = a.data, r.next+want
	if want == 0 {
		return io.EOF
	}
	return nil
}

func (r *reader) Read(b []byte) (int, error) {
	if len(r.piece) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}

func (r *reader) Close() error { r.piece, r.end = nil, 0; return nil }

func (s *Store) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	attr, err := backend.CheckPut(backend.OpPut, key, c.Size, o.Attr)
	if err != nil {
		return backend.Object{}, err
	}
	if c.Size > mostBody {
		return s.putInParts(ctx, key, c, o)
	}
	body := make([]byte, c.Size)
	if _, err := io.ReadFull(c.Reader(), body); err != nil {
		return backend.Object{}, &backend.Error{Op: backend.OpPut, Key: key, Err: err}
	}
	if err := summed(backend.OpPut, key, crc32c.Checksum(body), c.CRC32C); err != nil {
		return backend.Object{}, err
	}
	a, err := s.do(ctx, message{Op: backend.OpPut, Key: key, Attr: &attr, CRC32C: &c.CRC32C, IfAbsent: o.IfAbsent}, body)
	if err != nil {
		return backend.Object{}, err
	}
	return s.written(backend.OpPut, key, c.Size, a)
}

// putInParts is a Put of more than a message can have.
func (s *Store) putInParts(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	st, err := s.BeginStage(ctx, key, c.Size, max(c.Size, s.caps.MinPartSize), o.Attr)
	if err != nil {
		return backend.Object{}, err
	}
	part, err := s.PutPart(ctx, st, 1, c)
	var obj backend.Object
	if err == nil {
		obj, err = s.PublishStage(ctx, st, []backend.Part{part}, c.CRC32C, o)
	}
	if err != nil {
		err = errors.Join(err, s.AbortStage(context.WithoutCancel(ctx), st))
	}
	return obj, err
}

// written is the object that a write has made, which has to be of that size.
func (s *Store) written(op, key string, size int64, a *answer) (backend.Object, error) {
	obj, err := described(op, key, a)
	if err == nil && obj.Size != size {
		return obj, lie(op, key, "%d bytes were written, and %d are there", size, obj.Size)
	}
	return obj, err
}

func summed(op, key string, got, want uint32) error {
	if got == want {
		return nil
	}
	return &backend.Error{Op: op, Key: key, Kind: backend.ErrChecksum, Err: fmt.Errorf("content has %08x, not %08x", got, want)}
}

func (s *Store) Copy(ctx context.Context, src, dst string, o backend.PutOptions) (backend.Object, error) {
	for _, key := range []string{src, dst} {
		if err := backend.CheckKey(backend.OpCopy, key); err != nil {
			return backend.Object{}, err
		}
	}
	if backend.IsMarker(src) != backend.IsMarker(dst) {
		return backend.Object{}, &backend.Error{Op: backend.OpCopy, Key: dst, Kind: backend.ErrInvalidKey, Err: errors.New("a key that ends in '/' is a directory, and no other is")}
	}
	m := message{Op: backend.OpCopy, Key: src, To: dst, ETag: o.SourceETag, IfAbsent: o.IfAbsent}
	if !o.Attr.IsZero() {
		m.Attr = &o.Attr
	}
	a, err := s.do(ctx, m, nil)
	if err != nil {
		return backend.Object{}, err
	}
	return described(backend.OpCopy, dst, a)
}

// keysAtOnce go into one message.
const keysAtOnce = 1000

func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := backend.CheckKey(backend.OpDelete, key); err != nil {
			return err
		}
	}
	for len(keys) > 0 {
		n := min(len(keys), keysAtOnce)
		if _, err := s.do(ctx, message{Op: backend.OpDelete, Keys: keys[:n]}, nil); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}
