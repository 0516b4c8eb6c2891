package azure

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/trainfs/trainfs/backend"
)

const (
	stagingDir = ".trainfs/v1/staging/"
	// metaKey is the metadata of a stage's header that names its key, escaped.
	metaKey = "trainfs_key"
)

func header(st backend.Stage) string { return stagingDir + st.ID }

// validID keeps what a journal says from becoming any other key.
func validID(id string) bool {
	return len(id) == 26 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// blockID names a part. All ids of one blob must have the same length.
func blockID(st backend.Stage, n int, crc uint32) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s-%05d-%08x", st.ID, n, crc))
}

// parseID is the reverse; false for the blocks of others.
func parseID(st backend.Stage, id string) (n int, crc uint32, ok bool) {
	text, err := base64.StdEncoding.DecodeString(id)
	if err != nil || !strings.HasPrefix(string(text), st.ID+"-") {
		return 0, 0, false
	}
	_, err = fmt.Sscanf(string(text[len(st.ID):]), "-%05d-%08x", &n, &crc)
	return n, crc, err == nil && blockID(st, n, crc) == id
}

func (s *Store) BeginStage(ctx context.Context, key string, size, partSize int64, a backend.Attr) (backend.Stage, error) {
	if err := s.check(ctx, backend.OpBeginStage, key); err != nil {
		return backend.Stage{}, err
	}
	a, err := backend.CheckPut(backend.OpBeginStage, key, size, a)
	if err != nil {
		return backend.Stage{}, err
	}
	st := backend.Stage{Key: key, ID: rand.Text(), Size: size, PartSize: partSize, Attr: a, Started: time.Now()}
	if err := s.Capabilities().CheckStage(st); err != nil {
		return backend.Stage{}, err
	}
	opts := &blockblob.UploadOptions{Metadata: map[string]*string{metaKey: to.Ptr(url.QueryEscape(key))}}
	s.place.small(opts)
	out, err := s.upload(ctx, header(st), backend.Content{R: strings.NewReader("")}, opts)
	if err != nil {
		return backend.Stage{}, fail(backend.OpBeginStage, key, err)
	}
	if out.LastModified != nil {
		st.Started = *out.LastModified
	}
	return st, nil
}

// known says ErrNoStage of a stage that is gone.
func (s *Store) known(ctx context.Context, op string, st backend.Stage) error {
	if err := started(ctx, op, st.Key); err != nil {
		return err
	}
	if !validID(st.ID) {
		return &backend.Error{Op: op, Key: st.Key, Kind: backend.ErrNoStage}
	}
	_, err := s.blob(header(st)).GetProperties(ctx, nil)
	if err = fail(op, st.Key, err); errors.Is(err, backend.ErrNotExist) {
		return &backend.Error{Op: op, Key: st.Key, Kind: backend.ErrNoStage}
	}
	return err
}

func (s *Store) PutPart(ctx context.Context, st backend.Stage, n int, c backend.Content) (backend.Part, error) {
	if err := st.CheckPart(n, c); err != nil {
		return backend.Part{}, err
	}
	if err := s.known(ctx, backend.OpPutPart, st); err != nil {
		return backend.Part{}, err
	}
	part := backend.Part{Number: n, Size: c.Size, ETag: blockID(st, n, c.CRC32C), CRC32C: c.CRC32C}
	if c.Size == 0 { // the server takes no empty block, and needs none
		return part, nil
	}
	if err := s.putBlock(ctx, st.Key, part.ETag, c); err != nil {
		return backend.Part{}, fail(backend.OpPutPart, st.Key, err)
	}
	return part, nil
}

func (s *Store) putBlock(ctx context.Context, key, id string, c backend.Content) error {
	sum, err := verify(c)
	if err != nil {
		return err
	}
	return again(ctx, func(ctx context.Context) error {
		_, err := s.blob(key).StageBlock(ctx, id, streaming.NopCloser(c.Reader()),
			&blockblob.StageBlockOptions{TransactionalValidation: sum, CPKScopeInfo: s.place.scope()})
		return err
	})
}

// StagedParts finds committed blocks too: those of a publish whose answer was lost.
func (s *Store) StagedParts(ctx context.Context, st backend.Stage) ([]backend.Part, error) {
	if err := s.known(ctx, backend.OpStagedParts, st); err != nil {
		return nil, err
	}
	lists, err := s.blob(st.Key).GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
	if err = fail(backend.OpStagedParts, st.Key, err); errors.Is(err, backend.ErrNotExist) {
		return nil, nil // no blob, and no blocks
	}
	if err != nil {
		return nil, err
	}
	return partsOf(st, slices.Concat(lists.UncommittedBlocks, lists.CommittedBlocks)), nil
}

// partsOf gives those blocks that are parts of st. A part that is there with two contents
// was put again; which is the last one nobody says, so it has to be put once more.
func partsOf(st backend.Stage, blocks []*blockblob.Block) []backend.Part {
	var (
		parts []backend.Part
		twice = make(map[int]bool)
		seen  = make(map[int]string)
	)
	for _, b := range blocks {
		if b.Name == nil || b.Size == nil {
			continue
		}
		n, crc, ok := parseID(st, *b.Name)
		if !ok || seen[n] == *b.Name {
			continue
		}
		twice[n] = seen[n] != ""
		seen[n] = *b.Name
		parts = append(parts, backend.Part{Number: n, Size: *b.Size, ETag: *b.Name, CRC32C: crc})
	}
	parts = slices.DeleteFunc(parts, func(p backend.Part) bool { return twice[p.Number] })
	slices.SortFunc(parts, func(a, b backend.Part) int { return cmp.Compare(a.Number, b.Number) })
	return parts
}

func (s *Store) AbortStage(ctx context.Context, st backend.Stage) error {
	if err := started(ctx, backend.OpAbortStage, st.Key); err != nil {
		return err
	}
	if !validID(st.ID) {
		return nil
	}
	return s.remove(ctx, backend.OpAbortStage, []string{header(st)})
}

func (s *Store) ListStages(ctx context.Context, prefix string) ([]backend.Stage, error) {
	if err := started(ctx, backend.OpListStages, prefix); err != nil {
		return nil, err
	}
	var stages []backend.Stage
	for token := optional(""); ; {
		items, next, err := s.listFlat(ctx, s.name(stagingDir), token, listLimit)
		if err != nil {
			return nil, fail(backend.OpListStages, prefix, err)
		}
		for _, item := range items {
			id, ok := s.key(item.Name, stagingDir)
			if id = strings.TrimPrefix(id, stagingDir); !ok || !validID(id) || item.Properties == nil || item.Properties.LastModified == nil {
				continue
			}
			if key := stageKey(item.Metadata); key != "" && strings.HasPrefix(key, prefix) {
				stages = append(stages, backend.Stage{Key: key, ID: id, Started: *item.Properties.LastModified})
			}
		}
		if next == nil || *next == "" {
			return stages, nil
		}
		token = next
	}
}

func stageKey(meta map[string]*string) string {
	for name, value := range meta {
		if strings.EqualFold(name, metaKey) && value != nil {
			if key, err := url.QueryUnescape(*value); err == nil {
				return key
			}
		}
	}
	return ""
}
