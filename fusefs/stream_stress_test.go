package fusefs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stressFiles   = 4
	stressSize    = 3<<20 + 77
	stressReaders = 6
)

// Many processes open, read, map, write and close a few files, which arrive and are
// evicted at random moments.
func TestModeOfAFileNeverReachesAProgram(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		f, log := &fake{}, &logBuffer{}
		mnt, s := testMount(t, f, mode, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
		names, contents := stressContents()
		for _, name := range names {
			f.fetch(t, name, contents[name], slowly)
		}
		readers := startReaders(t, mnt)
		through, cached := 0, 0
		seen := func() bool { on, _ := s.Passthrough(); return cached > 0 && (through > 0 || !on) }
		end := time.Now().Add(stressTime())
		late := end.Add(time.Minute) // on a busy machine readers begin when they can
		for time.Now().Before(end) || !seen() && time.Now().Before(late) {
			name := names[rand.IntN(len(names))]
			if f.streaming(name) != nil {
				f.arrive(t, name)
			} else {
				f.evict(t, name, contents[name], slowly) // or not, if it is open
			}
			time.Sleep(time.Duration(rand.IntN(10)) * time.Millisecond)
			n, m := s.handles.open()
			through, cached = through+n, cached+m
		}
		for _, name := range names { // writers wait for it
			if f.streaming(name) != nil {
				f.arrive(t, name)
			}
		}
		readers.stop(t)
		t.Logf("%d opens, %d handles seen by passthrough and %d cached", f.handles.Load(), through, cached)
		if !seen() {
			t.Error("not both kinds of opens were seen")
		}
		for _, name := range names {
			if on, _ := s.Passthrough(); opensWith(t, s, filepath.Join(mnt, name)) != on {
				t.Error("not by passthrough in the end")
			}
		}
		if log.String() != "" {
			t.Errorf("log:\n%s", log)
		}
	})
}

func stressContents() (names []string, contents map[string][]byte) {
	contents = map[string][]byte{}
	for i := range stressFiles {
		name := fmt.Sprint("f", i)
		names, contents[name] = append(names, name), content(name, stressSize)
	}
	return names, contents
}

func stressTime() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("FUSEFS_TEST_STRESS")); err == nil {
		return d
	}
	return 3 * time.Second
}

func slowly(ctx context.Context, _ int64, _ int) error {
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
	}
	return ctx.Err()
}

type readers struct {
	all []*exec.Cmd
	out []*bytes.Buffer
	in  []io.Closer
}

func startReaders(t *testing.T, mnt string) *readers {
	t.Helper()
	r := &readers{}
	for range stressReaders {
		cmd, out := exec.Command(os.Args[0]), &bytes.Buffer{}
		cmd.Env = append(os.Environ(), "FUSEFS_TEST_READ="+mnt)
		cmd.Stdout, cmd.Stderr = out, out
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r.all, r.out, r.in = append(r.all, cmd), append(r.out, out), append(r.in, in)
	}
	return r
}

func (r *readers) stop(t *testing.T) {
	t.Helper()
	for _, in := range r.in {
		in.Close()
	}
	for i, cmd := range r.all {
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %s", err, r.out[i])
		}
	}
}

// readForTest is one of the processes. It goes on until its input ends.
func readForTest(dir string) int {
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	names, contents := stressContents()
	var group sync.WaitGroup
	errs := make(chan error, 2)
	for range 2 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				name := names[rand.IntN(len(names))]
				if err := useForTest(filepath.Join(dir, name), contents[name]); err != nil {
					errs <- fmt.Errorf("%s: %w", name, err)
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	code := 0
	for err := range errs {
		fmt.Println(err)
		code = 1
	}
	return code
}

func useForTest(path string, want []byte) error {
	kind := rand.IntN(8)
	flags := os.O_RDONLY
	switch kind {
	case 5, 6:
		flags = os.O_RDWR
	case 7:
		flags |= syscall.O_DIRECT
	}
	f, err := os.OpenFile(path, flags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	off, n := rand.IntN(len(want)), 1+rand.IntN(1<<20)
	n = min(n, len(want)-off)
	part := want[off : off+n]
	switch kind {
	case 0, 7: // O_DIRECT by passthrough asks for aligned ones
		const align = 4096
		buf, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		defer unix.Munmap(buf)
		off -= off % align
		n, err := f.ReadAt(buf, int64(off))
		if err != nil && err != io.EOF {
			return err
		}
		return same("aligned read", buf[:n], want[off:min(off+len(buf), len(want))])
	case 1:
		got, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		return same("read", got, want)
	case 2, 3:
		return mapped(f, kind == 2, want, off, part)
	case 4:
		st, err := f.Stat()
		if err != nil || st.Size() != int64(len(want)) {
			return fmt.Errorf("stat: %d bytes, %w", st.Size(), err)
		}
		return nil
	case 5:
		if _, err := f.WriteAt(part, int64(off)); err != nil {
			return err
		}
		return f.Close()
	}
	m, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap for writing: %w", err)
	}
	defer unix.Munmap(m)
	copy(m[off:], part)
	return same("written map", m[off:off+n], part)
}

func mapped(f *os.File, shared bool, want []byte, off int, part []byte) error {
	how := unix.MAP_PRIVATE
	if shared {
		how = unix.MAP_SHARED
	}
	m, err := unix.Mmap(int(f.Fd()), 0, len(want), unix.PROT_READ, how)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	defer unix.Munmap(m)
	if rand.IntN(2) == 0 { // a map outlives its descriptor
		if err := f.Close(); err != nil {
			return err
		}
	}
	return same("map", m[off:off+len(part)], part)
}

func same(what string, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	i := 0
	for i < min(len(got), len(want)) && got[i] == want[i] {
		i++
	}
	return fmt.Errorf("%s: %d bytes of %d, wrong from %d (%s)", what, len(got), len(want), i, strings.TrimSpace(fmt.Sprintf("% x", got[i:min(i+8, len(got))])))
}
