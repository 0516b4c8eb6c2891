package fusefs

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	syscall.Umask(0) // as VFS demands
	if mnt := os.Getenv("FUSEFS_TEST_SERVE"); mnt != "" {
		serveForTest(mnt)
	}
	if dir := os.Getenv("FUSEFS_TEST_READ"); dir != "" {
		os.Exit(readForTest(dir))
	}
	if os.Geteuid() == 0 && os.Getenv("FUSEFS_TEST_INSIDE") == "" {
		os.Exit(runInside())
	}
	goleak.VerifyTestMain(m)
}

// runInside runs the tests in a mount namespace of their own: whoever makes a namespace
// meanwhile takes copies of all mounts along, and a copy keeps a file system alive after
// Unmount, which waits for its end.
func runInside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), "FUSEFS_TEST_INSIDE=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		os.Stderr.WriteString("mount namespace: " + err.Error() + "\n")
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// serveForTest mounts in a process of its own, for a test to kill once it has said that
// it is ready: go-fuse uses the mount before, and who is killed in that hangs.
func serveForTest(mnt string) {
	s, err := Mount(&fake{dir: os.Getenv("FUSEFS_TEST_DIR")}, Config{MountPoint: mnt, Source: "test"})
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	os.Stdout.WriteString("ready\n")
	s.Wait()
	os.Exit(0)
}

// testMount mounts f on a fresh directory, which it returns.
func testMount(t testing.TB, f *fake, change ...func(*Config)) (string, *Server) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("no /dev/fuse")
	}
	if f.dir == "" {
		f.dir = t.TempDir()
		if err := os.Chmod(f.dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{
		MountPoint: t.TempDir(), Source: "file:///some/where", Passthrough: true,
		AttrTimeout: time.Second, EntryTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := Mount(f, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Unmount(); err != nil {
			t.Errorf("%v", err)
			_ = Unmount(cfg.MountPoint, true)
			s.Wait()
		}
		if opened, released := f.handles.Load(), f.released.Load(); opened != released {
			t.Errorf("%d handles were opened and %d released", opened, released)
		}
	})
	return cfg.MountPoint, s
}

func throughDaemon(c *Config) { c.Passthrough = false }

func needPassthrough(t *testing.T, s *Server) {
	t.Helper()
	if on, why := s.Passthrough(); !on {
		t.Skipf("no passthrough here: %s", why)
	}
}

// bothWays runs a test with passthrough and without.
func bothWays(t *testing.T, test func(t *testing.T, mode func(*Config))) {
	t.Run("passthrough", func(t *testing.T) {
		_, s := testMount(t, &fake{})
		needPassthrough(t, s)
		test(t, func(*Config) {})
	})
	t.Run("daemon", func(t *testing.T) { test(t, throughDaemon) })
}

func write(t testing.TB, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// eventually waits for what happens after a system call has returned, such as RELEASE.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func TestMountShowsItsTypeAndSource(t *testing.T) {
	mnt, _ := testMount(t, &fake{})
	table := read(t, "/proc/self/mounts")
	want := "file:///some/where " + filepath.Clean(mnt) + " fuse.trainfs rw,nosuid,nodev,relatime,user_id=0,group_id=0,default_permissions"
	if os.Geteuid() == 0 && !bytes.Contains([]byte(table), []byte(want)) {
		t.Errorf("no line %q in\n%s", want, table)
	}
}

func TestPassthroughSaysWhyNot(t *testing.T) {
	_, s := testMount(t, &fake{}, throughDaemon)
	if on, why := s.Passthrough(); on || why != "switched off" {
		t.Errorf("got %v, %q", on, why)
	}
}

func TestReadOnlyMountRefusesWrites(t *testing.T) {
	mnt, _ := testMount(t, &fake{}, func(c *Config) { c.ReadOnly = true })
	if err := os.Mkdir(filepath.Join(mnt, "d"), 0o755); !isErrno(err, syscall.EROFS) {
		t.Errorf("got %v, want EROFS", err)
	}
}

func TestMountOptionsAreSetWithoutPrivilegesToo(t *testing.T) {
	cfg := Config{Options: []string{"noexec", "suid", "noatime", "exec", "context=x"}, ReadOnly: true}
	for direct, want := range map[bool]struct {
		words []string
		flags uintptr
	}{
		true:  {[]string{"default_permissions", "context=x"}, syscall.MS_RDONLY | syscall.MS_NOATIME | syscall.MS_NOSUID | syscall.MS_NODEV},
		false: {[]string{"default_permissions", "context=x", "ro", "noatime"}, 0},
	} {
		words, flags := mountOptions(cfg, direct)
		if len(words) != len(want.words) || flags != want.flags {
			t.Errorf("direct %v: got %q %#x, want %q %#x", direct, words, flags, want.words, want.flags)
		}
	}
}
