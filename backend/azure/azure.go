// Package azure is a [backend.Store] over a container, or a prefix in one, of Azure Blob
// Storage.
//
// An object is one block blob with exactly its bytes. Attributes are metadata under the
// names that s3fs and rclone use (see usermeta), beside them the CRC32C of the whole. A
// symlink is a blob whose content is the target, an empty directory one whose name ends in
// '/'. What a blob's name cannot have is escaped (names.go).
//
// What is staged are uncommitted blocks of the blob itself, which nobody sees before Put
// Block List makes them the blob in one step; a block's id names its stage, its part
// and its checksum. That a stage exists says an empty blob below .trainfs/v1/staging/,
// with the key in its metadata: uncommitted blocks cannot be listed below a prefix, nor
// taken away. What is left of them the server forgets a week after the last one came.
//
// Uncommitted blocks belong to a blob and not to an upload. Whoever writes or publishes a
// key throws away what others have staged for it; their PublishStage says ErrNoStage, and
// they begin anew (Capabilities.SharedStages). The other way, to stage elsewhere and copy
// at publish, would make each checkpoint pay for what hardly ever happens.
//
// The server checks a CRC-64 of each request's body. It is computed in the same reading as
// the CRC32C that the caller handed over, which has to match before a byte is sent.
//
// Credentials come from the environment or from the SDK's own chain (credentials.go).
//
// azure imports backend, backend/crc32c, backend/usermeta and Microsoft's SDK.
package azure

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/trainfs/trainfs/backend"
)

const (
	maxPutBytes  = 5000 << 20 // of one Put Blob
	maxPartBytes = 4000 << 20 // of one Put Block
	maxParts     = 50_000
	maxNameRunes = 1024
	parallel     = 16 // requests at a time, where one call needs many
)

// Store is a prefix in a container.
type Store struct {
	client    *container.Client
	creds     credentials
	where     backend.Location
	prefix    string // "" or ending in '/'
	place     Placement
	closeIdle func()

	// copyWholeBytes is the largest blob that is copied in one request.
	copyWholeBytes int64
}

var _ backend.Store = (*Store)(nil)

func (s *Store) Capabilities() backend.Capabilities {
	return backend.Capabilities{
		MinPartSize:     1,
		MaxPartSize:     maxPartBytes,
		MaxParts:        maxParts,
		MaxSize:         maxParts * maxPartBytes,
		ConditionalPut:  true,
		SharedStages:    true,
		KeepsAttrInList: true,
	}
}

// Close closes idle connections.
func (s *Store) Close() error {
	s.closeIdle()
	return nil
}

// check is what every call on a key begins with.
func (s *Store) check(ctx context.Context, op, key string) error {
	if err := backend.CheckKey(op, key); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(s.name(key)); n > maxNameRunes {
		return &backend.Error{Op: op, Key: key, Kind: backend.ErrInvalidKey,
			Err: fmt.Errorf("%d characters with the storage path before it, at most %d", n, maxNameRunes)}
	}
	return started(ctx, op, key)
}

// started refuses to begin what the context has already ended.
func started(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: op, Key: key, Err: err}
	}
	return nil
}

// name is that of the blob in the container.
func (s *Store) name(key string) string { return escape(s.prefix + key) }

func (s *Store) blob(key string) *blockblob.Client { return s.client.NewBlockBlobClient(s.name(key)) }

// ETags are kept without the quotes that belong to the header; listings leave them out.
func unquote(tag *azcore.ETag) string {
	if tag == nil {
		return ""
	}
	return strings.Trim(string(*tag), `"`)
}

func quote(tag string) *azcore.ETag { return to.Ptr(azcore.ETag(`"` + tag + `"`)) }

// conditions are those that a write or a read is made under; nil for none.
func conditions(ifAbsent bool, etag string) *blob.AccessConditions {
	var c blob.ModifiedAccessConditions
	switch {
	case ifAbsent:
		c.IfNoneMatch = to.Ptr(azcore.ETagAny)
	case etag != "":
		c.IfMatch = quote(etag)
	default:
		return nil
	}
	return &blob.AccessConditions{ModifiedAccessConditions: &c}
}
