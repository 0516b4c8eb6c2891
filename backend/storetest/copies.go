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
	{"of the version asked for works", func(t *testing.T, s backend.Store) {
		data, want := random(2, 5_000), someAttr()
		src := putWith(t, s, "src", data, backend.PutOptions{Attr: want})
		for _, dst := range []string{"dst", "src"} { // the second time for attributes alone
			want.Mode = 0o600
			if _, err := s.Copy(t.Context(), "src", dst, backend.PutOptions{Attr: want, SourceETag: src.ETag}); err != nil {
				t.Fatalf("copy to %s: %v", dst, err)
			}
			wantContent(t, s, dst, data)
			wantAttr(t, head(t, s, dst).Attr, want)
		}
	}},
	{"of another version than asked for is ErrChanged and changes nothing", func(t *testing.T, s backend.Store) {
		old := put(t, s, "src", []byte("old"))
		put(t, s, "src", []byte("new"))
		put(t, s, "dst", []byte("kept"))
		for _, dst := range []string{"dst", "missing", "src"} {
			_, err := s.Copy(t.Context(), "src", dst, backend.PutOptions{SourceETag: old.ETag})
			wantErr(t, err, backend.ErrChanged)
		}
		wantContent(t, s, "dst", []byte("kept"))
		wantContent(t, s, "src", []byte("new"))
		wantAbsent(t, s, "missing")
	}},
	{"of a link or marker that was replaced is ErrChanged", func(t *testing.T, s backend.Store) {
		link := backend.PutOptions{Attr: backend.Attr{Type: backend.Symlink, Mode: 0o777}}
		old := putWith(t, s, "link", []byte("over/there"), link)
		putWith(t, s, "link", []byte("elsewhere"), link)
		_, err := s.Copy(t.Context(), "link", "dst", backend.PutOptions{SourceETag: old.ETag})
		wantErr(t, err, backend.ErrChanged)
		wantAbsent(t, s, "dst")

		put(t, s, "marker/", nil)
		_, err = s.Copy(t.Context(), "marker/", "dst/", backend.PutOptions{SourceETag: "another"})
		wantErr(t, err, backend.ErrChanged)
		wantAbsent(t, s, "dst/")
		if _, err := s.Copy(t.Context(), "marker/", "dst/", backend.PutOptions{SourceETag: head(t, s, "marker/").ETag}); err != nil {
			t.Errorf("copy of a marker: %v", err)
		}
	}},
	{"of another version is ErrChanged with IfAbsent too", func(t *testing.T, s backend.Store) {
		old := put(t, s, "src", []byte("old"))
		put(t, s, "src", []byte("new"))
		_, err := s.Copy(t.Context(), "src", "dst", backend.PutOptions{IfAbsent: true, SourceETag: old.ETag})
		wantErr(t, err, backend.ErrChanged)
		wantAbsent(t, s, "dst")
	}},
	{"of a missing key is ErrNotExist", func(t *testing.T, s backend.Store) {
		for _, tag := range []string{"", "some"} {
			_, err := s.Copy(t.Context(), "missing", "dst", backend.PutOptions{SourceETag: tag})
			wantErr(t, err, backend.ErrNotExist)
		}
		wantAbsent(t, s, "dst")
	}},
}
