package integration

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What goes wrong while a file is being fetched, as programs see it through the kernel.

// readBlock reads 4 KiB somewhere.
func readBlock(f *os.File, off int) (string, error) {
	b := make([]byte, 4096)
	n, err := f.ReadAt(b, int64(off))
	return string(b[:n]), err
}

func openAt(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// One program's failed download does not keep others from opening the file.
func TestFileCanBeOpenedAgainAfterItsDownloadFailed(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	content := noise(40*mib, 1)
	s.put("data/large.bin", content)
	m := s.mount(t, "prefetch=off")
	first := openAt(t, m.path("data/large.bin"))
	if got, err := readBlock(first, 0); err != nil || got != content[:4096] {
		t.Fatalf("first read: %v", err)
	}
	s.proxy.failIf(func(r request) int {
		if isContent(r) {
			return http.StatusForbidden
		}
		return 0
	})
	if _, err := readBlock(first, 30*mib); err == nil {
		t.Fatal("read what the store refuses")
	}
	s.proxy.failIf(nil)
	second := openAt(t, m.path("data/large.bin")) // the first is still open
	for _, off := range []int{0, 30 * mib} {
		got, err := readBlock(second, off)
		if err != nil || got != content[off:off+4096] {
			t.Errorf("read at %d MiB after the store gives again: %v", off/mib, err)
		}
	}
}

// Never bytes of both.
func TestObjectReplacedWhileAProgramReadsIt(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	old, new := noise(40*mib, 1), noise(40*mib, 2)
	s.put("data/large.bin", old)
	m := s.mount(t, "prefetch=off")
	f := openAt(t, m.path("data/large.bin"))
	if got, err := readBlock(f, 0); err != nil || got != old[:4096] {
		t.Fatalf("first read: %v", err)
	}
	s.put("data/large.bin", new)
	if got, err := readBlock(f, 30*mib); err == nil && got != old[30*mib:30*mib+4096] {
		t.Error("bytes of the new object in the old one")
	} else if err != nil && !errors.Is(err, unix.ESTALE) {
		t.Errorf("read of the rest: %v, want ESTALE", err)
	}
	again := openAt(t, m.path("data/large.bin"))
	b, err := io.ReadAll(again)
	if err != nil || sum(string(b)) != sum(new) {
		t.Errorf("opened again it is not the new one: %d bytes, %v", len(b), err)
	}
	if got, err := readBlock(f, 0); err != nil || got != old[:4096] {
		t.Errorf("the old one has changed under its reader: %v", err)
	}
}

// A full disk below the cache is not the readers' trouble.
func TestReadersGoOnWhenTheCacheDiskFillsUp(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	content := noise(40*mib, 1)
	s.put("data/large.bin", content)
	m := s.unmounted(t, "prefetch=file", "min_free=1")
	disk := mkdir(t, filepath.Join(filepath.Dir(m.cache), "disk"))
	must(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=512m"))
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	t.Cleanup(m.cleanup) // before that
	m.cache = filepath.Join(disk, "cache")
	m.start()
	s.proxy.holdIf(func(r request) bool { return isContent(r) && r.from >= 16*mib })
	f := openAt(t, m.path("data/large.bin"))
	if got, err := readBlock(f, 0); err != nil || got != content[:4096] {
		t.Fatalf("first read: %v", err)
	}
	eventually(t, "the rest is held up", func() bool { return s.proxy.holding() > 0 })
	fillUp(t, filepath.Join(disk, "filler"))
	s.proxy.release()
	b, err := io.ReadAll(f)
	if err != nil || sum(string(b)) != sum(content) {
		t.Errorf("%d bytes read from a full disk, %v, or wrong ones", len(b), err)
	}
	want(t, "read once more", sum(read(t, m.path("data/large.bin"))), sum(content))
}

// fillUp takes all the room that there is, and may take more later.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	must(t, err)
	defer f.Close()
	for size := mib; size >= 4096; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
			size /= 2
		} else {
			must(t, err)
		}
	}
}
