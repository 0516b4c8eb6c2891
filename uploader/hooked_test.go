package uploader

import (
	"context"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/mem"
)

// hooked is a store whose answers to Get a test shapes.
type hooked struct {
	backend.Store
	mu    sync.Mutex
	gets  int
	heads int
	lists int
	body  func(n int, o backend.GetOptions, r io.ReadCloser) io.ReadCloser // n counts from 1
	after func(op, key string)                                             // called when an answer is there, before it is given
	plain bool                                                             // it knows no checksums
	terse bool                                                             // it tells them only where it is asked for them, by Head
}

func newHooked() *hooked { return &hooked{Store: mem.New()} }

func (s *hooked) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	s.mu.Lock()
	s.gets++
	n, body := s.gets, s.body
	s.mu.Unlock()
	r, obj, err := s.Store.Get(ctx, key, o)
	if err == nil && body != nil {
		r = body(n, o, r)
	}
	if s.terse {
		obj.CRC32C, obj.HasCRC32C = 0, false
	}
	if err != nil {
		return nil, obj, err
	}
	return &untilDone{r, ctx}, s.strip(obj), nil
}

func (s *hooked) Head(ctx context.Context, key string) (backend.Object, error) {
	s.mu.Lock()
	s.heads++
	s.mu.Unlock()
	obj, err := s.Store.Head(ctx, key)
	s.done(backend.OpHead, key)
	return s.strip(obj), err
}

func (s *hooked) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	s.mu.Lock()
	s.lists++
	s.mu.Unlock()
	page, err := s.Store.List(ctx, o)
	for i := range page.Objects {
		page.Objects[i] = s.strip(page.Objects[i])
	}
	s.done(backend.OpList, o.Prefix)
	return page, err
}

func (s *hooked) Put(ctx context.Context, key string, c backend.Content, o backend.PutOptions) (backend.Object, error) {
	obj, err := s.Store.Put(ctx, key, c, o)
	s.done(backend.OpPut, key)
	return obj, err
}

func (s *hooked) strip(o backend.Object) backend.Object {
	if s.plain {
		o.CRC32C, o.HasCRC32C = 0, false
	}
	return o
}

func (s *hooked) done(op, key string) {
	s.mu.Lock()
	after := s.after
	s.mu.Unlock()
	if after != nil {
		after(op, key)
	}
}

// catch holds the answer to the next op on key back, and no other: caught is closed when it is
// there, and free lets it go.
func (s *hooked) catch(op, key string) (caught <-chan struct{}, free func()) {
	reached, release := make(chan struct{}), make(chan struct{})
	var has atomic.Bool
	s.mu.Lock()
	s.after = func(o, k string) {
		if o == op && k == key && !has.Swap(true) {
			close(reached)
			<-release
		}
	}
	s.mu.Unlock()
	return reached, func() { close(release) }
}

// counts are the requests so far.
func (s *hooked) counts() (heads, lists, gets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heads, s.lists, s.gets
}

func (s *hooked) fill(t *testing.T, key, content string) {
	t.Helper()
	c := backend.Content{R: strings.NewReader(content), Size: int64(len(content)), CRC32C: crc32c.Checksum([]byte(content))}
	if _, err := s.Put(ctx, key, c, backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// untilDone is a body that fails when its request has been given up, as that of a real
// store does.
type untilDone struct {
	io.ReadCloser
	ctx context.Context
}

func (r *untilDone) Read(p []byte) (int, error) {
	type answer struct {
		n   int
		err error
	}
	got := make(chan answer, 1)
	b := make([]byte, len(p))
	go func() {
		n, err := r.ReadCloser.Read(b)
		got <- answer{n, err}
	}()
	select {
	case a := <-got:
		copy(p, b[:a.n])
		return a.n, a.err
	case <-r.ctx.Done():
		return 0, r.ctx.Err()
	}
}

// stops is a body that gives so many bytes and then nothing, until it is freed.
type stops struct {
	io.ReadCloser
	left int
	free <-chan struct{}
}

func (r *stops) Read(p []byte) (int, error) {
	if r.left == 0 {
		<-r.free
		return r.ReadCloser.Read(p)
	}
	n, err := r.ReadCloser.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

// trickles is a body that never stops, and is slow.
type trickles struct {
	io.ReadCloser
	bytes int
	every time.Duration
}

func (r *trickles) Read(p []byte) (int, error) {
	time.Sleep(r.every)
	return r.ReadCloser.Read(p[:min(len(p), r.bytes)])
}

// endsEarly is a body that is cut short, without an error where cleanly is set.
type endsEarly struct {
	io.ReadCloser
	left    int
	cleanly bool
}

func (r *endsEarly) Read(p []byte) (int, error) {
	if r.left == 0 {
		if r.cleanly {
			return 0, io.EOF
		}
		return 0, io.ErrUnexpectedEOF
	}
	n, err := r.ReadCloser.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}
