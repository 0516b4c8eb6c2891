package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/usermeta"
)

func (s *Store) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	if err := s.check(backend.OpGet, key); err != nil {
		return nil, backend.Object{}, err
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: s.full(key), Range: rangeHeader(o)}
	if o.ETag != "" {
		in.IfMatch = quote(o.ETag)
	}
	out, err := s.client.GetObject(ctx, in)
	if beyondEnd(err) {
		return s.getNothing(ctx, key, o)
	}
	if err != nil {
		return nil, backend.Object{}, fail(backend.OpGet, key, err)
	}
	obj, err := described(key, o, out)
	if err != nil {
		out.Body.Close()
		return nil, backend.Object{}, fail(backend.OpGet, key, err)
	}
	left := aws.ToInt64(out.ContentLength)
	if o.Length > 0 {
		left = min(left, o.Length)
	}
	return &body{ctx: ctx, from: out.Body, left: left}, obj, nil
}

func rangeHeader(o backend.GetOptions) *string {
	switch {
	case o.Length > 0:
		return aws.String(fmt.Sprintf("bytes=%d-%d", o.Offset, o.Offset+o.Length-1))
	case o.Offset > 0:
		return aws.String(fmt.Sprintf("bytes=%d-", o.Offset))
	}
	return nil
}

// described gives the whole object that out is a range of.
func described(key string, o backend.GetOptions, out *s3.GetObjectOutput) (backend.Object, error) {
	size := aws.ToInt64(out.ContentLength)
	if header := aws.ToString(out.ContentRange); header != "" { // bytes 0-99/1234
		_, total, _ := strings.Cut(header, "/")
		var err error
		if size, err = strconv.ParseInt(total, 10, 64); err != nil {
			return backend.Object{}, fmt.Errorf("answer with Content-Range %.40q", header)
		}
	} else if o.Offset > 0 {
		return backend.Object{}, errors.New("the server gave the whole where a range was asked for")
	}
	obj := backend.Object{
		Key:      key,
		Size:     size,
		ETag:     unquote(out.ETag),
		Modified: aws.ToTime(out.LastModified),
		Attr:     usermeta.Decode(key, size, out.Metadata),
	}
	if o.ETag != "" && o.ETag != obj.ETag { // a server that knows no If-Match
		return obj, &backend.Error{Op: backend.OpGet, Key: key, Kind: backend.ErrChanged}
	}
	return obj, nil
}

// beyondEnd tells that a range begins where there is nothing, which S3 calls an error.
func beyondEnd(err error) bool { return status(err) == http.StatusRequestedRangeNotSatisfiable }

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
		err = errors.Join(b.ctx.Err(), err) // net/http says only that the body was closed
	}
	return n, err
}

func (b *body) Close() error { return b.from.Close() }
