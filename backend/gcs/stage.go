package gcs

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"

	"github.com/trainfs/trainfs/backend"
)

const (
	stagingDir  = ".trainfs/v1/staging/"
	headerName  = "stage"
	publishName = "publish"
	partPrefix  = "part-"
	// metaKey is the metadata, on everything of a stage, that names its key, escaped.
	metaKey = "trainfs-key"
)

func stageDir(st backend.Stage) string { return stagingDir + st.ID + "/" }
func partKey(st backend.Stage, n int) string {
	return fmt.Sprintf("%s%s%05d", stageDir(st), partPrefix, n)
}
func stageMeta(st backend.Stage) map[string]string {
	return map[string]string{metaKey: url.QueryEscape(st.Key)}
}

// validID keeps what a journal says from becoming any other key.
func validID(id string) bool {
	return len(id) >= 20 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

func (s *Store) BeginStage(ctx context.Context, key string, size, partSize int64, attr backend.Attr) (backend.Stage, error) {
	if err := s.check(ctx, backend.OpBeginStage, key); err != nil {
		return backend.Stage{}, err
	}
	attr, err := backend.CheckPut(backend.OpBeginStage, key, size, attr)
	if err != nil {
		return backend.Stage{}, err
	}
	st := backend.Stage{Key: key, ID: rand.Text(), Size: size, PartSize: partSize, Attr: attr}
	if err := s.Capabilities().CheckStage(st); err != nil {
		return backend.Stage{}, err
	}
	a, err := s.write(ctx, s.object(stageDir(st)+headerName), empty(), stageMeta(st))
	if err != nil {
		return backend.Stage{}, fail(backend.OpBeginStage, key, err)
	}
	st.Started = a.Created
	return st, nil
}

func (s *Store) PutPart(ctx context.Context, st backend.Stage, n int, c backend.Content) (backend.Part, error) {
	if err := st.CheckPart(n, c); err != nil {
		return backend.Part{}, err
	}
	if err := s.known(ctx, st); err != nil {
		return backend.Part{}, fail(backend.OpPutPart, st.Key, err)
	}
	a, err := s.write(ctx, s.object(partKey(st, n)), c, stageMeta(st))
	if err != nil {
		return backend.Part{}, failContent(backend.OpPutPart, st.Key, c, err)
	}
	return backend.Part{Number: n, Size: c.Size, ETag: etag(a.Generation), CRC32C: c.CRC32C}, nil
}

// known says ErrNoStage of a stage that is gone.
func (s *Store) known(ctx context.Context, st backend.Stage) error {
	if !validID(st.ID) {
		return noStage(backend.OpPutPart, st)
	}
	_, err := s.object(stageDir(st) + headerName).Attrs(ctx)
	if errors.Is(err, storage.ErrObjectNotExist) {
		return noStage(backend.OpPutPart, st)
	}
	return err
}

func noStage(op string, st backend.Stage) error {
	return &backend.Error{Op: op, Key: st.Key, Kind: backend.ErrNoStage}
}

func (s *Store) StagedParts(ctx context.Context, st backend.Stage) ([]backend.Part, error) {
	held, err := s.held(ctx, backend.OpStagedParts, st)
	return held.parts, err
}

// held is what there is of a stage.
type held struct {
	parts   []backend.Part // in order
	publish bool           // a publish was begun
	keys    []string       // of everything but the header
}

func (s *Store) held(ctx context.Context, op string, st backend.Stage) (held, error) {
	if err := ctx.Err(); err != nil {
		return held{}, &backend.Error{Op: op, Key: st.Key, Err: err}
	}
	if !validID(st.ID) {
		return held{}, noStage(op, st)
	}
	var (
		h      held
		header bool
	)
	err := s.each(ctx, stageDir(st), func(a *storage.ObjectAttrs) {
		key := strings.TrimPrefix(a.Name, s.prefix)
		name := strings.TrimPrefix(key, stageDir(st))
		if name == headerName {
			header = true
			return
		}
		h.keys = append(h.keys, key)
		h.publish = h.publish || name == publishName
		number, ok := strings.CutPrefix(name, partPrefix)
		if n, err := strconv.Atoi(number); ok && err == nil {
			h.parts = append(h.parts, backend.Part{Number: n, Size: a.Size, ETag: etag(a.Generation), CRC32C: a.CRC32C})
		}
	})
	if err == nil && !header {
		return held{}, noStage(op, st)
	}
	slices.SortFunc(h.parts, func(a, b backend.Part) int { return cmp.Compare(a.Number, b.Number) })
	return h, fail(op, st.Key, err)
}

// each calls f for every object below a prefix, those of staging too.
func (s *Store) each(ctx context.Context, prefix string, f func(*storage.ObjectAttrs)) error {
	it := s.bucket.Objects(ctx, &storage.Query{Prefix: s.prefix + prefix, Projection: storage.ProjectionNoACL})
	for {
		a, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		}
		if err != nil {
			return err
		}
		f(a)
	}
}

func (s *Store) AbortStage(ctx context.Context, st backend.Stage) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: backend.OpAbortStage, Key: st.Key, Err: err}
	}
	if !validID(st.ID) {
		return nil
	}
	var keys []string
	err := s.each(ctx, stageDir(st), func(a *storage.ObjectAttrs) {
		keys = append(keys, strings.TrimPrefix(a.Name, s.prefix))
	})
	if err != nil {
		return fail(backend.OpAbortStage, st.Key, err)
	}
	return s.removeStage(ctx, backend.OpAbortStage, st, keys)
}

// removeStage takes the header first: what is then left is a stage no more.
func (s *Store) removeStage(ctx context.Context, op string, st backend.Stage, keys []string) error {
	if err := s.remove(ctx, op, []string{stageDir(st) + headerName}); err != nil {
		return err
	}
	return s.remove(ctx, op, keys)
}

func (s *Store) ListStages(ctx context.Context, prefix string) ([]backend.Stage, error) {
	if err := ctx.Err(); err != nil {
		return nil, &backend.Error{Op: backend.OpListStages, Key: prefix, Err: err}
	}
	var (
		stages []backend.Stage
		last   string
	)
	err := s.each(ctx, stagingDir, func(a *storage.ObjectAttrs) {
		id, _, _ := strings.Cut(strings.TrimPrefix(a.Name, s.prefix+stagingDir), "/")
		key, err := url.QueryUnescape(a.Metadata[metaKey])
		if id == last || !validID(id) || err != nil || key == "" || !strings.HasPrefix(key, prefix) {
			return
		}
		last = id
		stages = append(stages, backend.Stage{Key: key, ID: id, Started: a.Created})
	})
	return stages, fail(backend.OpListStages, prefix, err)
}

func empty() backend.Content { return backend.Content{R: strings.NewReader("")} }
