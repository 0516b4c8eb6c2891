package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

// random gives n bytes, the same ones for the same seed.
func random(seed byte, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

func content(data []byte) backend.Content {
	return backend.Content{R: bytes.NewReader(data), Size: int64(len(data)), CRC32C: crc32c.Checksum(data)}
}

// wrong gives data with a checksum that is not its own.
func wrong(data []byte) backend.Content {
	c := content(data)
	c.CRC32C++
	return c
}

func put(t *testing.T, s backend.Store, key string, data []byte) backend.Object {
	t.Helper()
	return putWith(t, s, key, data, backend.PutOptions{})
}

func putWith(t *testing.T, s backend.Store, key string, data []byte, o backend.PutOptions) backend.Object {
	t.Helper()
	obj, err := s.Put(t.Context(), key, content(data), o)
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
	return obj
}

func head(t *testing.T, s backend.Store, key string) backend.Object {
	t.Helper()
	obj, err := s.Head(t.Context(), key)
	if err != nil {
		t.Fatalf("head %q: %v", key, err)
	}
	return obj
}

func get(t *testing.T, s backend.Store, key string, o backend.GetOptions) []byte {
	t.Helper()
	body, _, err := s.Get(t.Context(), key, o)
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatalf("read %q: %v", key, err)
	}
	return data
}

func wantContent(t *testing.T, s backend.Store, key string, want []byte) {
	t.Helper()
	if got := get(t, s, key, backend.GetOptions{}); !bytes.Equal(got, want) {
		t.Errorf("%q has %d bytes that are not the %d put", key, len(got), len(want))
	}
}

func wantErr(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error %v, want %v", err, kind)
	}
}

// wantAbsent looks for key in every way there is.
func wantAbsent(t *testing.T, s backend.Store, key string) {
	t.Helper()
	_, err := s.Head(t.Context(), key)
	wantErr(t, err, backend.ErrNotExist)
	body, _, err := s.Get(t.Context(), key, backend.GetOptions{})
	wantErr(t, err, backend.ErrNotExist)
	if err == nil {
		body.Close()
	}
	if keys, _ := list(t, s, backend.ListOptions{Prefix: key}); slices.Contains(keys, key) {
		t.Errorf("%q is listed", key)
	}
}

// list gives the keys and prefixes of all pages, each in the order they came.
func list(t *testing.T, s backend.Store, o backend.ListOptions) (keys, prefixes []string) {
	t.Helper()
	for {
		page, err := s.List(t.Context(), o)
		if err != nil {
			t.Fatalf("list %+v: %v", o, err)
		}
		if n := len(page.Objects) + len(page.Prefixes); o.Limit > 0 && n > o.Limit {
			t.Errorf("page of %d, limit %d", n, o.Limit)
		}
		for _, obj := range page.Objects {
			keys = append(keys, obj.Key)
		}
		prefixes = append(prefixes, page.Prefixes...)
		if page.Token == "" {
			return keys, prefixes
		}
		o.Token = page.Token
	}
}

func wantStrings(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// forEach calls f for 0 to n-1, some at a time.
func forEach(t *testing.T, n int, f func(ctx context.Context, i int) error) {
	t.Helper()
	todo, errs := make(chan int), make(chan error)
	const workers = 16
	for range workers {
		go func() {
			var err error
			for i := range todo {
				err = errors.Join(err, f(t.Context(), i))
			}
			errs <- err
		}()
	}
	for i := range n {
		todo <- i
	}
	close(todo)
	for range workers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}
