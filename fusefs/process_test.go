package fusefs

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// These are about programs that use the mount, so they run some.

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be somebody else")
	}
}

// openParents lets other users reach what t.TempDir made.
func openParents(t *testing.T, dir string) {
	t.Helper()
	for d := filepath.Dir(dir); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func as(uid uint32, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid + 1}}
	return cmd
}

func TestNewFilesBelongToTheCaller(t *testing.T) {
	needRoot(t)
	f := &fake{}
	mnt, _ := testMount(t, f, func(c *Config) { c.AllowOther = true })
	openParents(t, mnt)
	if err := os.Chmod(mnt, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"echo x > f", "mkdir d", "ln -s x l", "mkfifo p"} {
		cmd := as(1234, "sh", "-c", "cd "+mnt+" && umask 027 && "+script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		f.mu.Lock()
		if f.mu.owner != (cache.Owner{UID: 1234, GID: 1235}) {
			t.Errorf("%s: owner %v", script, f.mu.owner)
		}
		f.mu.Unlock()
	}
	st, err := os.Stat(filepath.Join(mnt, "f"))
	if err != nil || st.Mode() != 0o640 || st.Sys().(*syscall.Stat_t).Uid != 1234 {
		t.Errorf("%v, %v", st, err)
	}
}

func TestPermissionsAreChecked(t *testing.T) {
	needRoot(t)
	mnt, _ := testMount(t, &fake{}, func(c *Config) { c.AllowOther = true })
	openParents(t, mnt)
	p := filepath.Join(mnt, "secret")
	write(t, p, "x")
	if err := os.Chmod(p, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := as(1234, "cat", p).CombinedOutput(); err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWithoutAllowOtherNobodyElseGetsIn(t *testing.T) {
	needRoot(t)
	mnt, _ := testMount(t, &fake{})
	openParents(t, mnt)
	if out, err := as(1234, "ls", mnt).CombinedOutput(); err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("%v: %s", err, out)
	}
}

// A process may lock a file twice, loses its locks with the first descriptor that it
// closes, and conflicts with others.
func TestLocksAreThoseOfALocalDisk(t *testing.T) {
	mnt, _ := testMount(t, &fake{})
	p := filepath.Join(mnt, "f")
	write(t, p, "x")
	script := `
import fcntl, subprocess, sys
p = sys.argv[1]
a, b = open(p, "r+"), open(p, "r+")
fcntl.lockf(a, fcntl.LOCK_EX | fcntl.LOCK_NB)
fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
other = "import fcntl,sys; fcntl.lockf(open(sys.argv[1],'r+'), fcntl.LOCK_EX|fcntl.LOCK_NB)"
def conflicts():
    return subprocess.run([sys.executable, "-c", other, p], stderr=subprocess.DEVNULL).returncode != 0
assert conflicts()
b.close()
assert not conflicts()
c, d = open(p), open(p)
fcntl.flock(c, fcntl.LOCK_EX)
try:
    fcntl.flock(d, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert False
except BlockingIOError:
    pass
`
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	if out, err := exec.Command(python, "-c", script, p).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestKilledProgramCancelsItsRequest(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			f, cancelled, entered := &fake{}, make(chan error, 1), make(chan struct{})
			mnt, _ := testMount(t, f)
			f.setHook(func(ctx context.Context, op, path string) error {
				if path != "slow" {
					return nil
				}
				close(entered)
				select {
				case <-ctx.Done():
				case <-time.After(30 * time.Second):
				}
				cancelled <- ctx.Err()
				return ctx.Err()
			})
			cmd := exec.Command("cat", filepath.Join(mnt, "slow"))
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-entered
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := <-cancelled; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			_ = cmd.Wait()
		})
	}
}

// A program that handles a signal, here SIGUSR1, gets its answer; a SIGKILL after that
// still cancels.
func TestHandledSignalDoesNotFailAnOperation(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	f, entered, ignored := &fake{}, make(chan string), make(chan string)
	mnt, _ := testMount(t, f)
	write(t, filepath.Join(f.dir, "there"), "x")
	f.setHook(func(ctx context.Context, op, path string) error {
		if op != "lookup" {
			return nil
		}
		entered <- path
		<-ctx.(*request).Context.Done() // the kernel's INTERRUPT
		select {
		case <-ctx.Done():
			t.Errorf("%s was cancelled", path)
		case <-time.After(3 * signalPoll):
		}
		ignored <- path
		if path == "there" {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	cmd := exec.Command(python, "-c", `
import os, signal, sys
signal.signal(signal.SIGUSR1, lambda *_: None)
print(os.path.exists(sys.argv[1] + "/there"), flush=True)
os.stat(sys.argv[1] + "/elsewhere")
`, mnt)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"there", "elsewhere"} {
		if got := <-entered; got != path {
			t.Errorf("lookup of %q, want %q", got, path)
		}
		if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		<-ignored
	}
	if err := cmd.Process.Kill(); err != nil { // must end the request: nobody answers it
		t.Fatal(err)
	}
	if b, err := io.ReadAll(out); string(b) != "True\n" || err != nil {
		t.Errorf("the program said %q, %v", b, err)
	}
	_ = cmd.Wait()
}

// A signal to the process interrupts the thread that waits for the store, and is then taken by another: in a
// program with threads a child that exits must not make a checkpoint look as if it were not there.
func TestSignalThatAnotherThreadTakesDoesNotFailAnOperation(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	f := &fake{}
	mnt, _ := testMount(t, f)
	write(t, filepath.Join(f.dir, "there"), "x")
	f.setHook(func(ctx context.Context, op, path string) error {
		if op != "lookup" || path != "there" {
			return nil
		}
		<-ctx.(*request).Context.Done() // the kernel's INTERRUPT
		select {
		case <-ctx.Done():
			t.Error("cancelled")
			return ctx.Err()
		case <-time.After(20 * signalPoll):
		}
		return nil
	})
	cmd := exec.Command(python, "-c", `
import os, signal, sys, threading, time
for sig in signal.SIGUSR1, signal.SIGUSR2:
    signal.signal(sig, lambda *_: None)
def other():
    time.sleep(0.3) # the main thread waits by now
    os.kill(os.getpid(), signal.SIGUSR1)
    while True: # a thread that has a signal of its own takes the process's too
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        time.sleep(0.001)
threading.Thread(target=other, daemon=True).start()
print(os.path.exists(sys.argv[1] + "/there"), flush=True)
`, mnt)
	if out, err := cmd.CombinedOutput(); string(out) != "True\n" || err != nil {
		t.Errorf("the program said %q, %v", out, err)
	}
}

func TestProgramsThatAreStartedDoNotHoldTheMount(t *testing.T) {
	testMount(t, &fake{})
	out, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil || strings.Contains(string(out), "/dev/fuse") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestStaleMountIsToldApart(t *testing.T) {
	needRoot(t)
	mnt := t.TempDir()
	check := func(path string, want MountPointState) {
		t.Helper()
		if got, err := CheckMountPoint(path); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", path, got, err, want)
		}
	}
	check(mnt, MountPointFree)
	check(filepath.Join(mnt, "missing"), MountPointMissing)
	check(filepath.Join(mnt, "missing", "deeper"), MountPointMissing)
	check("/proc", MountPointOther)
	check(t.TempDir()+"/..", MountPointNotEmpty)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	check(file, MountPointNotDirectory)

	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FUSEFS_TEST_SERVE="+mnt, "FUSEFS_TEST_DIR="+t.TempDir())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	check(mnt, MountPointLive)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(mnt, link); err != nil {
		t.Fatal(err)
	}
	check(link, MountPointLive)

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	check(mnt, MountPointStale)
	check(link, MountPointStale)
	if err := Unmount(link, true); err != nil {
		t.Fatal(err)
	}
	check(mnt, MountPointFree)
	if err := Unmount(mnt, false); !isErrno(err, syscall.EINVAL) {
		t.Errorf("unmount of what is not mounted: %v", err)
	}
}

// The mount works as an ordinary user, without passthrough, through fusermount3.
func TestOrdinaryUserCanMount(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("fusermount3"); err != nil {
		t.Skip("no fusermount3")
	}
	if st, err := os.Stat("/dev/fuse"); err != nil || st.Mode().Perm()&0o006 != 0o006 {
		t.Skip("/dev/fuse is not for everybody")
	}
	nobody, err := user.Lookup("nobody") // fusermount3 wants its user to have a name
	if err != nil {
		t.Skip(err)
	}
	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		t.Fatal(err)
	}
	mnt, dir, bin := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "test")
	for _, d := range []string{mnt, dir, bin} {
		openParents(t, d)
	}
	for _, d := range []string{mnt, dir} {
		if err := os.Chown(d, uid, uid+1); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bin, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := as(uint32(uid), bin)
	cmd.Env = append(os.Environ(), "FUSEFS_TEST_SERVE="+mnt, "FUSEFS_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "mounted", func() bool {
		_, mounted, err := mountedType(mnt)
		return mounted && err == nil
	})
	script := "cd " + strconv.Quote(mnt) + " && echo hello > f && test $(cat f) = hello && rm f"
	if out, err := as(uint32(uid), "sh", "-c", script).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := as(uint32(uid), "fusermount3", "-u", mnt).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
