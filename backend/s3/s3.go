// Package s3 is a [backend.Store] over a bucket, or a prefix in one, of Amazon S3 or of a
// server that speaks its protocol.
//
// An object is one file with exactly its bytes. Attributes are user metadata under the
// names that s3fs and rclone use (see usermeta), so those tools see them too. A symlink is
// an object whose body is the target, an empty directory one whose key ends in '/'. What
// is staged is a multipart upload that is not completed.
//
// Every byte that goes up is covered by the CRC32C that the caller hands over and that the
// server checks. So the SDK neither hashes nor signs payloads: without TLS that is what a
// client's processor time would go into.
//
// Credentials come from the SDK's default chain, and from nowhere else.
//
// Of IfAbsent: If-None-Match does it in one step; a server that ignores that header does
// not honour it. A call that the SDK repeated after an unclear failure may find its own
// work done, and then says ErrExist, as the contract allows.
//
// Amazon answers a repeated PublishStage with success for a while, where others say
// ErrNoStage.
//
// s3 imports backend, backend/crc32c, backend/usermeta and the AWS SDK.
package s3

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/trainfs/trainfs/backend"
)

const (
	maxPutBytes  = 5 << 30 // of one PutObject, UploadPart or CopyObject
	maxKeyBytes  = 1024
	deleteBatch  = 1000
	minPartBytes = 5 << 20
)

// Store is a prefix in a bucket.
type Store struct {
	client *s3.Client
	bucket string
	prefix string // "" or ending in '/'

	// copyWholeBytes is the largest object that is copied in one request.
	copyWholeBytes int64
	place          Placement
}

var _ backend.Store = (*Store)(nil)

func (s *Store) Capabilities() backend.Capabilities {
	return backend.Capabilities{
		MinPartSize:    minPartBytes,
		MaxPartSize:    maxPutBytes,
		MaxParts:       10_000,
		MaxSize:        5 << 40,
		ConditionalPut: true,
	}
}

// Close has nothing to do: idle connections are closed when nobody has used them for a while.
func (s *Store) Close() error { return nil }

// check is what every call on a key begins with.
func (s *Store) check(op, key string) error {
	if err := backend.CheckKey(op, key); err != nil {
		return err
	}
	if n := len(s.prefix) + len(key); n > maxKeyBytes {
		return &backend.Error{Op: op, Key: key, Kind: backend.ErrInvalidKey,
			Err: fmt.Errorf("%d bytes with the storage path before it, at most %d", n, maxKeyBytes)}
	}
	return nil
}

// full is the key in the bucket.
func (s *Store) full(key string) *string { return aws.String(s.prefix + key) }

// unsigned leaves the payload out of the signature, since its checksum is checked.
func unsigned(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
}

// ifAbsent is the value of If-None-Match.
func ifAbsent(yes bool) *string {
	if yes {
		return aws.String("*")
	}
	return nil
}

// ETags are kept without the quotes that belong to the header, and that some answers of
// some servers leave out.
func unquote(etag *string) string { return strings.Trim(aws.ToString(etag), `"`) }

func quote(etag string) *string { return aws.String(`"` + etag + `"`) }

// encodeCRC gives a checksum as S3's headers have it.
func encodeCRC(crc uint32) *string {
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc)))
}

var errNoCRC = errors.New("no CRC32C")

func decodeCRC(value *string) (uint32, error) {
	raw, err := base64.StdEncoding.DecodeString(aws.ToString(value))
	if err != nil || len(raw) != 4 {
		return 0, errNoCRC
	}
	return binary.BigEndian.Uint32(raw), nil
}

// started refuses to begin what the context has already ended; the SDK would, but only
// after it has asked for credentials.
func started(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: op, Key: key, Err: err}
	}
	return nil
}
