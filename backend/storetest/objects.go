package storetest

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

var objectCases = []testCase{
	{"what was put is there at once, whole and described", func(t *testing.T, s backend.Store) {
		data := random(1, 100_000)
		obj := put(t, s, "exp/trial/model.pt", data)
		wantContent(t, s, "exp/trial/model.pt", data)
		got := head(t, s, "exp/trial/model.pt")
		if got.Key != "exp/trial/model.pt" || got.Size != 100_000 || got.Modified.IsZero() {
			t.Errorf("head: %+v", got)
		}
		if got.ETag == "" || got.ETag != obj.ETag {
			t.Errorf("ETag %q of Head, %q of Put", got.ETag, obj.ETag)
		}
		if got.HasCRC32C && got.CRC32C != crc32c.Checksum(data) {
			t.Errorf("CRC32C %08x, want %08x", got.CRC32C, crc32c.Checksum(data))
		}
	}},
	{"a put replaces the object whole", func(t *testing.T, s backend.Store) {
		before := put(t, s, "a", random(1, 5000))
		after := put(t, s, "a", random(2, 100))
		wantContent(t, s, "a", random(2, 100))
		if before.ETag == after.ETag {
			t.Error("other content, same ETag")
		}
	}},
	{"an empty object is an object", func(t *testing.T, s backend.Store) {
		put(t, s, "empty", nil)
		wantContent(t, s, "empty", nil)
		if got := head(t, s, "empty"); got.Size != 0 || got.Attr.Type != backend.Regular {
			t.Errorf("head: %+v", got)
		}
	}},
	{"content is read at its offset", func(t *testing.T, s backend.Store) {
		data := random(1, 1000)
		c := content(data)
		c.Offset, c.Size, c.CRC32C = 100, 50, crc32c.Checksum(data[100:150])
		if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, "a", data[100:150])
	}},
	{"a put with a wrong checksum is refused and leaves no trace", func(t *testing.T, s backend.Store) {
		_, err := s.Put(t.Context(), "a", wrong(random(1, 1000)), backend.PutOptions{})
		wantErr(t, err, backend.ErrChecksum)
		wantAbsent(t, s, "a")
	}},
	{"a put with a wrong checksum keeps what was there", func(t *testing.T, s backend.Store) {
		put(t, s, "a", []byte("good"))
		_, err := s.Put(t.Context(), "a", wrong([]byte("evil")), backend.PutOptions{})
		wantErr(t, err, backend.ErrChecksum)
		wantContent(t, s, "a", []byte("good"))
	}},
	{"ranges give their bytes and describe the whole", func(t *testing.T, s backend.Store) {
		data := random(1, 10_000)
		put(t, s, "a", data)
		for _, r := range []struct{ off, n, end int64 }{
			{0, 1, 1}, {0, 10_000, 10_000}, {1234, 4321, 5555}, {9999, 1, 10_000},
			{5000, 0, 10_000},     // to the end
			{9000, 5000, 10_000},  // past the end: what there is
			{10_000, 0, 10_000},   // at the end: nothing
			{10_000, 500, 10_000}, // the same
			{70_000, 500, 70_000}, // beyond: the same
			{70_000, 0, 70_000},   // the same
		} {
			o := backend.GetOptions{Offset: r.off, Length: r.n}
			body, obj, err := s.Get(t.Context(), "a", o)
			if err != nil {
				t.Fatalf("get %+v: %v", o, err)
			}
			got, err := io.ReadAll(body)
			body.Close()
			if err != nil || string(got) != string(data[min(r.off, 10_000):min(r.end, 10_000)]) {
				t.Errorf("get %+v: %d bytes, %v", o, len(got), err)
			}
			if obj.Size != 10_000 {
				t.Errorf("get %+v describes %d bytes", o, obj.Size)
			}
		}
	}},
	{"a missing key is ErrNotExist", func(t *testing.T, s backend.Store) {
		put(t, s, "dir/a", nil)
		for _, key := range []string{"missing", "dir", "dir/b", "dir/sub/b", "di", "missing/"} {
			wantAbsent(t, s, key)
		}
	}},
}

var conditionCases = []testCase{
	{"IfAbsent puts once and then says ErrExist", func(t *testing.T, s backend.Store) {
		o := backend.PutOptions{IfAbsent: true}
		putWith(t, s, "dir/a", []byte("first"), o)
		_, err := s.Put(t.Context(), "dir/a", content([]byte("second")), o)
		wantErr(t, err, backend.ErrExist)
		wantContent(t, s, "dir/a", []byte("first"))
	}},
	{"of many IfAbsent puts at once one wins", func(t *testing.T, s backend.Store) {
		wins := make(chan byte, 16)
		forEach(t, 16, func(ctx context.Context, i int) error {
			_, err := s.Put(ctx, "a", content([]byte{byte(i)}), backend.PutOptions{IfAbsent: true})
			if err == nil {
				wins <- byte(i)
			} else if !errors.Is(err, backend.ErrExist) && backend.Permanent(err) {
				return err
			}
			return nil
		})
		if len(wins) != 1 {
			t.Fatalf("%d puts won", len(wins))
		}
		wantContent(t, s, "a", []byte{<-wins})
	}},
	{"IfAbsent puts again after a delete", func(t *testing.T, s backend.Store) {
		put(t, s, "a", []byte("old"))
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		putWith(t, s, "a", []byte("new"), backend.PutOptions{IfAbsent: true})
		wantContent(t, s, "a", []byte("new"))
	}},
	{"a get of another version than asked for is ErrChanged", func(t *testing.T, s backend.Store) {
		old := put(t, s, "a", []byte("old"))
		if got := get(t, s, "a", backend.GetOptions{ETag: old.ETag}); string(got) != "old" {
			t.Errorf("get: %q", got)
		}
		put(t, s, "a", []byte("new"))
		for _, o := range []backend.GetOptions{{ETag: old.ETag}, {ETag: old.ETag, Offset: 1, Length: 1}} {
			body, _, err := s.Get(t.Context(), "a", o)
			wantErr(t, err, backend.ErrChanged)
			if err == nil {
				body.Close()
			}
		}
	}},
	{"a listed ETag is the object's", func(t *testing.T, s backend.Store) {
		obj := put(t, s, "a", []byte("x"))
		page, err := s.List(t.Context(), backend.ListOptions{})
		if err != nil || len(page.Objects) != 1 || page.Objects[0].ETag != obj.ETag || page.Objects[0].Size != 1 {
			t.Errorf("list: %+v, %v; want ETag %q", page, err, obj.ETag)
		}
	}},
}
