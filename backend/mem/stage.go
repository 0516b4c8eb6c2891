package mem

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

type stage struct {
	backend.Stage
	parts map[int]part
}

type part struct {
	backend.Part
	data []byte
}

func (s *Store) BeginStage(ctx context.Context, key string, size, partSize int64, attr backend.Attr) (backend.Stage, error) {
	st := backend.Stage{Key: key, Size: size, PartSize: partSize, Started: time.Now()}
	if err := ctx.Err(); err != nil {
		return st, &backend.Error{Op: backend.OpBeginStage, Key: key, Err: err}
	}
	var err error
	if st.Attr, err = backend.CheckPut(backend.OpBeginStage, key, size, attr); err != nil {
		return st, err
	}
	if err := s.caps.CheckStage(st); err != nil {
		return st, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.counter++
	st.ID = fmt.Sprintf("stage-%d", s.mu.counter)
	s.mu.stages[st.ID] = &stage{Stage: st, parts: make(map[int]part)}
	return st, nil
}

func (s *Store) PutPart(ctx context.Context, st backend.Stage, n int, c backend.Content) (backend.Part, error) {
	if err := st.CheckPart(n, c); err != nil {
		return backend.Part{}, err
	}
	data, err := read(ctx, backend.OpPutPart, st.Key, c)
	if err != nil {
		return backend.Part{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, err := s.stageLocked(ctx, backend.OpPutPart, st)
	if err != nil {
		return backend.Part{}, err
	}
	s.mu.counter++
	p := backend.Part{Number: n, Size: c.Size, CRC32C: c.CRC32C, ETag: fmt.Sprintf("part-%d", s.mu.counter)}
	known.parts[n] = part{Part: p, data: data}
	return p, nil
}

func (s *Store) StagedParts(ctx context.Context, st backend.Stage) ([]backend.Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, err := s.stageLocked(ctx, backend.OpStagedParts, st)
	if err != nil {
		return nil, err
	}
	var parts []backend.Part
	for _, n := range slices.Sorted(maps.Keys(known.parts)) {
		parts = append(parts, known.parts[n].Part)
	}
	return parts, nil
}

func (s *Store) PublishStage(ctx context.Context, st backend.Stage, parts []backend.Part, crc uint32, o backend.PutOptions) (backend.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, err := s.stageLocked(ctx, backend.OpPublishStage, st)
	if err != nil {
		return backend.Object{}, err
	}
	if err := known.CheckParts(parts); err != nil {
		return backend.Object{}, err
	}
	var whole bytes.Buffer
	for _, p := range parts {
		held, ok := known.parts[p.Number]
		if !ok || held.ETag != p.ETag {
			return backend.Object{}, fail(backend.OpPublishStage, st.Key, backend.ErrChecksum)
		}
		whole.Write(held.data)
	}
	if crc32c.Checksum(whole.Bytes()) != crc {
		return backend.Object{}, fail(backend.OpPublishStage, st.Key, backend.ErrChecksum)
	}
	obj, err := s.storeLocked(backend.OpPublishStage, known.Key, whole.Bytes(), known.Attr, o.IfAbsent)
	if err == nil {
		delete(s.mu.stages, st.ID)
	}
	return obj, err
}

func (s *Store) AbortStage(ctx context.Context, st backend.Stage) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: backend.OpAbortStage, Key: st.Key, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.stages, st.ID)
	return nil
}

func (s *Store) ListStages(ctx context.Context, prefix string) ([]backend.Stage, error) {
	if err := ctx.Err(); err != nil {
		return nil, &backend.Error{Op: backend.OpListStages, Key: prefix, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var stages []backend.Stage
	for _, id := range slices.Sorted(maps.Keys(s.mu.stages)) {
		if st := s.mu.stages[id].Stage; strings.HasPrefix(st.Key, prefix) {
			stages = append(stages, st)
		}
	}
	return stages, nil
}

func (s *Store) stageLocked(ctx context.Context, op string, st backend.Stage) (*stage, error) {
	if err := ctx.Err(); err != nil {
		return nil, &backend.Error{Op: op, Key: st.Key, Err: err}
	}
	known, ok := s.mu.stages[st.ID]
	if !ok || known.Key != st.Key {
		return nil, fail(op, st.Key, backend.ErrNoStage)
	}
	return known, nil
}
