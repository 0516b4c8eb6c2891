package usermeta

import (
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
)

func TestAttrSurvivesMetadata(t *testing.T) {
	for _, want := range []backend.Attr{
		{},
		{Mode: 0o644},
		{Mode: 0o4755, UID: 1000, GID: 1<<32 - 2, Mtime: time.Unix(1_700_000_000, 1)},
		{Mtime: time.Unix(0, 0)},
		{Mtime: time.Unix(-1, 999_999_999)},
		{Mtime: time.Unix(-5, 0)},
		{Type: backend.Symlink, Mode: 0o777},
		{Type: backend.Symlink},
	} {
		got := Decode("a", 10, Encode(want))
		if !got.Mtime.Equal(want.Mtime) {
			t.Errorf("mtime %v, want %v", got.Mtime, want.Mtime)
		}
		if got.Mtime = want.Mtime; got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if m := Encode(backend.Attr{}); len(m) > 0 {
		t.Errorf("metadata %v of what is not known", m)
	}
}

func TestAttrReadsWhatOtherToolsWrite(t *testing.T) {
	for _, c := range []struct {
		key  string
		meta map[string]string
		want backend.Attr
	}{
		{"a", map[string]string{"mode": "33188", "uid": "0", "gid": "0", "mtime": "1700000000"}, // s3fs
			backend.Attr{Mode: 0o644, Mtime: time.Unix(1_700_000_000, 0)}},
		{"a", map[string]string{"mode": "0100644", "mtime": "1700000000.123456789"}, // rclone
			backend.Attr{Mode: 0o644, Mtime: time.Unix(1_700_000_000, 123_456_789)}},
		{"a", map[string]string{"Mode": "41471", "MTIME": "1.5"},
			backend.Attr{Type: backend.Symlink, Mode: 0o777, Mtime: time.Unix(1, 500_000_000)}},
		{"d/", map[string]string{"mode": "16877"}, backend.Attr{Type: backend.Directory, Mode: 0o755}},
		{"d/", nil, backend.Attr{Type: backend.Directory}},
		{"a", map[string]string{"mode": "16877"}, backend.Attr{Mode: 0o755}}, // no directory without its slash
		// Junk.
		{"a", map[string]string{"mode": "rw-r--r--", "uid": "-1", "gid": "4294967295", "mtime": "yesterday"}, backend.Attr{}},
		{"a", map[string]string{"mode": "99999999", "mtime": "99999999999999999999"}, backend.Attr{}},
		{"a", map[string]string{"mtime": "1.x"}, backend.Attr{}},
		{"a", map[string]string{"mtime": "-"}, backend.Attr{}},
	} {
		got := Decode(c.key, 10, c.meta)
		if !got.Mtime.Equal(c.want.Mtime) {
			t.Errorf("%v: mtime %v, want %v", c.meta, got.Mtime, c.want.Mtime)
		}
		if got.Mtime = c.want.Mtime; got != c.want {
			t.Errorf("%v: %+v, want %+v", c.meta, got, c.want)
		}
	}
	for _, size := range []int64{0, 4096, 1 << 40} {
		if got := Decode("a", size, map[string]string{"mode": "41471"}); got.Type != backend.Regular {
			t.Errorf("a symlink of %d bytes", size)
		}
	}
}

func FuzzAttr(f *testing.F) {
	f.Add("33188", "1700000000.5", "0")
	f.Add("0100644", "-1.999999999", "4294967295")
	f.Fuzz(func(t *testing.T, mode, mtime, id string) {
		a := Decode("a", 10, map[string]string{"mode": mode, "mtime": mtime, "uid": id, "gid": id})
		if a.Mode > 0o7777 || a.Type == backend.Directory {
			t.Errorf("%+v", a)
		}
		if _, err := a.Mtime.MarshalJSON(); err != nil { // it goes into manifests
			t.Errorf("mtime %v: %v", a.Mtime, err)
		}
	})
}
