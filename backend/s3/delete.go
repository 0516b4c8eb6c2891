package s3

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/trainfs/trainfs/backend"
)

// maxDeleteErrors is how many of a batch's keys an error names: one refusal is like
// another, and a policy refuses them all.
const maxDeleteErrors = 5

func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if err := started(ctx, backend.OpDelete, ""); err != nil {
		return err
	}
	for _, key := range keys {
		if err := s.check(backend.OpDelete, key); err != nil {
			return err
		}
	}
	var errs []error
	for batch := range slices.Chunk(keys, deleteBatch) {
		err := s.deleteBatch(ctx, batch)
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (s *Store) deleteBatch(ctx context.Context, keys []string) error {
	ids := make([]types.ObjectIdentifier, len(keys))
	for i, key := range keys {
		ids[i].Key = s.full(key)
	}
	out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &s.bucket,
		Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
	})
	if err != nil {
		return fail(backend.OpDelete, keys[0], err)
	}
	var errs []error
	for _, e := range out.Errors {
		cause := &smithy.GenericAPIError{Code: aws.ToString(e.Code), Message: aws.ToString(e.Message)}
		err := fail(backend.OpDelete, strings.TrimPrefix(aws.ToString(e.Key), s.prefix), cause)
		if !errors.Is(err, backend.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if more := len(errs) - maxDeleteErrors; more > 0 {
		errs = append(errs[:maxDeleteErrors], fmt.Errorf("and %d more keys", more))
	}
	return errors.Join(errs...)
}
