package azure

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
)

// maxDeleteErrors is how many keys an error names: one refusal is like another.
const maxDeleteErrors = 5

func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if err := started(ctx, backend.OpDelete, ""); err != nil {
		return err
	}
	for _, key := range keys {
		if err := s.check(ctx, backend.OpDelete, key); err != nil {
			return err
		}
	}
	return s.remove(ctx, backend.OpDelete, keys)
}

// remove asks for each key by itself: a batch of them costs as much, and says less.
func (s *Store) remove(ctx context.Context, op string, keys []string) error {
	var g errgroup.Group
	g.SetLimit(parallel)
	errs := make([]error, len(keys))
	for i, key := range keys {
		g.Go(func() error {
			_, err := s.blob(key).Delete(ctx, &blob.DeleteOptions{DeleteSnapshots: to.Ptr(blob.DeleteSnapshotsOptionTypeInclude)})
			if err = fail(op, key, err); !errors.Is(err, backend.ErrNotExist) {
				errs[i] = err
			}
			return nil
		})
	}
	g.Wait()
	var failed []error
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	if more := len(failed) - maxDeleteErrors; more > 0 {
		failed = append(failed[:maxDeleteErrors], fmt.Errorf("and %d more keys", more))
	}
	return errors.Join(failed...)
}
