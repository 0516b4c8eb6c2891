package fusefs

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// stream is a file of a fake that is being fetched: the file in the directory is empty
// and gets its content at the end, as one of the cache does.
type stream struct {
	data  []byte
	mtime syscall.Timespec
	ended chan struct{}
	reads atomic.Int64

	arrived arrived
}

// arrived, if not nil, is called by reads before the end, and may wait.
type arrived func(ctx context.Context, off int64, size int) error

// fetch makes path one that is being fetched.
func (f *fake) fetch(t testing.TB, path string, data []byte, wait arrived) *stream {
	t.Helper()
	write(t, f.abs(path), "")
	mtime := time.Now().Add(-time.Hour).Truncate(time.Second)
	s := &stream{data: data, mtime: syscall.NsecToTimespec(mtime.UnixNano()), ended: make(chan struct{}), arrived: wait}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.streams == nil {
		f.mu.streams = map[string]*stream{}
	}
	f.mu.streams[path] = s
	return s
}

// arrive ends it.
func (f *fake) arrive(t testing.TB, path string) {
	t.Helper()
	s := f.streaming(path)
	if err := os.WriteFile(f.abs(path), s.data, 0o644); err != nil {
		t.Error(err)
	}
	mtime := time.Unix(s.mtime.Unix())
	if err := os.Chtimes(f.abs(path), mtime, mtime); err != nil {
		t.Error(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.mu.streams, path)
	close(s.ended)
}

func (f *fake) streaming(path string) *stream {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.streams[path]
}

// evict makes path one that is being fetched again, in another file below of the same
// identity, unless it is open.
func (f *fake) evict(t testing.TB, path string, data []byte, wait arrived) {
	t.Helper()
	info, err := f.Stat(context.Background(), path)
	if err != nil {
		t.Fatal(err)
	}
	part := f.abs(".part-" + path)
	write(t, part, "")
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.opens[path] > 0 {
		return
	}
	if err := os.Rename(part, f.abs(path)); err != nil {
		t.Error(err)
	}
	if f.mu.idents == nil {
		f.mu.idents = map[string]uint64{}
	}
	f.mu.idents[path] = info.Ident
	f.mu.streams[path] = &stream{data: data, mtime: info.Mtim, ended: make(chan struct{}), arrived: wait}
}

func (f *fake) ident(path string) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.idents[path]
}

// opening counts path as open, until closed.
func (f *fake) opening(path string) *stream {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.mu.opens == nil {
		f.mu.opens = map[string]int{}
	}
	f.mu.opens[path]++
	return f.mu.streams[path]
}

func (f *fake) closed(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.opens[path]--
}

func (h *fakeHandle) Streaming() bool { return h.stream != nil }

func (h *fakeHandle) Wait(context.Context, int64, int) (bool, error) { return false, nil }

func (h *fakeHandle) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	s := h.stream
	s.reads.Add(1)
	select {
	case <-s.ended:
		n, err := h.file.ReadAt(p, off)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	default:
	}
	if s.arrived != nil {
		if err := s.arrived(ctx, off, len(p)); err != nil {
			return 0, err
		}
	}
	return copy(p, s.data[min(off, int64(len(s.data))):]), nil
}
