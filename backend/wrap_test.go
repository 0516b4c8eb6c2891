package backend_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/backend/storetest"
)

// A wrapper keeps every promise of what it wraps.
func TestWrappedStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) backend.Store { return backend.NewMetered(faulty.New(mem.New())) })
}

func TestMeteredCountsRequestsByResultAndBytes(t *testing.T) {
	ctx := t.Context()
	broken := faulty.New(mem.New())
	m := backend.NewMetered(broken)
	data := []byte("0123456789")
	content := backend.Content{R: bytes.NewReader(data), Size: 10, CRC32C: crc32c.Checksum(data)}

	m.Put(ctx, "a", content, backend.PutOptions{})
	m.Put(ctx, "a", content, backend.PutOptions{IfAbsent: true})
	broken.Fail(backend.OpPut, 1, errors.New("boom"))
	m.Put(ctx, "a", content, backend.PutOptions{})
	ended, cancel := context.WithCancel(ctx)
	cancel()
	m.Put(ended, "a", content, backend.PutOptions{})
	body, _, err := m.Get(ctx, "a", backend.GetOptions{Length: 4})
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, body)
	body.Close()

	got := m.Snapshot()
	for _, result := range []string{
		backend.ResultOK, backend.ResultAnswered, backend.ResultFailed, backend.ResultCanceled,
	} {
		if n := got.Requests[backend.OpPut].ByResult[result]; n != 1 {
			t.Errorf("%d puts %s, want 1", n, result)
		}
	}
	if n := got.Requests[backend.OpGet].ByResult[backend.ResultOK]; n != 1 {
		t.Errorf("%d gets, want 1", n)
	}
	if got.BytesUp != 10 || got.BytesDown != 4 {
		t.Errorf("%d bytes up, %d down; want 10, 4", got.BytesUp, got.BytesDown)
	}
}
