package s3

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/usermeta"
)

const (
	copyPartBytes = 512 << 20
	copyParallel  = 8
)

func (s *Store) Copy(ctx context.Context, src, dst string, o backend.PutOptions) (backend.Object, error) {
	for _, key := range []string{src, dst} {
		if err := s.check(backend.OpCopy, key); err != nil {
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
	if backend.IsMarker(dst) { // versitygw copies none, and there is nothing to copy
		obj, err := s.Put(ctx, dst, backend.Content{R: strings.NewReader("")}, backend.PutOptions{Attr: a, IfAbsent: o.IfAbsent})
		return obj, fail(backend.OpCopy, dst, err)
	}
	if from.Size > s.copyWholeBytes {
		obj, err := s.copyParts(ctx, from, dst, a, o)
		return obj, fail(backend.OpCopy, dst, err)
	}
	return s.copyWhole(ctx, from, dst, a, o)
}

// copyWhole copies in one request.
func (s *Store) copyWhole(ctx context.Context, from backend.Object, dst string, a backend.Attr, o backend.PutOptions) (backend.Object, error) {
	in := &s3.CopyObjectInput{
		Bucket:            &s.bucket,
		Key:               s.full(dst),
		CopySource:        s.source(from.Key),
		CopySourceIfMatch: quote(from.ETag),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c,
		IfNoneMatch:       ifAbsent(o.IfAbsent),
	}
	if !o.Attr.IsZero() || from.Key == dst { // S3 copies nothing onto itself without a change
		in.MetadataDirective = types.MetadataDirectiveReplace
		in.Metadata = usermeta.Encode(a)
	}
	s.place.copy(in)
	out, err := s.client.CopyObject(ctx, in)
	if err != nil {
		return backend.Object{}, s.failCopy(ctx, from, dst, o, err)
	}
	obj := backend.Object{Key: dst, Size: from.Size, Modified: serverTime(out.ResultMetadata), Attr: a}
	if r := out.CopyObjectResult; r != nil {
		obj.ETag = unquote(r.ETag)
	}
	obj.CRC32C, obj.HasCRC32C = from.CRC32C, from.HasCRC32C
	return obj, nil
}

// failCopy tells the two conditions of a copy apart: that dst is absent, if asked for, and
// that the source is as Head has found it. The answer does not say which it was that did
// not hold. If the caller named no ETag, the next attempt finds the source anew.
func (s *Store) failCopy(ctx context.Context, from backend.Object, dst string, o backend.PutOptions, err error) error {
	if classify(backend.OpCopy, err) != backend.ErrExist {
		return fail(backend.OpCopy, dst, err)
	}
	if o.IfAbsent {
		if now, herr := s.head(ctx, from.Key); herr != nil || now.ETag == from.ETag {
			return fail(backend.OpCopy, dst, err)
		}
	}
	if o.SourceETag == "" {
		return &backend.Error{Op: backend.OpCopy, Key: dst, Err: err}
	}
	return &backend.Error{Op: backend.OpCopy, Key: from.Key, Kind: backend.ErrChanged, Err: err}
}

// source names an object in a header, where it must be escaped as in a URL.
func (s *Store) source(key string) *string {
	parts := strings.Split(s.bucket+"/"+*s.full(key), "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	// PathEscape leaves '+' as it is, which some servers take for a space.
	return aws.String(strings.ReplaceAll(strings.Join(parts, "/"), "+", "%2B"))
}

// copyParts copies what is too large for one request. The copy has a checksum of the
// server's choosing: versitygw 1.8.0 gives each part the checksum of the whole source if
// both use the same algorithm (UploadPartCopy in its backend/posix), and then refuses
// them. So the copy's CRC32C is not known.
func (s *Store) copyParts(ctx context.Context, from backend.Object, dst string, a backend.Attr, o backend.PutOptions) (backend.Object, error) {
	partBytes := max(min(copyPartBytes, s.copyWholeBytes), (from.Size+9999)/10_000)
	st, err := s.begin(ctx, backend.Stage{Key: dst, Size: from.Size, PartSize: partBytes, Attr: a}, false)
	if err != nil {
		return backend.Object{}, err
	}
	parts := make([]backend.Part, st.Parts())
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(copyParallel)
	for n := 1; n <= len(parts); n++ {
		group.Go(func() (err error) {
			parts[n-1], err = s.copyPart(gctx, from, st, n, o.SourceETag)
			return err
		})
	}
	err = group.Wait()
	var obj backend.Object
	if err == nil {
		obj, err = s.complete(ctx, st, s.completion(st, parts, o.IfAbsent))
	}
	if err != nil {
		// Nobody else knows of this upload: even if ctx has ended, it must not stay.
		s.AbortStage(context.WithoutCancel(ctx), st)
	}
	return obj, err
}

func (s *Store) copyPart(ctx context.Context, from backend.Object, st backend.Stage, n int, sourceETag string) (backend.Part, error) {
	off, size := st.Range(n)
	out, err := s.client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{
		Bucket:            &s.bucket,
		Key:               s.full(st.Key),
		UploadId:          &st.ID,
		PartNumber:        aws.Int32(int32(n)),
		CopySource:        s.source(from.Key),
		CopySourceIfMatch: quote(from.ETag),
		CopySourceRange:   aws.String(fmt.Sprintf("bytes=%d-%d", off, off+size-1)),
	})
	if err != nil { // of the two conditions a part has only the source's
		return backend.Part{}, s.failCopy(ctx, from, st.Key, backend.PutOptions{SourceETag: sourceETag}, err)
	}
	if out.CopyPartResult == nil {
		return backend.Part{}, fmt.Errorf("copy of part %d: empty answer", n)
	}
	return backend.Part{Number: n, Size: size, ETag: unquote(out.CopyPartResult.ETag)}, nil
}
