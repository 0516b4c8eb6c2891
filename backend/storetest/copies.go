package storetest

import (
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

var copyCases = []testCase{
	{"gives content and attributes to the destination", func(t *testing.T, s backend.Store) {
		data, want := random(1, 50_000), someAttr()
		putWith(t, s, "d/src", data, backend.PutOptions{Attr: want})
		put(t, s, "e/dst", []byte("replaced"))
		obj, err := s.Copy(t.Context(), "d/src", "e/dst", backend.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if obj.Key != "e/dst" || obj.Size != 50_000 {
			t.Errorf("copy: %+v", obj)
		}
		wantAttr(t, obj.Attr, want)
		got := head(t, s, "e/dst")
		wantAttr(t, got.Attr, want)
		if got.HasCRC32C && got.CRC32C != crc32c.Checksum(data) {
			t.Errorf("CRC32C %08x", got.CRC32C)
		}
		wantContent(t, s, "e/dst", data)
		wantContent(t, s, "d/src", data)
	}},
	{"gives the attributes asked for", func(t *testing.T, s backend.Store) {
		putWith(t, s, "src", []byte("x"), backend.PutOptions{Attr: someAttr()})
		want := someAttr()
		want.Mode = 0o444
		if _, err := s.Copy(t.Context(), "src", "dst", backend.PutOptions{Attr: want}); err != nil {
			t.Fatal(err)
		}
		wantAttr(t, head(t, s, "dst").Attr, want)
	}},
	{"works for keys that a URL would have to escape", func(t *testing.T, s backend.Store) {
		for _, key := range weirdKeys() {
			put(t, s, "from/"+key, []byte(key))
			if _, err := s.Copy(t.Context(), "from/"+key, "to/"+key, backend.PutOptions{}); err != nil {
				t.Errorf("copy %q: %v", key, err)
				continue
			}
			wantContent(t, s, "to/"+key, []byte(key))
		}
	}},
	{"of an empty object, a symlink and a marker keeps what they are", func(t *testing.T, s backend.Store) {
		put(t, s, "empty", nil)
		put(t, s, "marker/", nil)
		putWith(t, s, "link", []byte("over/there"), backend.PutOptions{Attr: backend.Attr{Type: backend.Symlink, Mode: 0o777}})
		for src, dst := range map[string]string{"empty": "c/empty", "marker/": "c/marker/", "link": "c/link"} {
			before := head(t, s, src)
			if _, err := s.Copy(t.Context(), src, dst, backend.PutOptions{}); err != nil {
				t.Errorf("copy %q: %v", src, err)
				continue
			}
			if after := head(t, s, dst); after.Attr.Type != before.Attr.Type || after.Size != before.Size {
				t.Errorf("%q: %+v became %+v", src, before, after)
			}
		}
		wantContent(t, s, "c/link", []byte("over/there"))
	}},
	{"of a missing key is ErrNotExist", func(t *testing.T, s backend.Store) {
		_, err := s.Copy(t.Context(), "missing", "dst", backend.PutOptions{})
		wantErr(t, err, backend.ErrNotExist)
		wantAbsent(t, s, "dst")
	}},
}
