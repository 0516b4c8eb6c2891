// Package gcs is a [backend.Store] over a bucket, or a prefix in one, of Google Cloud
// Storage.
//
// An object is one file with exactly its bytes. Attributes are user metadata (see
// usermeta), which a listing tells as well. A symlink is an object whose body is the
// target, an empty directory one whose key ends in '/'. An ETag is a generation.
//
// There is no upload in parts that outlives a process and that others may go on with, so
// what is staged are objects of their own, which no key reaches and no listing shows:
//
//	.trainfs/v1/staging/ID/stage     says that the stage exists, and of which key
//	.trainfs/v1/staging/ID/part-N    one part; the server has checked its CRC32C
//	.trainfs/v1/staging/ID/c-L-N     parts composed, where there are more than 32
//	.trainfs/v1/staging/ID/publish   the generation that publishing is to replace
//
// Publishing composes the parts into the key, inside the server, in one step, on the
// condition that the key still has the generation that "publish" names. So a publish that
// is repeated after a crash either does what the first did not do, or finds the key
// moved on and does nothing: it can not bring an old version back over a newer one. Then
// "stage" goes, then the rest. Parts whose "stage" is gone are listed as stages too, so
// that whoever tidies up finds them.
//
// Every byte that goes up is covered by the CRC32C that the caller hands over and that the
// server checks, at each part and again at the composition.
//
// Credentials come from Google's default chain, and from nowhere else.
//
// gcs imports backend, backend/crc32c, backend/usermeta and Google's client.
package gcs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cloud.google.com/go/storage"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/usermeta"
)

const (
	maxPutBytes = 5 << 30 // one request; the server takes more, the network rarely
	maxKeyBytes = 1024
	// maxSources is how many objects one composition takes.
	maxSources  = 32
	contentType = "application/octet-stream"
)

// Store is a prefix in a bucket.
type Store struct {
	client *storage.Client
	bucket *storage.BucketHandle
	name   string // of the bucket
	prefix string // "" or ending in '/'
	opts   Options
}

var _ backend.Store = (*Store)(nil)

func (s *Store) Capabilities() backend.Capabilities {
	return backend.Capabilities{
		MinPartSize:     1,
		MaxPartSize:     maxPutBytes,
		MaxParts:        10_000,
		MaxSize:         5 << 40,
		ConditionalPut:  true,
		KeepsAttrInList: true,
	}
}

// Close closes idle connections.
func (s *Store) Close() error { return s.client.Close() }

// check is what every call on a key begins with.
func (s *Store) check(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: op, Key: key, Err: err}
	}
	if err := backend.CheckKey(op, key); err != nil {
		return err
	}
	why := ""
	switch n := len(s.prefix) + len(key); {
	case n > maxKeyBytes:
		why = fmt.Sprintf("%d bytes with the storage path before it, at most %d", n, maxKeyBytes)
	case strings.ContainsAny(key, "\r\n"):
		why = "Google Cloud Storage takes no line break in a key"
	case strings.HasPrefix(key, stagingDir):
		why = "reserved for staging"
	}
	if why != "" {
		return &backend.Error{Op: op, Key: key, Kind: backend.ErrInvalidKey, Err: errors.New(why)}
	}
	return nil
}

// object is the handle of a key.
func (s *Store) object(key string) *storage.ObjectHandle { return s.bucket.Object(s.prefix + key) }

// described makes an Object of what the server says.
func (s *Store) described(a *storage.ObjectAttrs) backend.Object {
	key := strings.TrimPrefix(a.Name, s.prefix)
	return backend.Object{
		Key:       key,
		Size:      a.Size,
		ETag:      etag(a.Generation),
		Modified:  a.Updated,
		CRC32C:    a.CRC32C,
		HasCRC32C: true,
		Attr:      usermeta.Decode(key, a.Size, a.Metadata),
	}
}

func etag(generation int64) string { return strconv.FormatInt(generation, 10) }

// generation is the inverse of etag; false if it is no ETag of this store.
func generation(etag string) (int64, bool) {
	g, err := strconv.ParseInt(etag, 10, 64)
	return g, err == nil && g > 0
}
