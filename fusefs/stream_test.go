package fusefs

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What maps a file of the mount, or may be killed, runs in a process of its own: a page
// fault that this process is to answer would hold up its own goroutines. So would starting
// a program while it has files of the mount open: exec closes them, and until that is
// answered, the starting thread can not be stopped for the garbage collector.

// hold has another process open path, until closed.
func hold(t *testing.T, path string) (closed func()) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `exec 3<"$1"; echo; read x`, "sh", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
		t.Errorf("%s was not opened: %v", path, err)
	}
	return func() {
		in.Close()
		_ = cmd.Wait()
	}
}

// content is what the file of that name holds, no two pages of all alike.
func content(name string, size int) []byte {
	b := make([]byte, size)
	x := uint64(1)
	for _, c := range []byte(name) {
		x = x*1099511628211 + uint64(c)
	}
	for i := range b {
		if i%8 == 0 {
			x = x*6364136223846793005 + 1442695040888963407
		}
		b[i] = byte(x >> (8 * (i % 8)))
	}
	return b
}

// open counts the open files of the mount, by how they are read.
func (s *handles) open() (through, cached int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.set {
		if h.through {
			through++
		} else {
			cached++
		}
	}
	return through, cached
}

// opensWith tells how a file is read that is opened now, which nobody else has open.
func opensWith(t *testing.T, s *Server, path string) (through bool) {
	t.Helper()
	eventually(t, "all closed", func() bool { through, cached := s.handles.open(); return through+cached == 0 })
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, _ := s.handles.open()
	return n == 1
}

func TestStreamingFileIsReadThroughTheDaemonAndThenByPassthrough(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		f := &fake{}
		mnt, s := testMount(t, f, mode)
		p, data := filepath.Join(mnt, "f"), content("f", 3<<20+123)
		st := f.fetch(t, "f", data, nil)
		file, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if through, cached := s.handles.open(); through != 0 || cached != 1 {
			t.Errorf("%d by passthrough, %d cached", through, cached)
		}
		f.arrive(t, "f")
		if got := read(t, p); got != string(data) { // whole now, and cached because of the other
			t.Errorf("%d bytes", len(got))
		}
		file.Close()
		on, _ := s.Passthrough()
		if got := opensWith(t, s, p); got != on {
			t.Errorf("opened by passthrough: %v, want %v", got, on)
		}
		reads := st.reads.Load()
		if got := read(t, p); got != string(data) || st.reads.Load() != reads {
			t.Errorf("%d bytes, %d reads more", len(got), st.reads.Load()-reads)
		}
	})
}

// The file below is empty, of today, and one hole.
func TestStreamingFileShowsWhatItWillBe(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		f := &fake{}
		mnt, _ := testMount(t, f, mode, func(c *Config) { c.AttrTimeout = 0 })
		data := content("f", 1<<20+5)
		size := int64(len(data))
		s := f.fetch(t, "f", data, nil)
		file, err := os.Open(filepath.Join(mnt, "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		check := func(when string) {
			t.Helper()
			if st, err := file.Stat(); err != nil || st.Size() != size || st.ModTime().Unix() != s.mtime.Sec {
				t.Errorf("%s: %d bytes, %v, %v", when, st.Size(), st.ModTime(), err)
			}
			fd := int(file.Fd())
			if off, err := unix.Seek(fd, 100, unix.SEEK_DATA); off != 100 || err != nil {
				t.Errorf("%s: data after 100: %d, %v", when, off, err)
			}
			if off, err := unix.Seek(fd, 100, unix.SEEK_HOLE); off != size || err != nil {
				t.Errorf("%s: hole after 100: %d, %v", when, off, err)
			}
			if off, err := unix.Seek(fd, size, unix.SEEK_DATA); err != syscall.ENXIO {
				t.Errorf("%s: data after the end: %d, %v", when, off, err)
			}
			out, err := os.Create(filepath.Join(mnt, "copy"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			for from, to := int64(0), int64(0); from < size; {
				if n, err := unix.CopyFileRange(fd, &from, int(out.Fd()), &to, int(size-from), 0); n == 0 || err != nil {
					t.Fatalf("%s: copied %d up to %d, %v", when, n, from, err)
				}
			}
			if got := read(t, filepath.Join(mnt, "copy")); got != string(data) {
				t.Errorf("%s: the copy differs", when)
			}
		}
		check("under way")
		f.arrive(t, "f")
		check("at the end")
	})
}

// The name can go while the file is read.
func TestStreamingFileWithoutANameKeepsItsSize(t *testing.T) {
	for name, remove := range map[string]func(dir string) error{
		"removed": func(dir string) error { return os.Remove(filepath.Join(dir, "f")) },
		"replaced": func(dir string) error {
			if err := os.WriteFile(filepath.Join(dir, "g"), []byte("other"), 0o644); err != nil {
				return err
			}
			return os.Rename(filepath.Join(dir, "g"), filepath.Join(dir, "f"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			mnt, _ := testMount(t, f, func(c *Config) { c.AttrTimeout = 0 })
			data := content("f", 10000)
			f.fetch(t, "f", data, nil)
			file, err := os.Open(filepath.Join(mnt, "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			if err := remove(mnt); err != nil {
				t.Fatal(err)
			}
			f.mu.Lock()
			delete(f.mu.streams, "f") // it is of what had the name
			f.mu.Unlock()
			st, err := file.Stat()
			if err != nil || st.Size() != 10000 || st.Sys().(*syscall.Stat_t).Nlink != 0 {
				t.Errorf("%+v, %v", st, err)
			}
			if got, err := io.ReadAll(file); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// Writers wait in the cache until all is there; then they share the readers' pages.
func TestWriterJoinsCachedReaders(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		f := &fake{}
		mnt, s := testMount(t, f, mode)
		p, data := filepath.Join(mnt, "f"), content("f", 2<<20)
		f.fetch(t, "f", data, nil)
		reader, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
		f.arrive(t, "f")
		for _, flag := range []int{os.O_APPEND, os.O_TRUNC} {
			w, err := os.OpenFile(p, os.O_WRONLY|flag, 0)
			if err != nil {
				t.Fatal(err)
			}
			if through, cached := s.handles.open(); through != 0 || cached != 2 {
				t.Errorf("%d by passthrough, %d cached", through, cached)
			}
			if flag == os.O_TRUNC {
				data = nil
			}
			data = append(data, "more"...)
			touched := f.touched.Load()
			if _, err := w.WriteString("more"); err != nil {
				t.Fatal(err)
			}
			if f.touched.Load() == touched {
				t.Error("a write was not told")
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if st, err := reader.Stat(); err != nil || st.Size() != int64(len(data)) {
				t.Errorf("the reader sees %d bytes, %v", st.Size(), err)
			}
			if got, err := io.ReadAll(io.NewSectionReader(reader, 0, 1<<30)); err != nil || !bytes.Equal(got, data) {
				t.Errorf("the reader got %d bytes, %v", len(got), err)
			}
		}
		w, err := os.OpenFile(p, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteString("!"); err != nil {
			t.Fatal(err)
		}
		w.Close()
		if err := os.Remove(p); err != nil {
			t.Fatal(err)
		}
		if st, err := reader.Stat(); err != nil || st.Size() != 5 {
			t.Errorf("without a name it has %d bytes, %v", st.Size(), err)
		}
		reader.Close()
	})
}

// An open of what is being fetched and one of the whole may come to us in the other order
// than they came to the cache.
func TestOpenThatIsOvertakenByTheEndOfTheFetchTriesAgain(t *testing.T) {
	f := &fake{}
	mnt, s := testMount(t, f)
	needPassthrough(t, s)
	p, data := filepath.Join(mnt, "f"), content("f", 1<<20)
	f.fetch(t, "f", data, nil)
	closed := func() {}
	var overtaken atomic.Bool
	f.setOpened(func(string) {
		if overtaken.Swap(true) {
			return
		}
		f.arrive(t, "f")
		closed = hold(t, p)
	})
	opened := f.count("open")
	if got := read(t, p); got != string(data) {
		t.Errorf("%d bytes", len(got))
	}
	if n := f.count("open") - opened; n != 3 {
		t.Errorf("%d opens, want 3", n)
	}
	if through, cached := s.handles.open(); through == 0 || cached != 0 {
		t.Errorf("%d by passthrough, %d cached", through, cached)
	}
	closed()
}

func TestBrokenContractIsESTALEAndToldOnce(t *testing.T) {
	f, log := &fake{}, &logBuffer{}
	mnt, s := testMount(t, f, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	needPassthrough(t, s)
	p := filepath.Join(mnt, "f")
	write(t, p, "whole")
	file, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	f.mu.Lock()
	f.mu.streams = map[string]*stream{"f": {data: []byte("whole"), ended: make(chan struct{})}}
	f.mu.Unlock()
	for range 2 {
		if _, err := os.Open(p); !isErrno(err, syscall.ESTALE) {
			t.Errorf("got %v, want ESTALE", err)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors logged:\n%s", n, log)
	}
}

// The kernel goes by names that it knows for the entry timeout.
func TestOpenOfAReplacedFileIsNotMixedUpWithTheOpenOne(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		f, log := &fake{}, &logBuffer{}
		mnt, _ := testMount(t, f, mode, func(c *Config) {
			c.AttrTimeout, c.EntryTimeout = time.Hour, time.Hour
			c.Logger = slog.New(slog.NewTextHandler(log, nil))
		})
		p := filepath.Join(mnt, "f")
		write(t, p, "old")
		old, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		write(t, filepath.Join(f.dir, "new"), "another")
		if err := os.Rename(filepath.Join(f.dir, "new"), filepath.Join(f.dir, "f")); err != nil {
			t.Fatal(err)
		}
		if got := read(t, p); got != "another" {
			t.Errorf("got %q", got)
		}
		if got, err := io.ReadAll(old); string(got) != "old" || err != nil {
			t.Errorf("the open one gives %q, %v", got, err)
		}
		if strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("log:\n%s", log)
		}
	})
}

// The kernel takes no passthrough of a file that is not a regular one.
func TestRefusedPassthroughIsCachedFromThenOn(t *testing.T) {
	f := &fake{}
	mnt, s := testMount(t, f)
	needPassthrough(t, s)
	for _, name := range []string{"before", "odd", "after"} {
		write(t, filepath.Join(f.dir, name), name)
	}
	before, err := os.Open(filepath.Join(mnt, "before"))
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	f.mu.Lock()
	f.mu.below = map[string]string{"odd": "/dev/zero"}
	f.mu.Unlock()
	odd, err := os.Open(filepath.Join(mnt, "odd"))
	if err != nil {
		t.Fatal(err)
	}
	odd.Close()
	if on, why := s.Passthrough(); on || !strings.Contains(why, "refused") {
		t.Errorf("passthrough %v, %q", on, why)
	}
	for _, name := range []string{"before", "after"} { // the former is still open by passthrough
		if got := read(t, filepath.Join(mnt, name)); got != name {
			t.Errorf("got %q", got)
		}
	}
}

// O_DIRECT asks for aligned buffers of the disk below only where that is read directly.
func TestDirectIO(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		f := &fake{}
		mnt, s := testMount(t, f, mode)
		p, data := filepath.Join(mnt, "f"), content("f", 1<<20)
		f.fetch(t, "f", data, nil)
		dd := func() {
			t.Helper()
			out, err := exec.Command("dd", "if="+p, "bs=64K", "iflag=direct", "status=none").Output()
			if err != nil || !bytes.Equal(out, data) {
				t.Errorf("%d bytes, %v", len(out), err)
			}
		}
		dd()
		closed := hold(t, p)
		f.arrive(t, "f")
		dd() // whole and cached
		closed()
		on, _ := s.Passthrough()
		if opensWith(t, s, p) != on {
			t.Error("not by passthrough")
		}
		dd()
	})
}
