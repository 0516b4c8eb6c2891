package storetest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/backend"
)

// weirdKeys are valid ones that escape, split or sort badly.
func weirdKeys() []string {
	return []string{
		"with space", "a+b", "a%20b", "100%", "a#b", "a?b=c&d", "a=b", "a:b@c", "semi;colon,comma",
		"quote'\"", "back\\slash", "<xml>&amp;", "{}[]()*!~^`|$", "ünïcödé/日本語", "emoji-🙂",
		".hidden", "..dots", "dots..", "...", "-dash", " leading and trailing ", "new\tline",
		"deep/" + strings.Repeat("d/", 30) + "f", strings.Repeat("n", 255),
	}
}

var keyCases = []testCase{
	{"of any characters are kept as they are", func(t *testing.T, s backend.Store) {
		keys := weirdKeys()
		for _, key := range keys {
			put(t, s, key, []byte(key))
			wantContent(t, s, key, []byte(key))
			if got := head(t, s, key).Key; got != key {
				t.Errorf("head of %q names %q", key, got)
			}
		}
		slices.Sort(keys)
		listed, _ := list(t, s, backend.ListOptions{})
		wantStrings(t, "keys", listed, keys)
		for _, key := range keys {
			listed, _ := list(t, s, backend.ListOptions{Prefix: key})
			wantStrings(t, "keys with this prefix", listed, []string{key})
		}
		if err := s.Delete(t.Context(), keys...); err != nil {
			t.Fatal(err)
		}
		listed, _ = list(t, s, backend.ListOptions{})
		wantStrings(t, "keys after delete", listed, nil)
	}},
	{"that cannot be a path are ErrInvalidKey everywhere", func(t *testing.T, s backend.Store) {
		for _, key := range []string{
			"", "/", "/a", "a//b", "a//", ".", "..", "./a", "../a", "a/../b", "a/..", "a/../", "a/./b",
			"nul\x00", "not-utf8\xff", strings.Repeat("n", 256),
		} {
			errs := map[string]error{}
			_, errs["head"] = s.Head(t.Context(), key)
			_, _, errs["get"] = s.Get(t.Context(), key, backend.GetOptions{})
			_, errs["put"] = s.Put(t.Context(), key, content(nil), backend.PutOptions{})
			_, errs["copy from"] = s.Copy(t.Context(), key, "b", backend.PutOptions{})
			_, errs["stage"] = s.BeginStage(t.Context(), key, 1, s.Capabilities().MaxPartSize, backend.Attr{})
			errs["delete"] = s.Delete(t.Context(), key)
			put(t, s, "src", nil)
			_, errs["copy to"] = s.Copy(t.Context(), "src", key, backend.PutOptions{})
			for op, err := range errs {
				if !errors.Is(err, backend.ErrInvalidKey) {
					t.Errorf("%s %q: %v", op, key, err)
				}
			}
		}
	}},
	{"below an object, or of one above others, are possible or ErrInvalidKey", func(t *testing.T, s backend.Store) {
		put(t, s, "a", []byte("object"))
		put(t, s, "d/b", []byte("below"))
		for _, key := range []string{"a/b", "a/b/c", "a/", "d"} {
			if _, err := s.Put(t.Context(), key, content(nil), backend.PutOptions{}); err != nil {
				wantErr(t, err, backend.ErrInvalidKey)
				wantAbsent(t, s, key)
			}
		}
		wantContent(t, s, "a", []byte("object"))
		wantContent(t, s, "d/b", []byte("below"))
	}},
	{"must go with the type", func(t *testing.T, s backend.Store) {
		for _, c := range []struct {
			key  string
			data string
			typ  backend.FileType
		}{
			{"d/", "content", backend.Regular},
			{"d/", "target", backend.Symlink},
			{"d", "", backend.Directory},
			{"d", "", backend.Symlink},
			{"d", strings.Repeat("t", 4096), backend.Symlink},
		} {
			_, err := s.Put(t.Context(), c.key, content([]byte(c.data)), backend.PutOptions{Attr: backend.Attr{Type: c.typ}})
			wantErr(t, err, backend.ErrInvalidKey)
		}
		_, err := s.BeginStage(t.Context(), "link", 1, s.Capabilities().MaxPartSize, backend.Attr{Type: backend.Symlink})
		wantErr(t, err, backend.ErrInvalidKey)
		keys, _ := list(t, s, backend.ListOptions{})
		wantStrings(t, "keys", keys, nil)
	}},
}
