package s3

import (
	"bytes"
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
	if _, err := s.Put(t.Context(), "a b+c", content, backend.PutOptions{Attr: want}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Copy(t.Context(), "a b+c", "d", backend.PutOptions{}); err != nil {
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
