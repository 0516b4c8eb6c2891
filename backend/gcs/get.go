package gcs

import (
	"context"
	"errors"
	"io"
	"net/http"

	"cloud.google.com/go/storage"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/usermeta"
)

func (s *Store) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	if err := s.check(ctx, backend.OpGet, key); err != nil {
		return nil, backend.Object{}, err
	}
	from := s.object(key).ReadCompressed(true) // the bytes as they are
	if o.ETag != "" {
		g, ok := generation(o.ETag)
		if !ok {
			return nil, backend.Object{}, s.absentOrChanged(ctx, key)
		}
		from = from.If(storage.Conditions{GenerationMatch: g})
	}
	length := int64(-1)
	if o.Length > 0 {
		length = o.Length
	}
	r, err := from.NewRangeReader(ctx, o.Offset, length)
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return s.getNothing(ctx, key, o)
	}
	if err != nil {
		return nil, backend.Object{}, fail(backend.OpGet, key, err)
	}
	obj := backend.Object{
		Key:      key,
		Size:     r.Attrs.Size,
		ETag:     etag(r.Attrs.Generation),
		Modified: r.Attrs.LastModified,
		Attr:     usermeta.Decode(key, r.Attrs.Size, r.Metadata()),
	}
	left := max(0, obj.Size-o.Offset)
	if o.Length > 0 {
		left = min(left, o.Length)
	}
	return &body{ctx: ctx, from: r, left: left}, obj, nil
}

// absentOrChanged is the answer to an ETag that this store never gave.
func (s *Store) absentOrChanged(ctx context.Context, key string) error {
	if _, err := s.object(key).Attrs(ctx); err != nil {
		return fail(backend.OpGet, key, err)
	}
	return &backend.Error{Op: backend.OpGet, Key: key, Kind: backend.ErrChanged}
}

// getNothing answers for a range that begins where there is nothing, which the server
// calls an error.
func (s *Store) getNothing(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	a, err := s.object(key).Attrs(ctx)
	if err != nil {
		return nil, backend.Object{}, fail(backend.OpGet, key, err)
	}
	obj := s.described(a)
	if obj.Size > o.Offset || o.ETag != "" && o.ETag != obj.ETag {
		return nil, backend.Object{}, &backend.Error{Op: backend.OpGet, Key: key, Kind: backend.ErrChanged}
	}
	return http.NoBody, obj, nil
}

// body gives exactly as many bytes as were promised.
type body struct {
	ctx  context.Context
	from io.ReadCloser
	left int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	switch {
	case b.left == 0 && (err == nil || err == io.EOF):
		err = nil // the next call says io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case err != nil && b.ctx.Err() != nil:
		err = errors.Join(b.ctx.Err(), err)
	}
	return n, err
}

func (b *body) Close() error { return b.from.Close() }
