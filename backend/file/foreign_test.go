package file_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/file"
)

func content(data string) backend.Content {
	return backend.Content{R: bytes.NewReader([]byte(data)), Size: int64(len(data)), CRC32C: crc32c.Checksum([]byte(data))}
}

func put(t *testing.T, s *file.Store, key, data string) backend.Object {
	t.Helper()
	obj, err := s.Put(t.Context(), key, content(data), backend.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

func keys(t *testing.T, s *file.Store, o backend.ListOptions) (keys []string) {
	t.Helper()
	page, err := s.List(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, obj := range page.Objects {
		keys = append(keys, obj.Key)
	}
	return append(keys, page.Prefixes...)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenWantsADirectory(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	for _, path := range []string{dir + "/missing", dir + "/f"} {
		loc, err := backend.ParseLocation(path)
		must(t, err)
		if _, err := file.Open(t.Context(), loc); !errors.Is(err, backend.ErrNoBucket) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestPlainFilesWithRealAttributes(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	mtime := time.Unix(1_600_000_000, 123)
	_, err := s.Put(t.Context(), "d/f", content("bytes"), backend.PutOptions{Attr: backend.Attr{
		Mode: 0o604, Mtime: mtime, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}})
	must(t, err)
	data, err := os.ReadFile(filepath.Join(dir, "d/f"))
	if err != nil || string(data) != "bytes" {
		t.Errorf("file has %q, %v", data, err)
	}
	info, err := os.Stat(filepath.Join(dir, "d/f"))
	if err != nil || info.Mode().Perm() != 0o604 || !info.ModTime().Equal(mtime) {
		t.Errorf("file is %v, %v, %v", info.Mode(), info.ModTime(), err)
	}
}

// Links out of the root, however placed, are shown as what they are and never followed.
func TestNothingLeadsOutOfTheRoot(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	must(t, os.Symlink(outside, filepath.Join(dir, "out")))
	must(t, os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, "link")))
	s := open(t, dir)

	for _, key := range []string{"out/secret", "out/"} {
		if _, err := s.Head(t.Context(), key); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("head %s: %v", key, err)
		}
		if _, err := s.Copy(t.Context(), key, "copy", backend.PutOptions{}); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("copy %s: %v", key, err)
		}
		must(t, s.Delete(t.Context(), key))
	}
	for _, key := range []string{"out/new", "out/d/new", "out/d/"} {
		if _, err := s.Put(t.Context(), key, content(""), backend.PutOptions{}); !errors.Is(err, backend.ErrInvalidKey) {
			t.Errorf("put %s: %v", key, err)
		}
	}
	if got := keys(t, s, backend.ListOptions{}); !slices.Equal(got, []string{"link", "out"}) {
		t.Errorf("keys %q", got)
	}
	if got := keys(t, s, backend.ListOptions{Prefix: "out/"}); len(got) > 0 {
		t.Errorf("keys below a symlink: %q", got)
	}
	put(t, s, "link", "replaced")
	names, err := os.ReadDir(outside)
	data, rerr := os.ReadFile(filepath.Join(outside, "secret"))
	if err != nil || rerr != nil || len(names) != 1 || string(data) != "secret" {
		t.Errorf("outside was touched: %v, %q", names, data)
	}
}

func TestALinkInPlaceOfStagingIsRefused(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, ".trainfs/v1"), 0o755))
	must(t, os.Symlink(outside, filepath.Join(dir, ".trainfs/v1/staging")))
	s := open(t, dir)
	if _, err := s.Put(t.Context(), "a", content("x"), backend.PutOptions{}); err == nil {
		t.Error("put by way of a symlink")
	}
	if names, err := os.ReadDir(outside); err != nil || len(names) > 0 {
		t.Errorf("outside was touched: %v, %v", names, err)
	}
}

func TestStagingIsNoKey(t *testing.T) {
	s := open(t, t.TempDir())
	_, err := s.BeginStage(t.Context(), "a", 10, 10, backend.Attr{})
	must(t, err)
	for _, o := range []backend.ListOptions{
		{}, {Shallow: true}, {Prefix: ".trainfs/"}, {Prefix: ".trainfs/", Shallow: true},
		{Prefix: ".trainfs/v1/staging/"}, {Prefix: ".trainfs/v1/st", Shallow: true},
	} {
		if got := keys(t, s, o); len(got) > 0 {
			t.Errorf("list %+v: %q", o, got)
		}
	}
	for _, key := range []string{".trainfs/v1/staging", ".trainfs/v1/staging/x"} {
		if _, err := s.Put(t.Context(), key, content(""), backend.PutOptions{}); !errors.Is(err, backend.ErrInvalidKey) {
			t.Errorf("put %s: %v", key, err)
		}
		if err := s.Delete(t.Context(), key); !errors.Is(err, backend.ErrInvalidKey) {
			t.Errorf("delete %s: %v", key, err)
		}
	}
	put(t, s, ".trainfs/v1/units/x.json", "{}")
	if got := keys(t, s, backend.ListOptions{Prefix: ".trainfs/v1/", Shallow: true}); !slices.Equal(got, []string{".trainfs/v1/units/"}) {
		t.Errorf("keys %q", got)
	}
}

func TestDirectoriesOfOtherProgramsAreMarkersAndStay(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "theirs/empty"), 0o755))
	s := open(t, dir)
	if got := keys(t, s, backend.ListOptions{}); !slices.Equal(got, []string{"theirs/empty/"}) {
		t.Errorf("keys %q", got)
	}
	put(t, s, "theirs/empty/ours/f", "x")
	must(t, s.Delete(t.Context(), "theirs/empty/ours/f"))
	if got := keys(t, s, backend.ListOptions{}); !slices.Equal(got, []string{"theirs/empty/"}) {
		t.Errorf("keys after delete %q", got)
	}
}

func TestPipesAndSocketsAreNoObjects(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	s := open(t, dir)
	if got := keys(t, s, backend.ListOptions{}); len(got) > 0 {
		t.Errorf("keys %q", got)
	}
	if _, _, err := s.Get(t.Context(), "pipe", backend.GetOptions{}); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("get: %v", err)
	}
}

func TestAChecksumIsNotBelievedAfterAForeignWrite(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	before := put(t, s, "f", "before")
	if !before.HasCRC32C {
		t.Fatal("the checksum is not kept: does the temporary directory take user attributes?")
	}
	must(t, os.WriteFile(filepath.Join(dir, "f"), []byte("behind"), 0o644))
	after, err := s.Head(t.Context(), "f")
	if err != nil || after.HasCRC32C || after.ETag == before.ETag {
		t.Errorf("%+v became %+v, %v", before, after, err)
	}
}

func TestAnETagChangesEvenIfTheMtimeIsPutBack(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	before := put(t, s, "f", "before")
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("behind"), 0o644))
	must(t, os.Chtimes(path, time.Time{}, before.Modified))
	after, err := s.Head(t.Context(), "f")
	if err != nil || !after.Modified.Equal(before.Modified) || after.ETag == before.ETag {
		t.Errorf("%+v became %+v, %v", before, after, err)
	}
}

func TestListOfALargeDirectory(t *testing.T) {
	dir := t.TempDir()
	const n = 10_500 // two pages
	for i := range n {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%06d", i)))
		must(t, err)
		f.Close()
	}
	s := open(t, dir)
	o, count := backend.ListOptions{}, 0
	for {
		page, err := s.List(t.Context(), o)
		must(t, err)
		count += len(page.Objects)
		if o.Token = page.Token; o.Token == "" {
			break
		}
	}
	if count != n {
		t.Errorf("%d objects, want %d", count, n)
	}
}
