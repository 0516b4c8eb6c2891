package azure

import (
	"context"
	"fmt"
	"hash/crc64"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/usermeta"
)

// metaCRC is the metadata with the CRC32C of the content, eight hexadecimal digits.
const metaCRC = "crc32c"

func (s *Store) Head(ctx context.Context, key string) (backend.Object, error) {
	if err := s.check(ctx, backend.OpHead, key); err != nil {
		return backend.Object{}, err
	}
	obj, err := s.head(ctx, key)
	return obj, fail(backend.OpHead, key, err)
}

func (s *Store) head(ctx context.Context, key string) (backend.Object, error) {
	p, err := s.blob(key).GetProperties(ctx, nil)
	if err != nil {
		return backend.Object{}, err
	}
	if isFolder(key, p.Metadata) {
		return backend.Object{}, &backend.Error{Op: backend.OpHead, Key: key, Kind: backend.ErrNotExist}
	}
	return describe(key, p.ContentLength, p.ETag, p.LastModified, p.Metadata), nil
}

// describe makes an object of what any answer says of a blob.
func describe(key string, size *int64, etag *azcore.ETag, modified *time.Time, meta map[string]*string) backend.Object {
	obj := backend.Object{Key: key, ETag: unquote(etag)}
	if size != nil {
		obj.Size = *size
	}
	if modified != nil {
		obj.Modified = *modified
	}
	plain := make(map[string]string, len(meta))
	for name, value := range meta {
		if value != nil {
			plain[strings.ToLower(name)] = *value
		}
	}
	obj.Attr = usermeta.Decode(key, obj.Size, plain)
	if crc, err := strconv.ParseUint(plain[metaCRC], 16, 32); err == nil && len(plain[metaCRC]) == 8 {
		obj.CRC32C, obj.HasCRC32C = uint32(crc), true
	}
	return obj
}

// metadata of an object; crc is nil if nobody knows it.
func metadata(a backend.Attr, crc *uint32) map[string]*string {
	meta := make(map[string]*string)
	for name, value := range usermeta.Encode(a) {
		meta[name] = &value
	}
	if crc != nil {
		meta[metaCRC] = to.Ptr(fmt.Sprintf("%08x", *crc))
	}
	return meta
}

func (s *Store) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	if err := s.check(ctx, backend.OpPut, key); err != nil {
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
	sum, err := verify(c)
	if err != nil {
		return backend.Object{}, fail(backend.OpPut, key, err)
	}
	opts := &blockblob.UploadOptions{
		Metadata:                metadata(a, &c.CRC32C),
		AccessConditions:        conditions(o.IfAbsent, ""),
		TransactionalValidation: sum,
	}
	s.place.put(opts)
	out, err := s.upload(ctx, key, c, opts)
	if err != nil {
		return backend.Object{}, fail(backend.OpPut, key, err)
	}
	return describe(key, &c.Size, out.ETag, out.LastModified, opts.Metadata), nil
}

func (s *Store) upload(ctx context.Context, key string, c backend.Content, opts *blockblob.UploadOptions) (out blockblob.UploadResponse, err error) {
	err = again(ctx, func(ctx context.Context) error {
		out, err = s.blob(key).Upload(ctx, streaming.NopCloser(c.Reader()), opts)
		return err
	})
	return out, err
}

var crc64Table = crc64.MakeTable(0x9A6C9329AC4BC9B5) // that of x-ms-content-crc64

// verify reads content once. It gives the checksum that the server is to check, and refuses
// what does not have the one that the caller handed over: what is sent then has both, or
// is refused on the other side.
func verify(c backend.Content) (blob.TransferValidationTypeCRC64, error) {
	ours, theirs := crc32c.New(), crc64.New(crc64Table)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(ours, theirs)}, struct{ io.Reader }{c.Reader()}, make([]byte, 128<<10))
	if err == nil && n != c.Size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && ours.Sum32() != c.CRC32C {
		err = fmt.Errorf("%w: the bytes have %08x, not %08x", backend.ErrChecksum, ours.Sum32(), c.CRC32C)
	}
	return blob.TransferValidationTypeCRC64(theirs.Sum64()), err
}
