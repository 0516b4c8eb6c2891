package azure

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

const (
	maxCopyBytes  = 256 << 20 // of one Copy Blob From URL
	copyPartBytes = 64 << 20
	copyParallel  = 4
	// linkLifetime is how long the link to a copy's source is good.
	linkLifetime = 2 * time.Hour
)

func (s *Store) Copy(ctx context.Context, src, dst string, o backend.PutOptions) (backend.Object, error) {
	for _, key := range []string{src, dst} {
		if err := s.check(ctx, backend.OpCopy, key); err != nil {
			return backend.Object{}, err
		}
	}
	from, err := s.head(ctx, src)
	if err != nil {
		return backend.Object{}, fail(backend.OpCopy, src, err)
	}
	if o.SourceETag != "" && o.SourceETag != from.ETag {
		return backend.Object{}, &backend.Error{Op: backend.OpCopy, Key: src, Kind: backend.ErrChanged}
	}
	a := o.Attr
	if a.IsZero() {
		a = from.Attr
	}
	a.Type = from.Attr.Type
	if a, err = backend.CheckPut(backend.OpCopy, dst, from.Size, a); err != nil {
		return backend.Object{}, err
	}
	var obj backend.Object
	if from.Size > s.copyWholeBytes {
		obj, err = s.copyParts(ctx, from, dst, a, o)
	} else {
		obj, err = s.copyWhole(ctx, from, dst, a, o)
	}
	if err != nil {
		return backend.Object{}, s.failCopy(ctx, from, dst, o, err)
	}
	return obj, nil
}

// crcOf is nil if nobody knows the checksum.
func crcOf(o backend.Object) *uint32 {
	if !o.HasCRC32C {
		return nil
	}
	return &o.CRC32C
}

// source is a link to a blob that the server itself may read, and what it needs to do so.
func (s *Store) source(ctx context.Context, key string) (link string, authorization *string, err error) {
	b := s.blob(key)
	if s.creds.sharedKey != nil {
		link, err = b.BlobClient().GetSASURL(sas.BlobPermissions{Read: true}, time.Now().Add(linkLifetime), nil)
		return link, nil, err
	}
	if s.creds.token != nil {
		authorization, err = s.creds.bearer(ctx)
	}
	return b.URL(), authorization, err // a SAS token is part of every URL
}

func ifUnchanged(from backend.Object) *blob.SourceModifiedAccessConditions {
	return &blob.SourceModifiedAccessConditions{SourceIfMatch: quote(from.ETag)}
}

// copyWhole copies in one request.
func (s *Store) copyWhole(ctx context.Context, from backend.Object, dst string, a backend.Attr, o backend.PutOptions) (backend.Object, error) {
	link, authorization, err := s.source(ctx, from.Key)
	if err != nil {
		return backend.Object{}, err
	}
	opts := &blob.CopyFromURLOptions{
		Metadata:                       metadata(a, crcOf(from)),
		CopySourceAuthorization:        authorization,
		SourceModifiedAccessConditions: ifUnchanged(from),
		BlobAccessConditions:           conditions(o.IfAbsent, ""),
	}
	if len(opts.Metadata) == 0 { // none means the source's, which says nothing either
		opts.Metadata = nil
	}
	s.place.copy(opts)
	out, err := s.blob(dst).BlobClient().CopyFromURL(ctx, link, opts)
	if err != nil {
		return backend.Object{}, err
	}
	return describe(dst, &from.Size, out.ETag, out.LastModified, opts.Metadata), nil
}

// copyParts copies what is too large for one request, as blocks that nobody sees before
// they are all there.
func (s *Store) copyParts(ctx context.Context, from backend.Object, dst string, a backend.Attr, o backend.PutOptions) (backend.Object, error) {
	size := max(min(copyPartBytes, s.copyWholeBytes), (from.Size+maxParts-1)/maxParts)
	st, err := s.BeginStage(ctx, dst, from.Size, size, a)
	if err != nil {
		return backend.Object{}, err
	}
	// Nobody else knows of this stage: even if ctx has ended, it must not stay.
	defer s.AbortStage(context.WithoutCancel(ctx), st)
	ids := make([]string, st.Parts())
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(copyParallel)
	for n := 1; n <= len(ids); n++ {
		ids[n-1] = blockID(st, n, 0)
		g.Go(func() error { return s.copyPart(gctx, from, st, n, ids[n-1]) })
	}
	if err := g.Wait(); err != nil {
		return backend.Object{}, err
	}
	opts := &blockblob.CommitBlockListOptions{Metadata: metadata(a, crcOf(from)), AccessConditions: conditions(o.IfAbsent, "")}
	s.place.commit(opts)
	out, err := s.commit(ctx, dst, ids, opts)
	if err != nil {
		return backend.Object{}, err
	}
	return describe(dst, &from.Size, out.ETag, out.LastModified, opts.Metadata), nil
}

func (s *Store) copyPart(ctx context.Context, from backend.Object, st backend.Stage, n int, id string) error {
	off, size := st.Range(n)
	link, authorization, err := s.source(ctx, from.Key)
	if err != nil {
		return err
	}
	_, err = s.blob(st.Key).StageBlockFromURL(ctx, id, link, &blockblob.StageBlockFromURLOptions{
		CopySourceAuthorization:        authorization,
		SourceModifiedAccessConditions: ifUnchanged(from),
		Range:                          blob.HTTPRange{Offset: off, Count: size},
		CPKScopeInfo:                   s.place.scope(),
	})
	if status(err) == http.StatusNotImplemented { // Azurite's answer
		return s.carryPart(ctx, from, st, n, id)
	}
	return err
}

// carryPart brings a part through this node's memory, for a server that does not copy parts.
func (s *Store) carryPart(ctx context.Context, from backend.Object, st backend.Stage, n int, id string) error {
	off, size := st.Range(n)
	r, _, err := s.Get(ctx, from.Key, backend.GetOptions{Offset: off, Length: size, ETag: from.ETag})
	if err != nil {
		return err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	return s.putBlock(ctx, st.Key, id, backend.Content{R: bytes.NewReader(data), Size: size, CRC32C: crc32c.Checksum(data)})
}

// failCopy tells the two conditions of a copy apart: that dst is absent, if asked for, and
// that the source is as it was found. The answer does not always say which one did
// not hold. If the caller named no ETag, the next attempt finds the source anew.
func (s *Store) failCopy(ctx context.Context, from backend.Object, dst string, o backend.PutOptions, err error) error {
	err = fail(backend.OpCopy, dst, err)
	switch {
	case errors.Is(err, backend.ErrNoStage): // somebody has written dst meanwhile: the next attempt has blocks of its own
		return &backend.Error{Op: backend.OpCopy, Key: dst, Err: errors.New("the blocks of the copy were thrown away: another client wrote the same name")}
	case !errors.Is(err, backend.ErrExist) && !errors.Is(err, backend.ErrChanged):
		return err
	case errors.Is(err, backend.ErrExist) && o.IfAbsent:
		if now, herr := s.head(ctx, from.Key); herr != nil || now.ETag == from.ETag {
			return err
		}
	}
	if o.SourceETag == "" {
		return &backend.Error{Op: backend.OpCopy, Key: dst, Err: errors.New("the source was changed meanwhile")}
	}
	return &backend.Error{Op: backend.OpCopy, Key: from.Key, Kind: backend.ErrChanged, Err: brief(err)}
}
