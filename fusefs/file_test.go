package fusefs

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestErrorOfFlushReachesClose(t *testing.T) {
	f := &fake{}
	mnt, _ := testMount(t, f)
	f.setHook(func(_ context.Context, op, _ string) error {
		if op == "flush" {
			return syscall.ENOSPC
		}
		return nil
	})
	file, err := os.Create(filepath.Join(mnt, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); !isErrno(err, syscall.ENOSPC) {
		t.Errorf("got %v, want ENOSPC", err)
	}
	eventually(t, "released", func() bool { return f.released.Load() == 1 })
}

// P1: nothing can go wrong with the close of a file that was only read, by passthrough. What
// could have been written is flushed, whatever it was opened for besides.
func TestCloseOfWhatWasOnlyReadWaitsForNobody(t *testing.T) {
	f := &fake{}
	mnt, s := testMount(t, f)
	needPassthrough(t, s)
	path := filepath.Join(mnt, "f")
	write(t, path, "data")
	eventually(t, "the file that was written is released", func() bool { return f.released.Load() == 1 })
	for flags, flushes := range map[int]int{
		unix.O_RDONLY: 0, unix.O_RDONLY | unix.O_DIRECT: 0,
		unix.O_WRONLY: 1, unix.O_RDWR: 1, unix.O_RDONLY | unix.O_TRUNC: 1,
	} {
		before, released := f.count("flush"), f.released.Load()
		file, err := os.OpenFile(path, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Errorf("close after open with %o: %v", flags, err)
		}
		eventually(t, "released", func() bool { return f.released.Load() == released+1 })
		if n := f.count("flush") - before; n != flushes {
			t.Errorf("opened with %o: %d flushes, want %d", flags, n, flushes)
		}
	}
}

func TestENOSYSDoesNotSilenceFlushAndFsync(t *testing.T) {
	f := &fake{}
	mnt, _ := testMount(t, f)
	f.setHook(func(_ context.Context, op, _ string) error {
		if op == "flush" || op == "fsync" || op == "syncdir" {
			return syscall.ENOSYS
		}
		return nil
	})
	for range 2 {
		file, err := os.Create(filepath.Join(mnt, "f"))
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Sync(); !isErrno(err, syscall.EIO) {
			t.Errorf("fsync: got %v, want EIO", err)
		}
		if err := file.Close(); !isErrno(err, syscall.EIO) {
			t.Errorf("close: got %v, want EIO", err)
		}
		dir, err := os.Open(mnt)
		if err != nil {
			t.Fatal(err)
		}
		if err := dir.Sync(); !isErrno(err, syscall.EIO) {
			t.Errorf("fsync of the directory: got %v, want EIO", err)
		}
		dir.Close()
	}
	for _, op := range []string{"flush", "fsync", "syncdir"} {
		if n := f.count(op); n != 2 {
			t.Errorf("%s was asked %d times, want 2", op, n)
		}
	}
}

func TestWritesAreOnlySeenWithoutPassthrough(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		f := &fake{}
		mnt, s := testMount(t, f, mode)
		write(t, filepath.Join(mnt, "f"), "hello")
		if got := read(t, filepath.Join(f.dir, "f")); got != "hello" {
			t.Errorf("got %q", got)
		}
		on, _ := s.Passthrough()
		if touched := f.touched.Load(); (touched == 0) != on {
			t.Errorf("passthrough %v, touched %d times", on, touched)
		}
	})
}

func TestReadersAndWritersShareAFile(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		mnt, _ := testMount(t, &fake{}, mode)
		p := filepath.Join(mnt, "f")
		write(t, p, "1")
		r, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		w, err := os.OpenFile(p, os.O_RDWR|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString("2"); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if n, _ := r.Read(b); string(b[:n]) != "12" {
			t.Errorf("the reader got %q", b[:n])
		}
		if st, err := r.Stat(); err != nil || st.Size() != 2 {
			t.Errorf("fstat: %v, %v", st.Size(), err)
		}
	})
}

func TestTruncatingOpenIsOneRequest(t *testing.T) {
	f := &fake{}
	mnt, _ := testMount(t, f)
	p := filepath.Join(mnt, "f")
	write(t, p, "old")
	write(t, p, "new")
	f.mu.Lock()
	flags := f.mu.flags
	f.mu.Unlock()
	if flags != os.O_WRONLY|os.O_TRUNC {
		t.Errorf("flags %#x", flags)
	}
	if got := read(t, p); got != "new" {
		t.Errorf("got %q", got)
	}
}

// A file that another node has published anew is seen whole, although the kernel may
// still keep the old one's size.
func TestOpenSeesTheSizeOfWhatItOpened(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		f := &fake{}
		mnt, _ := testMount(t, f, mode, func(c *Config) { c.AttrTimeout, c.EntryTimeout = time.Hour, time.Hour })
		p := filepath.Join(mnt, "latest")
		write(t, p, "one")
		if st, err := os.Stat(p); err != nil || st.Size() != 3 {
			t.Fatal(st, err)
		}
		eventually(t, "released", func() bool { return f.released.Load() == 1 })
		write(t, filepath.Join(f.dir, "latest"), "checkpoint_2")
		file, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if st, err := file.Stat(); err != nil || st.Size() != 12 {
			t.Errorf("fstat says %d bytes, %v", st.Size(), err)
		}
		if got := read(t, p); got != "checkpoint_2" {
			t.Errorf("got %q", got)
		}
	})
}

func TestReplacedFileIsLookedUpAgain(t *testing.T) {
	f := &fake{}
	mnt, _ := testMount(t, f, func(c *Config) { c.AttrTimeout, c.EntryTimeout = 0, time.Hour })
	p := filepath.Join(mnt, "f")
	write(t, p, "old")
	eventually(t, "released", func() bool { return f.released.Load() == 1 })
	write(t, filepath.Join(f.dir, "new"), "another")
	if err := os.Rename(filepath.Join(f.dir, "new"), filepath.Join(f.dir, "f")); err != nil {
		t.Fatal(err)
	}
	want, err := os.Stat(filepath.Join(f.dir, "f"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	if g, w := got.Sys().(*syscall.Stat_t).Ino, want.Sys().(*syscall.Stat_t).Ino; g != w || got.Size() != 7 {
		t.Errorf("inode %d, want %d; size %d", g, w, got.Size())
	}
}

func TestFileWithoutANameStaysWhole(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		f := &fake{}
		mnt, _ := testMount(t, f, mode)
		p := filepath.Join(mnt, "f")
		file, err := os.Create(p)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
		asked := f.count("stat") + f.count("lookup")
		if err := file.Chmod(0o600); err != nil {
			t.Errorf("fchmod: %v", err)
		}
		if _, err := file.WriteString("data"); err != nil {
			t.Errorf("write: %v", err)
		}
		if err := file.Truncate(2); err != nil {
			t.Errorf("ftruncate: %v", err)
		}
		if err := unix.Futimes(int(file.Fd()), []unix.Timeval{{Sec: 1}, {Sec: 2}}); err != nil {
			t.Errorf("futimes: %v", err)
		}
		st, err := file.Stat()
		if err != nil || st.Mode() != 0o600 || st.Size() != 2 || st.ModTime().Unix() != 2 {
			t.Errorf("fstat: %v %v %v, %v", st.Mode(), st.Size(), st.ModTime(), err)
		}
		if now := f.count("stat") + f.count("lookup"); now != asked {
			t.Errorf("the cache was asked for a name that is gone")
		}
	})
}

func TestModeZeroIsModeZero(t *testing.T) {
	mnt, _ := testMount(t, &fake{})
	p := filepath.Join(mnt, "f")
	write(t, p, "")
	if err := os.Chmod(p, 0); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(p); err != nil || st.Mode() != 0 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestIoctlIsRefused(t *testing.T) {
	mnt, _ := testMount(t, &fake{})
	write(t, filepath.Join(mnt, "f"), "")
	file, err := os.Open(filepath.Join(mnt, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS); !isErrno(err, syscall.ENOTTY) {
		t.Errorf("got %v, want ENOTTY", err)
	}
}

func TestCopyFileRange(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		mnt, _ := testMount(t, &fake{}, mode)
		write(t, filepath.Join(mnt, "a"), "0123456789")
		in, err := os.Open(filepath.Join(mnt, "a"))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := os.Create(filepath.Join(mnt, "b"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		from, to := int64(2), int64(0)
		if n, err := unix.CopyFileRange(int(in.Fd()), &from, int(out.Fd()), &to, 5, 0); n != 5 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		if got := read(t, filepath.Join(mnt, "b")); got != "23456" {
			t.Errorf("got %q", got)
		}
	})
}

func TestPanicIsOneLoggedEIO(t *testing.T) {
	f, log := &fake{}, &logBuffer{}
	mnt, _ := testMount(t, f, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	f.setHook(func(_ context.Context, op, path string) error {
		if path == "bad" {
			panic("boom")
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(mnt, "bad")); !isErrno(err, syscall.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	write(t, filepath.Join(mnt, "good"), "still mounted")
	if s := log.String(); !strings.Contains(s, "boom") || !strings.Contains(s, "fake_test.go") {
		t.Errorf("log has no panic with its stack:\n%s", s)
	}
}

func TestWordsOfEIOAreLogged(t *testing.T) {
	f, log := &fake{}, &logBuffer{}
	mnt, _ := testMount(t, f, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	f.setHook(func(_ context.Context, op, path string) error {
		if path == "bad" {
			return errors.New("the words")
		}
		return nil
	})
	for range 3 {
		if _, err := os.Stat(filepath.Join(mnt, "bad")); !isErrno(err, syscall.EIO) {
			t.Errorf("got %v, want EIO", err)
		}
	}
	if s := log.String(); !strings.Contains(s, "the words") || strings.Count(s, "the words") > 2 {
		t.Errorf("log:\n%s", s)
	}
}

func TestUnmountReleasesWhatIsOpen(t *testing.T) {
	f := &fake{}
	mnt, s := testMount(t, f)
	file, err := os.Create(filepath.Join(mnt, "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := s.Unmount(); !isErrno(err, syscall.EBUSY) {
		t.Errorf("got %v, want EBUSY", err)
	}
	if err := Unmount(mnt, true); err != nil {
		t.Fatal(err)
	}
	file.Close()
	s.Wait()
	if f.released.Load() != 1 {
		t.Error("not released")
	}
}

func TestLongNamesAreNotAskedFor(t *testing.T) {
	f := &fake{}
	mnt, _ := testMount(t, f)
	_, err := os.Stat(filepath.Join(mnt, strings.Repeat("x", 300)))
	if !isErrno(err, syscall.ENAMETOOLONG) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(mnt, "missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if n := f.count("lookup"); n != 1 {
		t.Errorf("%d lookups", n)
	}
}
