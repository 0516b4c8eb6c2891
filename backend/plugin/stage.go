package plugin

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

func (s *Store) BeginStage(ctx context.Context, key string, size, partSize int64, attr backend.Attr) (backend.Stage, error) {
	attr, err := backend.CheckPut(backend.OpBeginStage, key, size, attr)
	if err != nil {
		return backend.Stage{}, err
	}
	st := backend.Stage{Key: key, Size: size, PartSize: partSize, Attr: attr, Started: time.Now()}
	if err := s.caps.CheckStage(st); err != nil {
		return backend.Stage{}, err
	}
	a, err := s.do(ctx, message{Op: backend.OpBeginStage, Key: key, Stage: &st}, nil)
	if err != nil {
		return backend.Stage{}, err
	}
	if a.Stage == nil || a.Stage.ID == "" {
		return backend.Stage{}, lie(backend.OpBeginStage, key, "no stage in the answer")
	}
	st.ID = a.Stage.ID
	return st, nil
}

// PutPart sends the content in pieces, and then says that they were all: a part with the
// wrong checksum is never finished.
func (s *Store) PutPart(ctx context.Context, st backend.Stage, n int, c backend.Content) (backend.Part, error) {
	if err := st.CheckPart(n, c); err != nil {
		return backend.Part{}, err
	}
	r, sum := c.Reader(), uint32(0)
	for offset := int64(0); offset < c.Size; {
		piece := make([]byte, min(pieceSize, c.Size-offset))
		if _, err := io.ReadFull(r, piece); err != nil {
			return backend.Part{}, &backend.Error{Op: backend.OpPutPart, Key: st.Key, Err: err}
		}
		if _, err := s.do(ctx, message{Op: opWrite, Key: st.Key, Stage: &st, Part: n, Offset: offset}, piece); err != nil {
			return backend.Part{}, err
		}
		sum = crc32c.Update(sum, piece)
		offset += int64(len(piece))
	}
	if err := summed(backend.OpPutPart, st.Key, sum, c.CRC32C); err != nil {
		return backend.Part{}, err
	}
	p := backend.Part{Number: n, Size: c.Size, CRC32C: c.CRC32C}
	a, err := s.do(ctx, message{Op: backend.OpPutPart, Key: st.Key, Stage: &st, Part: n, Length: c.Size, CRC32C: &c.CRC32C}, nil)
	if err != nil {
		return backend.Part{}, err
	}
	p.ETag = a.ETag
	return p, nil
}

func (s *Store) StagedParts(ctx context.Context, st backend.Stage) ([]backend.Part, error) {
	a, err := s.do(ctx, message{Op: backend.OpStagedParts, Key: st.Key, Stage: &st}, nil)
	if err != nil {
		return nil, err
	}
	last := 0
	for _, p := range a.Parts {
		if p.Number <= last || p.Number > st.Parts() || p.Size < 0 {
			return nil, lie(backend.OpStagedParts, st.Key, "part %d of %d bytes, behind part %d", p.Number, p.Size, last)
		}
		last = p.Number
	}
	return a.Parts, nil
}

func (s *Store) PublishStage(ctx context.Context, st backend.Stage, parts []backend.Part, crc uint32, o backend.PutOptions) (backend.Object, error) {
	if err := backend.CheckKey(backend.OpPublishStage, st.Key); err != nil {
		return backend.Object{}, err
	}
	if err := st.CheckParts(parts); err != nil {
		return backend.Object{}, err
	}
	sum := uint32(0)
	for _, p := range parts {
		sum = crc32c.Combine(sum, p.CRC32C, p.Size)
	}
	if err := summed(backend.OpPublishStage, st.Key, sum, crc); err != nil {
		return backend.Object{}, err
	}
	a, err := s.do(ctx, message{Op: backend.OpPublishStage, Key: st.Key, Stage: &st, Parts: parts, CRC32C: &crc, Attr: &o.Attr, IfAbsent: o.IfAbsent}, nil)
	if err != nil {
		return backend.Object{}, err
	}
	return s.written(backend.OpPublishStage, st.Key, st.Size, a)
}

func (s *Store) AbortStage(ctx context.Context, st backend.Stage) error {
	if st.ID == "" {
		return ctx.Err()
	}
	_, err := s.do(ctx, message{Op: backend.OpAbortStage, Key: st.Key, Stage: &st}, nil)
	return err
}

func (s *Store) ListStages(ctx context.Context, prefix string) ([]backend.Stage, error) {
	a, err := s.do(ctx, message{Op: backend.OpListStages, Prefix: prefix}, nil)
	if err != nil {
		return nil, err
	}
	for _, st := range a.Stages {
		if st.ID == "" || !strings.HasPrefix(st.Key, prefix) {
			return nil, lie(backend.OpListStages, prefix, "a stage %q of %q", st.ID, st.Key)
		}
	}
	return a.Stages, nil
}
