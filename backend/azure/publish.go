package azure

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

// PublishStage makes the blocks the blob, in one step. The list takes a block that is
// committed already as well as one that is not, so a call whose answer was lost can be
// repeated, unless somebody else has written the key since: then the blocks are gone.
func (s *Store) PublishStage(ctx context.Context, st backend.Stage, parts []backend.Part, crc uint32, o backend.PutOptions) (backend.Object, error) {
	if err := st.CheckParts(parts); err != nil {
		return backend.Object{}, err
	}
	if err := matches(st, parts, crc); err != nil {
		return backend.Object{}, err
	}
	if err := s.known(ctx, backend.OpPublishStage, st); err != nil {
		return backend.Object{}, err
	}
	ids := make([]string, 0, len(parts))
	for _, p := range parts {
		if p.Size > 0 {
			ids = append(ids, p.ETag)
		}
	}
	opts := &blockblob.CommitBlockListOptions{
		Metadata:         metadata(st.Attr, &crc),
		AccessConditions: conditions(o.IfAbsent, ""),
	}
	s.place.commit(opts)
	out, err := s.commit(ctx, st.Key, ids, opts)
	obj := describe(st.Key, &st.Size, out.ETag, out.LastModified, opts.Metadata)
	err = fail(backend.OpPublishStage, st.Key, err)
	if errors.Is(err, backend.ErrExist) && len(ids) > 0 && s.isOurs(ctx, st.Key, ids) {
		obj, err = s.head(ctx, st.Key)
		err = fail(backend.OpPublishStage, st.Key, err)
	}
	if err == nil || errors.Is(err, backend.ErrNoStage) {
		s.AbortStage(ctx, st) // what fails stays for gc: the publish has been
	}
	if err != nil {
		return backend.Object{}, err
	}
	return obj, nil
}

func (s *Store) commit(ctx context.Context, key string, ids []string, opts *blockblob.CommitBlockListOptions) (out blockblob.CommitBlockListResponse, err error) {
	err = again(ctx, func(ctx context.Context) error {
		out, err = s.blob(key).CommitBlockList(ctx, ids, opts)
		return err
	})
	return out, err
}

// matches refuses, with ErrChecksum, parts that are not those that were put, or that are
// not the whole.
func matches(st backend.Stage, parts []backend.Part, crc uint32) error {
	sum, why := uint32(0), error(nil)
	for _, p := range parts {
		if p.ETag != blockID(st, p.Number, p.CRC32C) {
			why = fmt.Errorf("part %d is not the one that was put", p.Number)
		}
		sum = crc32c.Combine(sum, p.CRC32C, p.Size)
	}
	if why == nil && sum != crc {
		why = fmt.Errorf("parts have %08x, the whole should have %08x", sum, crc)
	}
	if why == nil {
		return nil
	}
	return &backend.Error{Op: backend.OpPublishStage, Key: st.Key, Kind: backend.ErrChecksum, Err: why}
}

// isOurs tells that what is there was published by an earlier call.
func (s *Store) isOurs(ctx context.Context, key string, ids []string) bool {
	lists, err := s.blob(key).GetBlockList(ctx, blockblob.BlockListTypeCommitted, nil)
	return err == nil && slices.EqualFunc(lists.CommittedBlocks, ids, func(b *blockblob.Block, id string) bool {
		return b.Name != nil && *b.Name == id
	})
}
