package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/backend"
)

// tree is in byte order, which is not the order of its directories' names: '-' and '.'
// come before '/', which comes before letters.
var tree = []string{
	"B", "a-b", "a.txt", "a/1", "a/2/x", "a/2/y", "a/3", "a0", "ab/c", "b", "é/ü",
}

func putTree(t *testing.T, s backend.Store) {
	t.Helper()
	forEach(t, len(tree), func(ctx context.Context, i int) error {
		_, err := s.Put(ctx, tree[i], content([]byte(tree[i])), backend.PutOptions{})
		return err
	})
}

var listCases = []testCase{
	{"of nothing is an empty page", func(t *testing.T, s backend.Store) {
		for _, o := range []backend.ListOptions{{}, {Prefix: "no/such"}, {Prefix: "no/such/", Shallow: true}} {
			page, err := s.List(t.Context(), o)
			if err != nil || len(page.Objects)+len(page.Prefixes) > 0 || page.Token != "" {
				t.Errorf("list %+v: %+v, %v", o, page, err)
			}
		}
	}},
	{"gives all keys below in byte order", func(t *testing.T, s backend.Store) {
		putTree(t, s)
		keys, prefixes := list(t, s, backend.ListOptions{})
		wantStrings(t, "keys", keys, tree)
		wantStrings(t, "prefixes", prefixes, nil)
	}},
	{"takes any text as prefix", func(t *testing.T, s backend.Store) {
		putTree(t, s)
		for _, prefix := range []string{"a", "a/", "a/2", "a/2/", "a/2/x", "a/2/x/", "a/2/xx", "ab", "é", "zz", "a//", "/"} {
			want := slices.DeleteFunc(slices.Clone(tree), func(k string) bool { return !strings.HasPrefix(k, prefix) })
			keys, _ := list(t, s, backend.ListOptions{Prefix: prefix})
			wantStrings(t, "keys below "+prefix, keys, want)
		}
	}},
	{"shallow stops at the first slash", func(t *testing.T, s backend.Store) {
		putTree(t, s)
		for prefix, want := range map[string][2][]string{
			"":    {{"B", "a-b", "a.txt", "a0", "b"}, {"a/", "ab/", "é/"}},
			"a":   {{"a-b", "a.txt", "a0"}, {"a/", "ab/"}},
			"a/":  {{"a/1", "a/3"}, {"a/2/"}},
			"a/2": {nil, {"a/2/"}},
		} {
			keys, prefixes := list(t, s, backend.ListOptions{Prefix: prefix, Shallow: true})
			wantStrings(t, "keys at "+prefix, keys, want[0])
			wantStrings(t, "prefixes at "+prefix, prefixes, want[1])
		}
	}},
	{"of pages of any size gives the same, each thing once", func(t *testing.T, s backend.Store) {
		putTree(t, s)
		for limit := 1; limit <= len(tree)+1; limit++ {
			keys, _ := list(t, s, backend.ListOptions{Limit: limit})
			wantStrings(t, fmt.Sprintf("keys, %d a page", limit), keys, tree)
			keys, prefixes := list(t, s, backend.ListOptions{Limit: limit, Shallow: true, Prefix: "a"})
			wantStrings(t, fmt.Sprintf("shallow keys, %d a page", limit), keys, []string{"a-b", "a.txt", "a0"})
			wantStrings(t, fmt.Sprintf("prefixes, %d a page", limit), prefixes, []string{"a/", "ab/"})
		}
	}},
	{"describes each object", func(t *testing.T, s backend.Store) {
		put(t, s, "d/a", random(1, 12345))
		page, err := s.List(t.Context(), backend.ListOptions{Prefix: "d/"})
		if err != nil || len(page.Objects) != 1 {
			t.Fatalf("list: %+v, %v", page, err)
		}
		if o := page.Objects[0]; o.Size != 12345 || o.ETag == "" || o.Modified.IsZero() {
			t.Errorf("object %+v", o)
		}
	}},
	{"shows an empty directory's marker, shallow as a prefix", func(t *testing.T, s backend.Store) {
		put(t, s, "d/empty/", nil)
		keys, _ := list(t, s, backend.ListOptions{Prefix: "d/"})
		wantStrings(t, "keys", keys, []string{"d/empty/"})
		keys, prefixes := list(t, s, backend.ListOptions{Prefix: "d/", Shallow: true})
		wantStrings(t, "shallow keys", keys, nil)
		wantStrings(t, "prefixes", prefixes, []string{"d/empty/"})
		keys, _ = list(t, s, backend.ListOptions{Prefix: "d/empty/", Shallow: true})
		wantStrings(t, "keys at the marker", keys, []string{"d/empty/"})
	}},
	{"of more than a page of keys is complete", func(t *testing.T, s backend.Store) {
		const n = 1003
		want := make([]string, n)
		for i := range want {
			want[i] = fmt.Sprintf("many/%04d", i)
		}
		forEach(t, n, func(ctx context.Context, i int) error {
			_, err := s.Put(ctx, want[i], content(nil), backend.PutOptions{})
			return err
		})
		keys, _ := list(t, s, backend.ListOptions{Prefix: "many/"})
		wantStrings(t, "keys", keys, want)

		// And as many go in one Delete.
		if err := s.Delete(t.Context(), want...); err != nil {
			t.Fatalf("delete of %d keys: %v", n, err)
		}
		keys, _ = list(t, s, backend.ListOptions{})
		wantStrings(t, "keys after delete", keys, nil)
	}},
}

var deleteCases = []testCase{
	{"removes the keys named and no others", func(t *testing.T, s backend.Store) {
		putTree(t, s)
		if err := s.Delete(t.Context(), "a/1", "a/2/x", "b"); err != nil {
			t.Fatal(err)
		}
		keys, _ := list(t, s, backend.ListOptions{})
		wantStrings(t, "keys", keys, []string{"B", "a-b", "a.txt", "a/2/y", "a/3", "a0", "ab/c", "é/ü"})
	}},
	{"of a missing key is no error", func(t *testing.T, s backend.Store) {
		put(t, s, "d/a", nil)
		if err := s.Delete(t.Context(), "missing", "d/missing", "d/sub/missing", "missing/", "d/a", "d/a"); err != nil {
			t.Error(err)
		}
		wantAbsent(t, s, "d/a")
	}},
	{"of no keys is no error", func(t *testing.T, s backend.Store) {
		if err := s.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}},
	{"of the last key leaves nothing behind", func(t *testing.T, s backend.Store) {
		put(t, s, "exp/trial/ckpt/a", nil)
		if err := s.Delete(t.Context(), "exp/trial/ckpt/a"); err != nil {
			t.Fatal(err)
		}
		keys, prefixes := list(t, s, backend.ListOptions{Shallow: true})
		wantStrings(t, "keys", keys, nil)
		wantStrings(t, "prefixes", prefixes, nil)
	}},
	{"of the last key keeps a directory that has a marker", func(t *testing.T, s backend.Store) {
		put(t, s, "exp/kept/", nil)
		put(t, s, "exp/kept/sub/a", nil)
		if err := s.Delete(t.Context(), "exp/kept/sub/a"); err != nil {
			t.Fatal(err)
		}
		keys, _ := list(t, s, backend.ListOptions{})
		wantStrings(t, "keys", keys, []string{"exp/kept/"})
	}},
	{"of a marker keeps the content below, and only as long", func(t *testing.T, s backend.Store) {
		put(t, s, "d/", nil)
		put(t, s, "d/a", []byte("x"))
		if err := s.Delete(t.Context(), "d/"); err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, "d/a", []byte("x"))
		if err := s.Delete(t.Context(), "d/a"); err != nil {
			t.Fatal(err)
		}
		keys, prefixes := list(t, s, backend.ListOptions{Shallow: true})
		wantStrings(t, "keys and prefixes", append(keys, prefixes...), nil)
	}},
	{"of a directory's name without its slash does nothing", func(t *testing.T, s backend.Store) {
		put(t, s, "d/", nil)
		if err := s.Delete(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
		head(t, s, "d/")
	}},
}
