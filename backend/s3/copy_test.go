package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/storetest/versitygw"
)

func TestALargeObjectIsCopiedInParts(t *testing.T) {
	server := versitygw.Start(t)
	server.Setenv(t)
	loc, err := backend.ParseLocation(server.URL("p"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), loc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.copyWholeBytes = minPartBytes

	data := bytes.Repeat([]byte("0123456789abcdef"), (2*minPartBytes+1000)/16)
	want := backend.Attr{Mode: 0o640, UID: 1, GID: 2, Mtime: time.Unix(1_700_000_000, 5)}
	content := backend.Content{R: bytes.NewReader(data), Size: int64(len(data)), CRC32C: crc32c.Checksum(data)}
	src, err := s.Put(t.Context(), "a b+c", content, backend.PutOptions{Attr: want})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(t.Context(), "a b+c", "d", backend.PutOptions{SourceETag: src.ETag}); err != nil {
		t.Fatal(err)
	}
	body, obj, err := s.Get(t.Context(), "d", backend.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if !obj.Attr.Mtime.Equal(want.Mtime) || obj.Attr.Mode != want.Mode {
		t.Errorf("attributes %+v", obj.Attr)
	}
	if left, err := s.ListStages(t.Context(), ""); err != nil || len(left) > 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
}

// The source changes between the look at it and the copy: the server notices.
func TestACopyOfWhatIsNoLongerThereIsErrChanged(t *testing.T) {
	server := versitygw.Start(t)
	server.Setenv(t)
	loc, err := backend.ParseLocation(server.URL("p"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), loc, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.copyWholeBytes = minPartBytes

	put := func(key string, data []byte) backend.Object {
		t.Helper()
		content := backend.Content{R: bytes.NewReader(data), Size: int64(len(data)), CRC32C: crc32c.Checksum(data)}
		obj, err := s.Put(t.Context(), key, content, backend.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return obj
	}
	data := make([]byte, minPartBytes+1)
	old := put("src", data)
	data[0]++
	put("src", data)
	put("dst", []byte("kept"))
	for name, copying := range map[string]func(context.Context, backend.Object, string, backend.Attr, backend.PutOptions) (backend.Object, error){
		"whole": s.copyWhole, "in parts": s.copyParts,
	} {
		for _, c := range []struct {
			dst  string
			o    backend.PutOptions
			want error // nil: heals
		}{
			{"dst", backend.PutOptions{SourceETag: old.ETag}, backend.ErrChanged},
			{"new", backend.PutOptions{SourceETag: old.ETag, IfAbsent: true}, backend.ErrChanged},
			{"dst", backend.PutOptions{}, nil},
			{"new", backend.PutOptions{IfAbsent: true}, nil},
		} {
			_, err := copying(t.Context(), old, c.dst, backend.Attr{}, c.o)
			if err == nil || c.want == nil && backend.Permanent(err) || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%s, %+v: %v, want %v", name, c.o, err, c.want)
			}
		}
	}
	if obj, err := s.Head(t.Context(), "dst"); err != nil || obj.Size != 4 {
		t.Errorf("the destination is %+v, %v", obj, err)
	}
	if _, err := s.Head(t.Context(), "new"); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("head new: %v", err)
	}
	if left, err := s.ListStages(t.Context(), ""); err != nil || len(left) > 0 {
		t.Errorf("left: %+v, %v", left, err)
	}
}
