package gcs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"cloud.google.com/go/storage"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/usermeta"
)

// publishAttempts bounds how often a publish begins again because somebody else wrote the
// same key in between; then the layers above wait and go on.
const publishAttempts = 8

func (s *Store) PublishStage(ctx context.Context, st backend.Stage, parts []backend.Part, crc uint32, o backend.PutOptions) (backend.Object, error) {
	if err := st.CheckParts(parts); err != nil {
		return backend.Object{}, err
	}
	h, err := s.held(ctx, backend.OpPublishStage, st)
	if err != nil {
		return backend.Object{}, err
	}
	if err := matches(st, parts, h.parts, crc); err != nil {
		return backend.Object{}, err
	}
	var a *storage.ObjectAttrs
	if o.IfAbsent {
		a, err = s.compose(ctx, st, parts, crc, storage.Conditions{DoesNotExist: true})
	} else {
		a, err = s.replace(ctx, st, h, parts, crc)
	}
	if err != nil {
		return backend.Object{}, fail(backend.OpPublishStage, st.Key, err)
	}
	s.tidy(ctx, st)
	obj := s.described(a)
	obj.CRC32C, obj.HasCRC32C = crc, true
	return obj, nil
}

// matches refuses, with ErrChecksum, parts that the store does not hold like that.
func matches(st backend.Stage, parts, held []backend.Part, crc uint32) error {
	have := make(map[int]backend.Part, len(held))
	for _, p := range held {
		have[p.Number] = p
	}
	sum, why := uint32(0), error(nil)
	for _, p := range parts {
		if have[p.Number] != p {
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

// replace publishes whatever is there now. Which version that is goes into the store first
// (see the package comment). Who writes the same key meanwhile makes it begin again: the
// last to publish wins.
func (s *Store) replace(ctx context.Context, st backend.Stage, h held, parts []backend.Part, crc uint32) (*storage.ObjectAttrs, error) {
	if h.publish {
		target, err := s.target(ctx, st)
		if err != nil {
			return nil, err
		}
		a, err := s.compose(ctx, st, parts, crc, condition(target))
		if status(err) == http.StatusPreconditionFailed {
			s.tidy(ctx, st)
			return nil, noStage(backend.OpPublishStage, st) // published by the call before, or overtaken
		}
		return a, err
	}
	for range publishAttempts {
		target := int64(0)
		now, err := s.object(st.Key).Attrs(ctx)
		if err == nil {
			target = now.Generation
		} else if !errors.Is(err, storage.ErrObjectNotExist) {
			return nil, err
		}
		if err := s.setTarget(ctx, st, target); err != nil {
			return nil, err
		}
		a, err := s.compose(ctx, st, parts, crc, condition(target))
		if status(err) != http.StatusPreconditionFailed {
			return a, err
		}
	}
	return nil, errors.New("somebody else writes the same key all the time")
}

func condition(generation int64) storage.Conditions {
	return storage.Conditions{GenerationMatch: generation, DoesNotExist: generation == 0}
}

func (s *Store) setTarget(ctx context.Context, st backend.Stage, target int64) error {
	text := strconv.FormatInt(target, 10)
	c := backend.Content{R: strings.NewReader(text), Size: int64(len(text)), CRC32C: crc32c.Checksum([]byte(text))}
	_, err := s.write(ctx, s.object(stageDir(st)+publishName), c, stageMeta(st))
	return err
}

func (s *Store) target(ctx context.Context, st backend.Stage) (int64, error) {
	r, err := s.object(stageDir(st) + publishName).NewReader(ctx)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, 32))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(text), 10, 64)
}

// source is an object to compose from.
type source struct {
	key        string
	generation int64
	crc        uint32
	size       int64
}

// compose makes the key of the parts, level by level if they are too many for one request.
// The server refuses what does not have the checksum.
func (s *Store) compose(ctx context.Context, st backend.Stage, parts []backend.Part, crc uint32, cond storage.Conditions) (*storage.ObjectAttrs, error) {
	sources := make([]source, len(parts))
	for i, p := range parts {
		g, _ := generation(p.ETag)
		sources[i] = source{partKey(st, p.Number), g, p.CRC32C, p.Size}
	}
	for level := 1; len(sources) > maxSources; level++ {
		var above []source
		for len(sources) > 0 {
			some := sources[:min(maxSources, len(sources))]
			sources = sources[len(some):]
			to := source{key: fmt.Sprintf("%sc-%d-%05d", stageDir(st), level, len(above))}
			for _, from := range some {
				to.crc, to.size = crc32c.Combine(to.crc, from.crc, from.size), to.size+from.size
			}
			a, err := s.composeOne(ctx, s.object(to.key), some, to.crc, stageMeta(st))
			if err != nil {
				return nil, err
			}
			to.generation = a.Generation
			above = append(above, to)
		}
		sources = above
	}
	return s.composeOne(ctx, s.object(st.Key).If(cond), sources, crc, usermeta.Encode(st.Attr))
}

func (s *Store) composeOne(ctx context.Context, to *storage.ObjectHandle, from []source, crc uint32, meta map[string]string) (*storage.ObjectAttrs, error) {
	handles := make([]*storage.ObjectHandle, len(from))
	for i, f := range from {
		handles[i] = s.object(f.key).Generation(f.generation)
	}
	c := to.ComposerFrom(handles...)
	c.CRC32C, c.SendCRC32C = crc, true
	c.Metadata = meta
	s.place(&c.ObjectAttrs)
	return c.Run(ctx)
}

// tidy removes a stage that is published. What fails stays for gc: the publish has been.
func (s *Store) tidy(ctx context.Context, st backend.Stage) { s.AbortStage(ctx, st) }
