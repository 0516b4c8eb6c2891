package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"

	"cloud.google.com/go/storage"
	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/usermeta"
)

// deleteParallel is how many of the keys of one Delete are on their way at once: there
// is no request that takes several.
const deleteParallel = 32

func (s *Store) Head(ctx context.Context, key string) (backend.Object, error) {
	if err := s.check(ctx, backend.OpHead, key); err != nil {
		return backend.Object{}, err
	}
	a, err := s.object(key).Attrs(ctx)
	if err != nil {
		return backend.Object{}, fail(backend.OpHead, key, err)
	}
	return s.described(a), nil
}

func (s *Store) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	if err := s.check(ctx, backend.OpPut, key); err != nil {
		return backend.Object{}, err
	}
	attr, err := backend.CheckPut(backend.OpPut, key, c.Size, o.Attr)
	if err != nil {
		return backend.Object{}, err
	}
	if c.Size > maxPutBytes {
		return backend.Object{}, &backend.Error{Op: backend.OpPut, Key: key, Kind: backend.ErrTooLarge,
			Err: fmt.Errorf("%d bytes in one request, at most %d", c.Size, int64(maxPutBytes))}
	}
	to := s.object(key)
	if o.IfAbsent {
		to = to.If(storage.Conditions{DoesNotExist: true})
	}
	a, err := s.write(ctx, to, c, usermeta.Encode(attr))
	if err != nil {
		return backend.Object{}, failContent(backend.OpPut, key, c, err)
	}
	return s.described(a), nil
}

// write sends content in one request, which is not buffered: what fails is repeated by the
// layers above, which can read the content again.
func (s *Store) write(ctx context.Context, to *storage.ObjectHandle, c backend.Content, meta map[string]string) (*storage.ObjectAttrs, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := to.NewWriter(ctx)
	w.ChunkSize = 0
	w.DisableAutoChecksum = true
	w.CRC32C, w.SendCRC32C = c.CRC32C, true
	w.Metadata = meta
	s.place(&w.ObjectAttrs)
	if _, err := io.Copy(w, c.Reader()); err != nil {
		cancel() // else Close would make an object of what there is
		return nil, errors.Join(err, w.Close())
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return w.Attrs(), nil
}

// place sets what the options say of every new object.
func (s *Store) place(a *storage.ObjectAttrs) {
	a.ContentType = contentType
	a.StorageClass, a.KMSKeyName, a.PredefinedACL = s.opts.StorageClass, s.opts.KMSKey, s.opts.ACL
}

func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: backend.OpDelete, Err: err}
	}
	for _, key := range keys {
		if err := s.check(ctx, backend.OpDelete, key); err != nil {
			return err
		}
	}
	return s.remove(ctx, backend.OpDelete, keys)
}

// remove deletes what is there of keys; it goes on after a failure, and tells the first.
func (s *Store) remove(ctx context.Context, op string, keys []string) error {
	var group errgroup.Group
	group.SetLimit(deleteParallel)
	for _, key := range keys {
		group.Go(func() error {
			// To delete twice is to delete.
			err := s.object(key).Retryer(storage.WithPolicy(storage.RetryAlways)).Delete(ctx)
			if errors.Is(err, storage.ErrObjectNotExist) {
				return nil
			}
			return fail(op, key, err)
		})
	}
	return group.Wait()
}
