package gcs

import (
	"context"

	"cloud.google.com/go/storage"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/usermeta"
)

func (s *Store) Copy(ctx context.Context, src, dst string, o backend.PutOptions) (backend.Object, error) {
	for _, key := range []string{src, dst} {
		if err := s.check(ctx, backend.OpCopy, key); err != nil {
			return backend.Object{}, err
		}
	}
	found, err := s.object(src).Attrs(ctx)
	if err != nil {
		return backend.Object{}, fail(backend.OpCopy, src, err)
	}
	from := s.described(found)
	if o.SourceETag != "" && o.SourceETag != from.ETag {
		return backend.Object{}, &backend.Error{Op: backend.OpCopy, Key: src, Kind: backend.ErrChanged}
	}
	attr := o.Attr
	if attr.IsZero() {
		attr = from.Attr
	}
	attr.Type = from.Attr.Type
	if attr, err = backend.CheckPut(backend.OpCopy, dst, from.Size, attr); err != nil {
		return backend.Object{}, err
	}
	to := s.object(dst)
	if o.IfAbsent {
		to = to.If(storage.Conditions{DoesNotExist: true})
	}
	c := to.CopierFrom(s.object(src).If(storage.Conditions{GenerationMatch: found.Generation}))
	c.Metadata = usermeta.Encode(attr)
	s.place(&c.ObjectAttrs)
	c.DestinationKMSKeyName, c.KMSKeyName = s.opts.KMSKey, ""
	copied, err := c.Run(ctx)
	if err != nil {
		return backend.Object{}, s.failCopy(ctx, from, dst, o, err)
	}
	return s.described(copied), nil
}

// failCopy tells the two conditions of a copy apart: that dst is absent, if asked for, and
// that the source is as it was found. The answer does not say which it was that did
// not hold. If the caller named no ETag, the next attempt finds the source anew.
func (s *Store) failCopy(ctx context.Context, from backend.Object, dst string, o backend.PutOptions, err error) error {
	if classify(backend.OpCopy, err) != backend.ErrExist {
		return fail(backend.OpCopy, dst, err)
	}
	if o.IfAbsent {
		if now, herr := s.object(from.Key).Attrs(ctx); herr != nil || etag(now.Generation) == from.ETag {
			return fail(backend.OpCopy, dst, err)
		}
	}
	if o.SourceETag == "" {
		return &backend.Error{Op: backend.OpCopy, Key: dst, Err: err}
	}
	return &backend.Error{Op: backend.OpCopy, Key: from.Key, Kind: backend.ErrChanged, Err: err}
}
