package backend

import (
	"context"
	"io"
)

// Around stands before every call to a store: it calls next, or does not, and says what
// the caller gets. The context that it gives next is that of the call; Get's outlives it, as
// long as the body is read. key is the one the call is about; for List and ListStages the prefix,
// for Copy the destination, for Delete the first of several.
type Around func(ctx context.Context, op, key string, next func(context.Context) error) error

// Intercept gives s with around before each of its calls, but for Capabilities and Close.
// A wrapper embeds what it returns, and overrides only the calls of which it needs more.
func Intercept(s Store, around Around) Store { return &intercepted{Store: s, around: around} }

type intercepted struct {
	Store
	around Around
}

func (i *intercepted) Head(ctx context.Context, key string) (o Object, err error) {
	err = i.around(ctx, OpHead, key, func(ctx context.Context) (err error) {
		o, err = i.Store.Head(ctx, key)
		return err
	})
	return o, err
}

func (i *intercepted) List(ctx context.Context, o ListOptions) (p Page, err error) {
	err = i.around(ctx, OpList, o.Prefix, func(ctx context.Context) (err error) {
		p, err = i.Store.List(ctx, o)
		return err
	})
	return p, err
}

func (i *intercepted) Get(ctx context.Context, key string, o GetOptions) (io.ReadCloser, Object, error) {
	var (
		body io.ReadCloser
		obj  Object
	)
	err := i.around(ctx, OpGet, key, func(ctx context.Context) (err error) {
		body, obj, err = i.Store.Get(ctx, key, o)
		return err
	})
	if err != nil && body != nil { // around made a failure of a success
		body.Close()
		body = nil
	}
	return body, obj, err
}

func (i *intercepted) Put(ctx context.Context, key string, c Content, po PutOptions) (o Object, err error) {
	err = i.around(ctx, OpPut, key, func(ctx context.Context) (err error) {
		o, err = i.Store.Put(ctx, key, c, po)
		return err
	})
	return o, err
}

func (i *intercepted) Copy(ctx context.Context, src, dst string, po PutOptions) (o Object, err error) {
	err = i.around(ctx, OpCopy, dst, func(ctx context.Context) (err error) {
		o, err = i.Store.Copy(ctx, src, dst, po)
		return err
	})
	return o, err
}

func (i *intercepted) Delete(ctx context.Context, keys ...string) error {
	first := ""
	if len(keys) > 0 {
		first = keys[0]
	}
	return i.around(ctx, OpDelete, first, func(ctx context.Context) error { return i.Store.Delete(ctx, keys...) })
}

func (i *intercepted) BeginStage(ctx context.Context, key string, size, partSize int64, attr Attr) (s Stage, err error) {
	err = i.around(ctx, OpBeginStage, key, func(ctx context.Context) (err error) {
		s, err = i.Store.BeginStage(ctx, key, size, partSize, attr)
		return err
	})
	return s, err
}

func (i *intercepted) PutPart(ctx context.Context, s Stage, n int, c Content) (p Part, err error) {
	err = i.around(ctx, OpPutPart, s.Key, func(ctx context.Context) (err error) {
		p, err = i.Store.PutPart(ctx, s, n, c)
		return err
	})
	return p, err
}

func (i *intercepted) StagedParts(ctx context.Context, s Stage) (parts []Part, err error) {
	err = i.around(ctx, OpStagedParts, s.Key, func(ctx context.Context) (err error) {
		parts, err = i.Store.StagedParts(ctx, s)
		return err
	})
	return parts, err
}

func (i *intercepted) PublishStage(ctx context.Context, s Stage, parts []Part, crc uint32, po PutOptions) (o Object, err error) {
	err = i.around(ctx, OpPublishStage, s.Key, func(ctx context.Context) (err error) {
		o, err = i.Store.PublishStage(ctx, s, parts, crc, po)
		return err
	})
	return o, err
}

func (i *intercepted) AbortStage(ctx context.Context, s Stage) error {
	return i.around(ctx, OpAbortStage, s.Key, func(ctx context.Context) error { return i.Store.AbortStage(ctx, s) })
}

func (i *intercepted) ListStages(ctx context.Context, prefix string) (stages []Stage, err error) {
	err = i.around(ctx, OpListStages, prefix, func(ctx context.Context) (err error) {
		stages, err = i.Store.ListStages(ctx, prefix)
		return err
	})
	return stages, err
}
