package integration

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// trainfs is the program under test; its directory is in the PATH of all that the tests run.
var trainfs string

// What this test binary is when it runs itself again.
const (
	guardEnv  = "TRAINFS_INTEGRATION_GUARD"  // the guard of another one: see guard
	insideEnv = "TRAINFS_INTEGRATION_INSIDE" // the one that tests: see runInside
)

func TestMain(m *testing.M) {
	if root := os.Getenv(guardEnv); root != "" {
		guard(root)
		return
	}
	if spec := os.Getenv(workloadEnv); spec != "" {
		runWorkload(spec)
		return
	}
	if os.Getenv(insideEnv) == "" {
		os.Exit(runInside())
	}
	os.Exit(runAll(m))
}

// runInside runs the tests in a mount namespace of their own. Their mounts disturb nobody;
// and nobody who makes a namespace meanwhile takes copies of them along, which would keep
// a file system alive after it was unmounted here.
func runInside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		return failed("mount namespace", err)
	}
	return cmd.ProcessState.ExitCode()
}

func runAll(m *testing.M) int {
	root, err := os.MkdirTemp("", "trainfs-integration-")
	if err == nil {
		err = os.Chmod(root, 0o755) // some tests are other users
	}
	if err != nil {
		return failed("temporary directory", err)
	}
	defer os.RemoveAll(root)
	stopGuard, err := startGuard(root)
	if err != nil {
		return failed("guard", err)
	}
	defer stopGuard()
	os.Setenv("TMPDIR", root) // for t.TempDir: everything below one directory
	unix.Umask(0o022)
	flag.Parse()
	if err := build(root); err != nil {
		return failed("build trainfs", err)
	}
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		// Most of a test's time is waiting.
		_ = f.Value.Set(strconv.Itoa(3 * runtime.NumCPU()))
	}
	code := m.Run()
	slices.Sort(figures.lines)
	for _, line := range figures.lines {
		fmt.Println(line)
	}
	if left := mountsBelow(root); len(left) > 0 {
		return failed("mounts were left behind", fmt.Errorf("%q", left))
	}
	return code
}

// figures are what make crash prints last, when all tests have ended.
var figures struct {
	mu    sync.Mutex
	lines []string
}

func figure(format string, args ...any) {
	figures.mu.Lock()
	defer figures.mu.Unlock()
	figures.lines = append(figures.lines, fmt.Sprintf(format, args...))
}

func failed(what string, err error) int {
	fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
	return 1
}

func build(root string) error {
	bin := filepath.Join(root, "bin")
	trainfs = filepath.Join(bin, "trainfs")
	var flags []string
	if !*crashFast {
		flags = []string{"-race"}
	}
	if err := buildTo(trainfs, flags...); err != nil {
		return err
	}
	// Debian's Python is the one that has torch and fsspec (scripts/setup), whatever else is in PATH.
	if err := os.Symlink(python, filepath.Join(bin, "python3")); err != nil {
		return err
	}
	return os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}

func buildTo(program string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", program, "../cmd/trainfs")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// startGuard runs a process that outlives this one, should it be killed or panic, and
// takes the mounts away that it left. Lazily unmounted, their daemons end by themselves.
func startGuard(root string) (stop func(), err error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), guardEnv+"="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() { alive.Close(); _ = cmd.Wait() }, nil
}

// guard waits for the end of the process whose pipe is its stdin, then cleans up.
func guard(root string) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, path := range mountsBelow(root) {
		_ = unix.Unmount(path, unix.MNT_DETACH)
	}
	for _, path := range []string{mountHelper, command} {
		if to, err := os.Readlink(path); err == nil && strings.HasPrefix(to, root) {
			_ = os.Remove(path)
		}
	}
}

// mountsBelow lists mount points, the innermost first.
func mountsBelow(root string) []string {
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(i.Mountpoint, root+"/"), false
	})
	if err != nil {
		return []string{err.Error()}
	}
	paths := make([]string, 0, len(infos))
	for _, i := range infos {
		paths = append([]string{i.Mountpoint}, paths...)
	}
	return paths
}
