package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
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
	st, err = s.begin(ctx, st)
	return st, fail(backend.OpBeginStage, key, err)
}

func (s *Store) begin(ctx context.Context, st backend.Stage) (backend.Stage, error) {
	out, err := s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket:            &s.bucket,
		Key:               s.full(st.Key),
		Metadata:          metadata(st.Attr),
		ChecksumAlgorithm: types.ChecksumAlgorithmCrc32c,
		ChecksumType:      types.ChecksumTypeFullObject,
	})
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
		ContentLength:  &c.Size,
		ChecksumCRC32C: encodeCRC(c.CRC32C),
	}, unsigned)
	if err != nil {
		return backend.Part{}, failStage(backend.OpPutPart, st, err)
	}
	return backend.Part{Number: n, Size: c.Size, ETag: unquote(out.ETag), CRC32C: c.CRC32C}, nil
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
	obj, err := s.complete(ctx, st, parts, crc, true, o.IfAbsent)
	return obj, failStage(backend.OpPublishStage, st, err)
}

// complete makes a multipart upload an object.
func (s *Store) complete(ctx context.Context, st backend.Stage, parts []backend.Part, crc uint32, known, absent bool) (backend.Object, error) {
	done := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		done[i] = types.CompletedPart{PartNumber: aws.Int32(int32(p.Number)), ETag: quote(p.ETag)}
		if known { // else parts were copied, and the server may not have told
			done[i].ChecksumCRC32C = encodeCRC(p.CRC32C)
		}
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket:          &s.bucket,
		Key:             s.full(st.Key),
		UploadId:        &st.ID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		MpuObjectSize:   &st.Size,
		ChecksumType:    types.ChecksumTypeFullObject,
		IfNoneMatch:     ifAbsent(absent),
	}
	if known {
		in.ChecksumCRC32C = encodeCRC(crc)
	}
	out, err := s.client.CompleteMultipartUpload(ctx, in)
	if err != nil {
		return backend.Object{}, err
	}
	return backend.Object{
		Key:       st.Key,
		Size:      st.Size,
		ETag:      unquote(out.ETag),
		Modified:  serverTime(out.ResultMetadata),
		CRC32C:    crc,
		HasCRC32C: known,
		Attr:      st.Attr,
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
	var response *awshttp.ResponseError
	err = fail(op, st.Key, err)
	if errors.Is(err, backend.ErrNotExist) && errors.As(err, &response) && response.HTTPStatusCode() == http.StatusNotFound {
		return &backend.Error{Op: op, Key: st.Key, Kind: backend.ErrNoStage, Err: errors.Unwrap(response)}
	}
	return err
}
