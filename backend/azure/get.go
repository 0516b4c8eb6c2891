package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"github.com/trainfs/trainfs/backend"
)

func (s *Store) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	if err := s.check(ctx, backend.OpGet, key); err != nil {
		return nil, backend.Object{}, err
	}
	out, err := s.blob(key).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range:            blob.HTTPRange{Offset: o.Offset, Count: o.Length},
		AccessConditions: conditions(false, o.ETag),
	})
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return s.getNothing(ctx, key, o)
	}
	if err != nil {
		return nil, backend.Object{}, fail(backend.OpGet, key, err)
	}
	obj, left, err := described(key, o, out)
	if err != nil {
		out.Body.Close()
		return nil, backend.Object{}, fail(backend.OpGet, key, err)
	}
	return &body{ctx: ctx, from: out.Body, left: left}, obj, nil
}

// described gives the whole object that out is a range of, and how many bytes are to come.
func described(key string, o backend.GetOptions, out blob.DownloadStreamResponse) (obj backend.Object, left int64, err error) {
	size := out.ContentLength
	if out.ContentRange != nil { // bytes 0-99/1234
		_, total, _ := strings.Cut(*out.ContentRange, "/")
		whole, err := strconv.ParseInt(total, 10, 64)
		if err != nil {
			return obj, 0, fmt.Errorf("answer with Content-Range %.40q", *out.ContentRange)
		}
		size = &whole
	} else if o.Offset > 0 {
		return obj, 0, errors.New("the server gave the whole where a range was asked for")
	}
	if isFolder(key, out.Metadata) {
		return obj, 0, &backend.Error{Op: backend.OpGet, Key: key, Kind: backend.ErrNotExist}
	}
	obj = describe(key, size, out.ETag, out.LastModified, out.Metadata)
	left = max(0, obj.Size-o.Offset)
	if o.Length > 0 {
		left = min(left, o.Length)
	}
	return obj, left, nil
}

// getNothing answers for a range that begins where there is nothing, which the server
// calls an error.
func (s *Store) getNothing(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	obj, err := s.head(ctx, key)
	if err != nil {
		return nil, backend.Object{}, fail(backend.OpGet, key, err)
	}
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
	case b.left == 0:
		err = nil // the next call says io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case err != nil && b.ctx.Err() != nil:
		err = errors.Join(b.ctx.Err(), err)
	}
	return n, err
}

func (b *body) Close() error { return b.from.Close() }
