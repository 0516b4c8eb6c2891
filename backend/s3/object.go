package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/usermeta"
)

func (s *Store) Head(ctx context.Context, key string) (backend.Object, error) {
	if err := s.check(backend.OpHead, key); err != nil {
		return backend.Object{}, err
	}
	obj, err := s.head(ctx, key)
	if status(err) == http.StatusForbidden {
		if obj, err = s.whyForbidden(ctx, key, err); err == nil {
			obj, err = s.head(ctx, key)
		}
	}
	return obj, fail(backend.OpHead, key, err)
}

// whyForbidden asks again in a way whose answer has a body: that of HEAD has none, and does not
// tell credentials that have expired, and will be replaced, from a lack of permission.
func (s *Store) whyForbidden(ctx context.Context, key string, forbidden error) (backend.Object, error) {
	body, _, err := s.Get(ctx, key, backend.GetOptions{Length: 1})
	if err == nil { // it may, by now
		return backend.Object{}, body.Close()
	}
	if errors.Is(err, backend.ErrDenied) || errors.Is(err, backend.ErrNotExist) {
		err = forbidden
	}
	return backend.Object{}, err
}

func (s *Store) head(ctx context.Context, key string) (backend.Object, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket:       &s.bucket,
		Key:          s.full(key),
		ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil {
		return backend.Object{}, err
	}
	obj := backend.Object{
		Key:      key,
		Size:     aws.ToInt64(out.ContentLength),
		ETag:     unquote(out.ETag),
		Modified: aws.ToTime(out.LastModified),
		Attr:     usermeta.Decode(key, aws.ToInt64(out.ContentLength), out.Metadata),
	}
	// A composite checksum is one of checksums, and says nothing of ours.
	if out.ChecksumType == types.ChecksumTypeFullObject {
		crc, err := decodeCRC(out.ChecksumCRC32C)
		obj.CRC32C, obj.HasCRC32C = crc, err == nil
	}
	return obj, nil
}

func (s *Store) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	if err := s.check(backend.OpPut, key); err != nil {
		return backend.Object{}, err
	}
	a, err := backend.CheckPut(backend.OpPut, key, c.Size, o.Attr)
	if err != nil {
		return backend.Object{}, err
	}
	if c.Size > maxPutBytes {
		return backend.Object{}, &backend.Error{Op: backend.OpPut, Key: key, Kind: backend.ErrTooLarge,
			Err: fmt.Errorf("%d bytes in one request, at most %d", c.Size, int64(maxPutBytes))}
	}
	in := &s3.PutObjectInput{
		Bucket:         &s.bucket,
		Key:            s.full(key),
		Body:           c.Reader(),
		ChecksumCRC32C: encodeCRC(c.CRC32C),
		Metadata:       usermeta.Encode(a),
		IfNoneMatch:    ifAbsent(o.IfAbsent),
	}
	s.place.put(in)
	out, err := s.client.PutObject(ctx, in, unsigned)
	if err != nil {
		return backend.Object{}, fail(backend.OpPut, key, err)
	}
	return backend.Object{
		Key:       key,
		Size:      c.Size,
		ETag:      unquote(out.ETag),
		Modified:  serverTime(out.ResultMetadata),
		CRC32C:    c.CRC32C,
		HasCRC32C: true,
		Attr:      a,
	}, nil
}

// serverTime is when the server answered, to the second: what it takes for an object's
// time, which the answer does not tell.
func serverTime(m middleware.Metadata) time.Time {
	if t, ok := awsmiddleware.GetServerTime(m); ok {
		return t
	}
	return time.Now()
}
