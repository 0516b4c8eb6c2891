// Package mem is a [backend.Store] in memory, for tests: as strict as the strictest real
// store, and as fast as a map. Like S3 it knows no directories but their markers, and its
// List does not tell attributes.
//
// A Store outlives its Close, so that a test can "restart" on the same contents.
// mem imports backend and backend/crc32c.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

// Store keeps objects and stages in maps.
type Store struct {
	caps backend.Capabilities

	mu struct {
		sync.Mutex
		objects map[string]object
		stages  map[string]*stage
		counter int // makes ETags and stage ids unique
	}
}

type object struct {
	backend.Object
	data []byte
}

// New gives an empty store with generous limits.
func New() *Store {
	return WithCapabilities(backend.Capabilities{
		MinPartSize:    1,
		MaxPartSize:    5 << 30,
		MaxParts:       10_000,
		MaxSize:        5 << 40,
		ConditionalPut: true,
	})
}

// WithCapabilities gives an empty store with the limits of another one.
func WithCapabilities(c backend.Capabilities) *Store {
	s := &Store{caps: c}
	s.mu.objects = make(map[string]object)
	s.mu.stages = make(map[string]*stage)
	return s
}

var _ backend.Store = (*Store)(nil)

func (s *Store) Capabilities() backend.Capabilities { return s.caps }

func (s *Store) Close() error { return nil }

func (s *Store) Head(ctx context.Context, key string) (backend.Object, error) {
	o, err := s.lookup(ctx, backend.OpHead, key)
	return o.Object, err
}

func (s *Store) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	obj, err := s.lookup(ctx, backend.OpGet, key)
	if err != nil {
		return nil, backend.Object{}, err
	}
	if o.ETag != "" && o.ETag != obj.ETag {
		return nil, backend.Object{}, fail(backend.OpGet, key, backend.ErrChanged)
	}
	data := obj.data[min(o.Offset, obj.Size):]
	if o.Length > 0 {
		data = data[:min(o.Length, int64(len(data)))]
	}
	return io.NopCloser(bytes.NewReader(data)), obj.Object, nil
}

func (s *Store) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	attr, err := backend.CheckPut(backend.OpPut, key, c.Size, o.Attr)
	if err != nil {
		return backend.Object{}, err
	}
	data, err := read(ctx, backend.OpPut, key, c)
	if err != nil {
		return backend.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.storeLocked(backend.OpPut, key, data, attr, o.IfAbsent)
}

func (s *Store) Copy(ctx context.Context, src, dst string, o backend.PutOptions) (backend.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, err := s.lookupLocked(ctx, backend.OpCopy, src)
	if err != nil {
		return backend.Object{}, err
	}
	if o.SourceETag != "" && o.SourceETag != from.ETag {
		return backend.Object{}, fail(backend.OpCopy, src, backend.ErrChanged)
	}
	attr := o.Attr
	if attr.IsZero() {
		attr = from.Attr
	}
	attr.Type = from.Attr.Type
	if attr, err = backend.CheckPut(backend.OpCopy, dst, from.Size, attr); err != nil {
		return backend.Object{}, err
	}
	return s.storeLocked(backend.OpCopy, dst, from.data, attr, o.IfAbsent)
}

func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: backend.OpDelete, Err: err}
	}
	for _, key := range keys {
		if err := backend.CheckKey(backend.OpDelete, key); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range keys {
		delete(s.mu.objects, key)
	}
	return nil
}

func (s *Store) lookup(ctx context.Context, op, key string) (object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookupLocked(ctx, op, key)
}

func (s *Store) lookupLocked(ctx context.Context, op, key string) (object, error) {
	if err := ctx.Err(); err != nil {
		return object{}, &backend.Error{Op: op, Key: key, Err: err}
	}
	if err := backend.CheckKey(op, key); err != nil {
		return object{}, err
	}
	obj, ok := s.mu.objects[key]
	if !ok {
		return object{}, fail(op, key, backend.ErrNotExist)
	}
	return obj, nil
}

// storeLocked makes data visible. Nobody changes data afterwards: readers share it.
func (s *Store) storeLocked(op, key string, data []byte, attr backend.Attr, ifAbsent bool) (backend.Object, error) {
	if _, taken := s.mu.objects[key]; taken && ifAbsent {
		return backend.Object{}, fail(op, key, backend.ErrExist)
	}
	s.mu.counter++
	obj := backend.Object{
		Key:       key,
		Size:      int64(len(data)),
		ETag:      fmt.Sprintf("%d", s.mu.counter),
		Modified:  time.Now(),
		CRC32C:    crc32c.Checksum(data),
		HasCRC32C: true,
		Attr:      attr,
	}
	s.mu.objects[key] = object{Object: obj, data: data}
	return obj, nil
}

// read takes all of c and checks it.
func read(ctx context.Context, op, key string, c backend.Content) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, &backend.Error{Op: op, Key: key, Err: err}
	}
	data := make([]byte, c.Size)
	if _, err := io.ReadFull(c.Reader(), data); err != nil {
		return nil, &backend.Error{Op: op, Key: key, Err: err}
	}
	if crc32c.Checksum(data) != c.CRC32C {
		return nil, fail(op, key, backend.ErrChecksum)
	}
	return data, nil
}

func fail(op, key string, kind error) error {
	return &backend.Error{Op: op, Key: key, Kind: kind}
}
