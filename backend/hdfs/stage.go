package hdfs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

// A stage is a directory, .trainfs/v1/staging/ID:
//
//	stage     what BeginStage was told, in JSON; who finds none finds no stage
//	part-N    part N, whole, with its checksum in its note
//	whole     the parts in one file, while they are being published
//
// PublishStage of several parts writes whole, removes the parts, and renames whole to its
// key; of one part it renames part-1. A crash before the rename leaves what the next call
// begins with; after it neither whole nor part-1 is there, which is ErrNoStage.
const (
	stageFile  = "stage"
	partPrefix = "part-"
	wholeFile  = "whole"
)

func newID() string { return rand.Text() }

func validID(id string) bool {
	return id != "" && len(id) <= 64 && !strings.ContainsAny(id, "/.:")
}

func (s *Store) stageDir(st backend.Stage) string { return path.Join(s.path(stagingDir), st.ID) }

func (s *Store) BeginStage(ctx context.Context, key string, size, partSize int64, attr backend.Attr) (backend.Stage, error) {
	if err := check(ctx, backend.OpBeginStage, key); err != nil {
		return backend.Stage{}, err
	}
	attr, err := backend.CheckPut(backend.OpBeginStage, key, size, attr)
	if err != nil {
		return backend.Stage{}, err
	}
	st := backend.Stage{Key: key, ID: newID(), Size: size, PartSize: partSize, Attr: attr, Started: time.Now()}
	if err := s.Capabilities().CheckStage(st); err != nil {
		return backend.Stage{}, err
	}
	text, err := json.Marshal(st)
	if err != nil {
		return backend.Stage{}, err
	}
	_, err = call(ctx, s, func(c *hdfs.Client) (struct{}, error) {
		temp := s.temp()
		if err := s.fill(ctx, c, temp, backend.Attr{}, strings.NewReader(string(text)), nil); err != nil {
			return struct{}{}, err
		}
		if err := c.MkdirAll(s.stageDir(st), dirPerm); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, c.Rename(temp, path.Join(s.stageDir(st), stageFile))
	})
	return st, fail(backend.OpBeginStage, key, err)
}

func (s *Store) PutPart(ctx context.Context, st backend.Stage, n int, c backend.Content) (backend.Part, error) {
	if err := st.CheckPart(n, c); err != nil {
		return backend.Part{}, err
	}
	p := backend.Part{Number: n, Size: c.Size, CRC32C: c.CRC32C, ETag: fmt.Sprintf("%08x", c.CRC32C)}
	_, err := call(ctx, s, func(client *hdfs.Client) (struct{}, error) {
		if err := s.known(client, st); err != nil {
			return struct{}{}, err
		}
		temp := s.temp()
		if err := s.fill(ctx, client, temp, st.Attr, c.Reader(), &c.CRC32C); err != nil {
			return struct{}{}, err
		}
		err := client.Rename(temp, s.part(st, n))
		if err != nil {
			err = errors.Join(err, ignoreMissing(client.Remove(temp)))
		}
		if missing(err) { // aborted meanwhile
			err = backend.ErrNoStage
		}
		return struct{}{}, err
	})
	if err != nil {
		return backend.Part{}, fail(backend.OpPutPart, st.Key, err)
	}
	return p, nil
}

func (s *Store) part(st backend.Stage, n int) string {
	return path.Join(s.stageDir(st), partPrefix+strconv.Itoa(n))
}

// known refuses a stage that there is not.
func (s *Store) known(c *hdfs.Client, st backend.Stage) error {
	if !validID(st.ID) {
		return backend.ErrNoStage
	}
	_, err := c.Stat(path.Join(s.stageDir(st), stageFile))
	if missing(err) {
		return backend.ErrNoStage
	}
	return err
}

func (s *Store) StagedParts(ctx context.Context, st backend.Stage) ([]backend.Part, error) {
	parts, err := call(ctx, s, func(c *hdfs.Client) ([]backend.Part, error) {
		if err := s.known(c, st); err != nil {
			return nil, err
		}
		return s.held(c, st)
	})
	return parts, fail(backend.OpStagedParts, st.Key, err)
}

func (s *Store) held(c *hdfs.Client, st backend.Stage) ([]backend.Part, error) {
	infos, err := c.ReadDir(s.stageDir(st))
	if err != nil {
		return nil, err
	}
	var parts []backend.Part
	for _, info := range infos {
		number, ok := strings.CutPrefix(info.Name(), partPrefix)
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		note, _, err := readNote(c, s.part(st, n), info)
		if err != nil || note.CRC32C == nil {
			continue
		}
		parts = append(parts, backend.Part{Number: n, Size: info.Size(), CRC32C: *note.CRC32C, ETag: fmt.Sprintf("%08x", *note.CRC32C)})
	}
	slices.SortFunc(parts, func(a, b backend.Part) int { return a.Number - b.Number })
	return parts, nil
}

func (s *Store) PublishStage(ctx context.Context, st backend.Stage, parts []backend.Part, crc uint32, o backend.PutOptions) (backend.Object, error) {
	if err := check(ctx, backend.OpPublishStage, st.Key); err != nil {
		return backend.Object{}, err
	}
	obj, err := call(ctx, s, func(c *hdfs.Client) (backend.Object, error) { return s.publish(ctx, c, st, parts, crc, o) })
	return obj, fail(backend.OpPublishStage, st.Key, err)
}

func (s *Store) publish(ctx context.Context, c *hdfs.Client, st backend.Stage, parts []backend.Part, crc uint32, o backend.PutOptions) (backend.Object, error) {
	if err := s.known(c, st); err != nil {
		return backend.Object{}, err
	}
	if err := st.CheckParts(parts); err != nil {
		return backend.Object{}, err
	}
	if sum := combined(parts); sum != crc {
		return backend.Object{}, fmt.Errorf("%w: the parts have %08x, not %08x", backend.ErrChecksum, sum, crc)
	}
	whole, err := s.whole(ctx, c, st, parts, crc)
	if err != nil {
		return backend.Object{}, err
	}
	if err := writeNote(c, whole, o.Attr, &crc); err != nil {
		return backend.Object{}, err
	}
	if err := s.place(c, whole, st.Key, o.IfAbsent); err != nil {
		return backend.Object{}, err
	}
	obj, err := s.describe(c, st.Key)
	if err != nil {
		return backend.Object{}, err
	}
	return obj, c.RemoveAll(s.stageDir(st))
}

func combined(parts []backend.Part) (sum uint32) {
	for i, p := range parts {
		if i == 0 {
			sum = p.CRC32C
		} else {
			sum = crc32c.Combine(sum, p.CRC32C, p.Size)
		}
	}
	return sum
}

// whole gives the one file that a stage has become.
func (s *Store) whole(ctx context.Context, c *hdfs.Client, st backend.Stage, parts []backend.Part, crc uint32) (string, error) {
	held, err := s.held(c, st)
	if err != nil {
		return "", err
	}
	whole := path.Join(s.stageDir(st), wholeFile)
	if st.Parts() == 1 {
		whole = s.part(st, 1)
	} else if info, err := c.Stat(whole); err == nil && info.Size() == st.Size && len(held) < st.Parts() {
		return whole, nil // made by a call that came no further
	}
	for i, p := range parts {
		if at := slices.IndexFunc(held, func(h backend.Part) bool { return h.Number == p.Number }); at < 0 {
			return "", backend.ErrNoStage
		} else if held[at] != parts[i] {
			return "", fmt.Errorf("%w: part %d is another one", backend.ErrChecksum, p.Number)
		}
	}
	if st.Parts() == 1 {
		return whole, nil
	}
	temp := s.temp()
	if err := s.fill(ctx, c, temp, st.Attr, &partsReader{c: c, s: s, st: st}, &crc); err != nil {
		return "", err
	}
	if err := c.Rename(temp, whole); err != nil {
		return "", err
	}
	for _, p := range parts {
		if err := ignoreMissing(c.Remove(s.part(st, p.Number))); err != nil {
			return "", err
		}
	}
	return whole, nil
}

// partsReader reads the parts of a stage one after the other.
type partsReader struct {
	c    *hdfs.Client
	s    *Store
	st   backend.Stage
	next int
	open *hdfs.FileReader
}

func (r *partsReader) Read(b []byte) (int, error) {
	for {
		if r.open != nil {
			n, err := r.open.Read(b)
			if n > 0 || !errors.Is(err, io.EOF) {
				return n, err
			}
			r.open.Close()
			r.open = nil
		}
		if r.next == r.st.Parts() {
			return 0, io.EOF
		}
		r.next++
		f, err := r.c.Open(r.s.part(r.st, r.next))
		if err != nil {
			return 0, err
		}
		r.open = f
	}
}

func (s *Store) AbortStage(ctx context.Context, st backend.Stage) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: backend.OpAbortStage, Key: st.Key, Err: err}
	}
	if !validID(st.ID) {
		return nil
	}
	_, err := call(ctx, s, func(c *hdfs.Client) (struct{}, error) { return struct{}{}, c.RemoveAll(s.stageDir(st)) })
	return fail(backend.OpAbortStage, st.Key, err)
}

func (s *Store) ListStages(ctx context.Context, prefix string) ([]backend.Stage, error) {
	stages, err := call(ctx, s, func(c *hdfs.Client) ([]backend.Stage, error) {
		infos, err := c.ReadDir(s.path(stagingDir))
		if err != nil {
			return nil, ignoreMissing(err)
		}
		var stages []backend.Stage
		for _, info := range infos {
			if !info.IsDir() {
				continue
			}
			text, err := c.ReadFile(path.Join(s.path(stagingDir), info.Name(), stageFile))
			if err != nil {
				if missing(err) {
					continue
				}
				return nil, err
			}
			var st backend.Stage
			if json.Unmarshal(text, &st) == nil && st.ID == info.Name() && strings.HasPrefix(st.Key, prefix) {
				stages = append(stages, st)
			}
		}
		return stages, nil
	})
	return stages, fail(backend.OpListStages, prefix, err)
}
