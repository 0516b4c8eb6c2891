package fusefs

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func TestListingLooksNothingUp(t *testing.T) {
	f := &fake{dir: t.TempDir()}
	for i := range 300 {
		write(t, filepath.Join(f.dir, strconv.Itoa(i)), "")
	}
	mnt, _ := testMount(t, f)
	list, err := os.ReadDir(mnt)
	if err != nil || len(list) != 300 {
		t.Fatalf("%d names, %v", len(list), err)
	}
	for _, e := range list {
		if !e.Type().IsRegular() {
			t.Errorf("%s has type %v", e.Name(), e.Type())
		}
	}
	if f.count("lookup") != 0 || f.count("readdir") != 1 {
		t.Errorf("%d lookups, %d listings", f.count("lookup"), f.count("readdir"))
	}
}

func TestRewoundDirectoryIsListedAnew(t *testing.T) {
	mnt, _ := testMount(t, &fake{})
	write(t, filepath.Join(mnt, "a"), "")
	dir, err := os.Open(mnt)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names := func() []string {
		list, err := dir.Readdirnames(-1)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(list)
		return list
	}
	if got := names(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q", got)
	}
	write(t, filepath.Join(mnt, "b"), "")
	if _, err := dir.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if got := names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("rewound: %q", got)
	}
}

func TestTreeCanBeRemovedWhileItIsListed(t *testing.T) {
	mnt, _ := testMount(t, &fake{})
	for i := range 500 {
		d := filepath.Join(mnt, "top", strconv.Itoa(i%7))
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(d, strconv.Itoa(i)), "")
	}
	if err := os.RemoveAll(filepath.Join(mnt, "top")); err != nil {
		t.Fatal(err)
	}
}
