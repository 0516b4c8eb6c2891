package s3

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/usermeta"
)

func (s *Store) BeginStage(ctx context.Context, key string, size, partSize int64, a backend.Attr) (backend.Stage, error) {
	if err := s.check(backend.OpBeginStage, key); err != nil {
		return backend.Stage{}, err
	}
	a, err := backend.CheckPut(backend.OpBeginStage, key, size, a)
	if err != nil {
		return backend.Stage{}, err
	}
	st := backend.Stage{Key: key, Size: size, PartSize: partSize, Attr: a}
	if err := s.Capabilities().CheckStage(st); err != nil {
		return backend.Stage{}, err
	}
	st, err = s.begin(ctx, st, true)
	return st, fail(backend.OpBeginStage, key, err)
}

// begin starts a multipart upload, whose parts will come with our checksums or with none.
func (s *Store) begin(ctx context.Context, st backend.Stage, checksums bool) (backend.Stage, error) {
	in := &s3.CreateMultipartUploadInput{
		Bucket:   &s.bucket,
		Key:      s.full(st.Key),
		Metadata: usermeta.Encode(st.Attr),
	}
	if checksums {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32c
		in.ChecksumType = types.ChecksumTypeFullObject
	}
	s.place.begin(in)
	out, err := s.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return backend.Stage{}, err
	}
	st.ID, st.Started = aws.ToString(out.UploadId), time.Now()
	return st, nil
}

func (s *Store) PutPart(ctx context.Context, st backend.Stage, n int, c backend.Content) (backend.Part, error) {
	if err := st.CheckPart(n, c); err != nil {
		return backend.Part{}, err
	}
	out, err := s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket:         &s.bucket,
		Key:            s.full(st.Key),
		UploadId:       &st.ID,
		PartNumber:     aws.Int32(int32(n)),
		Body:           c.Reader(),
		ChecksumCRC32C: encodeCRC(c.CRC32C),
	}, unsigned)
	if err != nil {
		return backend.Part{}, s.failPart(ctx, st, err)
	}
	return backend.Part{Number: n, Size: c.Size, ETag: unquote(out.ETag), CRC32C: c.CRC32C}, nil
}

// failPart asks again if it got no answer. A server may refuse a part before it has read
// it, and close the connection; then its answer is often lost on the way, with versitygw
// half the time. A question without a body tells at least whether the stage is gone.
func (s *Store) failPart(ctx context.Context, st backend.Stage, err error) error {
	if ctx.Err() == nil && status(err) == 0 {
		if _, gone := s.StagedParts(ctx, st); errors.Is(gone, backend.ErrNoStage) {
			err = gone
		}
	}
	return failStage(backend.OpPutPart, st, err)
}

func (s *Store) StagedParts(ctx context.Context, st backend.Stage) ([]backend.Part, error) {
	var parts []backend.Part
	pages := s3.NewListPartsPaginator(s.client, &s3.ListPartsInput{
		Bucket: &s.bucket, Key: s.full(st.Key), UploadId: &st.ID,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, failStage(backend.OpStagedParts, st, err)
		}
		for _, p := range page.Parts {
			crc, err := decodeCRC(p.ChecksumCRC32C)
			if err != nil {
				continue // put without a checksum: not by us, so let it be put again
			}
			parts = append(parts, backend.Part{
				Number: int(aws.ToInt32(p.PartNumber)),
				Size:   aws.ToInt64(p.Size),
				ETag:   unquote(p.ETag),
				CRC32C: crc,
			})
		}
	}
	return parts, nil
}

func (s *Store) PublishStage(ctx context.Context, st backend.Stage, parts []backend.Part, crc uint32, o backend.PutOptions) (backend.Object, error) {
	if err := st.CheckParts(parts); err != nil {
		return backend.Object{}, err
	}
	// The server checks the whole as well; where it does not, this is left.
	sum := uint32(0)
	for _, p := range parts {
		sum = crc32c.Combine(sum, p.CRC32C, p.Size)
	}
	if sum != crc {
		return backend.Object{}, &backend.Error{Op: backend.OpPublishStage, Key: st.Key, Kind: backend.ErrChecksum,
			Err: fmt.Errorf("parts have %08x, the whole should have %08x", sum, crc)}
	}
	in := s.completion(st, parts, o.IfAbsent)
	for i, p := range parts {
		in.MultipartUpload.Parts[i].ChecksumCRC32C = encodeCRC(p.CRC32C)
	}
	in.ChecksumType = types.ChecksumTypeFullObject
	in.ChecksumCRC32C = encodeCRC(crc)
	obj, err := s.complete(ctx, st, in)
	if err != nil {
		return backend.Object{}, failStage(backend.OpPublishStage, st, err)
	}
	obj.CRC32C, obj.HasCRC32C = crc, true
	return obj, nil
}

func (s *Store) completion(st backend.Stage, parts []backend.Part, absent bool) *s3.CompleteMultipartUploadInput {
	done := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		done[i] = types.CompletedPart{PartNumber: aws.Int32(int32(p.Number)), ETag: quote(p.ETag)}
	}
	return &s3.CompleteMultipartUploadInput{
		Bucket:          &s.bucket,
		Key:             s.full(st.Key),
		UploadId:        &st.ID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		MpuObjectSize:   &st.Size,
		IfNoneMatch:     ifAbsent(absent),
	}
}

// complete makes a multipart upload an object.
func (s *Store) complete(ctx context.Context, st backend.Stage, in *s3.CompleteMultipartUploadInput) (backend.Object, error) {
	out, err := s.client.CompleteMultipartUpload(ctx, in)
	if err != nil {
		return backend.Object{}, err
	}
	return backend.Object{
		Key:      st.Key,
		Size:     st.Size,
		ETag:     unquote(out.ETag),
		Modified: serverTime(out.ResultMetadata),
		Attr:     st.Attr,
	}, nil
}

func (s *Store) AbortStage(ctx context.Context, st backend.Stage) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{
		Bucket: &s.bucket, Key: s.full(st.Key), UploadId: &st.ID,
	})
	if err = failStage(backend.OpAbortStage, st, err); errors.Is(err, backend.ErrNoStage) {
		return nil
	}
	return err
}

// ListStages on MinIO finds uploads only by their exact key: it takes the prefix for one.
func (s *Store) ListStages(ctx context.Context, prefix string) ([]backend.Stage, error) {
	var stages []backend.Stage
	pages := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{
		Bucket:       &s.bucket,
		Prefix:       s.full(prefix),
		EncodingType: types.EncodingTypeUrl,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fail(backend.OpListStages, prefix, err)
		}
		for _, u := range page.Uploads {
			key, ok, err := s.relative(u.Key, page.EncodingType)
			if err != nil {
				return nil, fail(backend.OpListStages, prefix, err)
			}
			if ok {
				stages = append(stages, backend.Stage{Key: key, ID: aws.ToString(u.UploadId), Started: aws.ToTime(u.Initiated)})
			}
		}
	}
	return stages, nil
}

// failStage knows that what a call on a stage misses is the stage.
func failStage(op string, st backend.Stage, err error) error {
	var e *backend.Error
	if err = fail(op, st.Key, err); errors.As(err, &e) && e.Kind == backend.ErrNotExist {
		return &backend.Error{Op: op, Key: st.Key, Kind: backend.ErrNoStage, Err: e.Err}
	}
	return err
}
