package storetest

import (
	"os"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// someAttr is what any process may give a file, its own owner included.
func someAttr() backend.Attr {
	return backend.Attr{
		Mode:  0o640,
		UID:   uint32(os.Getuid()),
		GID:   uint32(os.Getgid()),
		Mtime: time.Unix(1_700_000_001, 123_456_789),
	}
}

func wantAttr(t *testing.T, got, want backend.Attr) {
	t.Helper()
	if !got.Mtime.Equal(want.Mtime) {
		t.Errorf("mtime %v, want %v", got.Mtime, want.Mtime)
	}
	got.Mtime = want.Mtime
	if got != want {
		t.Errorf("attributes %+v, want %+v", got, want)
	}
}

var attrCases = []testCase{
	{"mode, owner and mtime to the nanosecond survive a put", func(t *testing.T, s backend.Store) {
		want := someAttr()
		obj := putWith(t, s, "a", []byte("x"), backend.PutOptions{Attr: want})
		wantAttr(t, obj.Attr, want)
		wantAttr(t, head(t, s, "a").Attr, want)
		body, obj, err := s.Get(t.Context(), "a", backend.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		body.Close()
		wantAttr(t, obj.Attr, want)
	}},
	{"an mtime before 1970 survives", func(t *testing.T, s backend.Store) {
		want := someAttr()
		want.Mtime = time.Unix(-2, 500)
		putWith(t, s, "a", nil, backend.PutOptions{Attr: want})
		wantAttr(t, head(t, s, "a").Attr, want)
	}},
	{"an object put without attributes is a regular file", func(t *testing.T, s backend.Store) {
		put(t, s, "a", []byte("x"))
		if got := head(t, s, "a").Attr; got.Type != backend.Regular {
			t.Errorf("attributes %+v", got)
		}
	}},
	{"a symlink is its target", func(t *testing.T, s backend.Store) {
		want := backend.Attr{Type: backend.Symlink, Mode: 0o777, Mtime: time.Unix(1_700_000_001, 5)}
		want.UID, want.GID = someAttr().UID, someAttr().GID
		for key, target := range map[string]string{"rel": "../checkpoint_000003", "abs": "/etc/passwd", "none": "nowhere"} {
			putWith(t, s, key, []byte(target), backend.PutOptions{Attr: want})
			wantContent(t, s, key, []byte(target))
			obj := head(t, s, key)
			if obj.Size != int64(len(target)) {
				t.Errorf("%s: size %d", key, obj.Size)
			}
			wantAttr(t, obj.Attr, want)
		}
	}},
	{"a symlink and a file replace each other", func(t *testing.T, s backend.Store) {
		put(t, s, "target", []byte("untouched"))
		link := backend.PutOptions{Attr: backend.Attr{Type: backend.Symlink, Mode: 0o777}}
		putWith(t, s, "a", []byte("target"), link)
		put(t, s, "a", []byte("a file now"))
		if got := head(t, s, "a").Attr.Type; got != backend.Regular {
			t.Errorf("type %v after put of a file", got)
		}
		wantContent(t, s, "target", []byte("untouched"))
		putWith(t, s, "a", []byte("target"), link)
		if got := head(t, s, "a").Attr.Type; got != backend.Symlink {
			t.Errorf("type %v after put of a symlink", got)
		}
		_, err := s.Put(t.Context(), "a", content([]byte("x")), backend.PutOptions{IfAbsent: true})
		wantErr(t, err, backend.ErrExist)
	}},
	{"a directory marker is a directory with attributes", func(t *testing.T, s backend.Store) {
		want := someAttr()
		want.Type, want.Mode = backend.Directory, 0o750
		putWith(t, s, "exp/empty/", nil, backend.PutOptions{Attr: want})
		wantAttr(t, head(t, s, "exp/empty/").Attr, want)
		wantContent(t, s, "exp/empty/", nil)
		wantAbsent(t, s, "exp/empty")
		keys, _ := list(t, s, backend.ListOptions{})
		wantStrings(t, "keys", keys, []string{"exp/empty/"})
	}},
	{"a marker keeps its mode with content below, and takes another one", func(t *testing.T, s backend.Store) {
		for _, mode := range []uint32{0o750, 0o2711} {
			want := someAttr()
			want.Type, want.Mode = backend.Directory, mode
			putWith(t, s, "d/", nil, backend.PutOptions{Attr: want})
			put(t, s, "d/a", []byte("x"))
			got := head(t, s, "d/").Attr
			got.Mtime = want.Mtime // a real directory's moves with what is in it
			wantAttr(t, got, want)
		}
	}},
	{"a marker may be put again and with content below", func(t *testing.T, s backend.Store) {
		put(t, s, "d/", nil)
		put(t, s, "d/a", []byte("x"))
		put(t, s, "d/", nil)
		wantContent(t, s, "d/a", []byte("x"))
		head(t, s, "d/")
		_, err := s.Put(t.Context(), "d/", content(nil), backend.PutOptions{IfAbsent: true})
		wantErr(t, err, backend.ErrExist)
	}},
	{"List tells attributes if it says that it does", func(t *testing.T, s backend.Store) {
		want := someAttr()
		putWith(t, s, "a", []byte("x"), backend.PutOptions{Attr: want})
		page, err := s.List(t.Context(), backend.ListOptions{})
		if err != nil || len(page.Objects) != 1 {
			t.Fatalf("list: %+v, %v", page, err)
		}
		if !s.Capabilities().KeepsAttrInList {
			want = backend.Attr{}
		}
		wantAttr(t, page.Objects[0].Attr, want)
	}},
}
