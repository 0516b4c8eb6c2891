package integration

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mount is one mount with a cache directory of its own.
type mount struct {
	t       *testing.T
	dir     string // mount point
	cache   string
	source  string
	env     []string
	options []string
	program string // "": the one under test
}

// mount mounts the storage path until the test ends. Times are short, unless options say
// otherwise.
func (s *store) mount(t *testing.T, options ...string) *mount {
	t.Helper()
	m := s.unmounted(t, options...)
	m.start()
	return m
}

// unmounted prepares a mount and does not start it.
func (s *store) unmounted(t *testing.T, options ...string) *mount {
	t.Helper()
	base := t.TempDir()
	m := &mount{
		t: t, dir: mkdir(t, filepath.Join(base, "mnt")), cache: filepath.Join(base, "cache"),
		source: s.source, env: s.env,
		options: append([]string{"settle=300ms", "sync_period=1s", "list_ttl=500ms", "stop_timeout=1s"}, options...),
	}
	t.Cleanup(m.cleanup)
	return m
}

func (m *mount) start() {
	m.t.Helper()
	if r := m.tryStart(); r.code != 0 {
		m.t.Fatalf("mount: exit code %d\n%s", r.code, r.output)
	}
}

func (m *mount) tryStart() result {
	m.t.Helper()
	options := strings.Join(append(slices.Clone(m.options), "cache_dir="+m.cache), ",")
	return run(m.t, m.env, cmp.Or(m.program, trainfs), "mount", "-o", options, m.source, m.dir)
}

// cleanup unmounts whatever is there, and reads the daemon's log.
func (m *mount) cleanup() {
	for range 10 {
		if !isMounted(m.dir) {
			break
		}
		if r := run(m.t, m.env, trainfs, "umount", "--no-wait", m.dir); r.code != 0 {
			m.t.Errorf("clean up: %s", r.output)
			_ = unix.Unmount(m.dir, unix.MNT_DETACH)
		}
	}
	if pid := daemonOf(m.t, m.dir); pid != 0 && m.t.Failed() {
		_ = unix.Kill(pid, unix.SIGKILL) // it would go on without its cache directory
	}
	log := m.log()
	if strings.Contains(log, "DATA RACE") || strings.Contains(log, "panic:") {
		m.t.Errorf("the daemon's log:\n%s", log)
	} else if m.t.Failed() && log != "" {
		m.t.Logf("the end of the log of %s:\n%s", m.dir, lastLines(log, 60))
	}
}

func (m *mount) log() string {
	b, _ := os.ReadFile(filepath.Join(m.cache, "trainfs.log"))
	return string(b)
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (m *mount) path(elem ...string) string {
	return filepath.Join(append([]string{m.dir}, elem...)...)
}

// dump kills the daemon in a way in which it says what it was at, for a test that has failed and
// does not tell why.
func (m *mount) dump() {
	m.t.Helper()
	m.t.Logf("%s", run(m.t, m.env, trainfs, "status", m.dir).output)
	pid, before := daemonOf(m.t, m.dir), len(m.log())
	if pid == 0 {
		return
	}
	d := process(m.t, pid)
	d.signal(unix.SIGQUIT)
	d.wait()
	m.t.Logf("the log of %s:\n%s\nits goroutines:\n%s", m.dir, lastLines(m.log()[:before], 400), m.log()[before:])
}

// umount drains and unmounts. A process that another test starts at this moment has our open files
// until its exec: one that is busy with them is waited for.
func (m *mount) umount() {
	m.t.Helper()
	var r result
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		r = run(m.t, m.env, trainfs, "umount", "--timeout", patience.String(), m.dir)
		if r.code == 0 || !strings.Contains(r.output, "is busy") || time.Now().After(end) {
			break
		}
	}
	if r.code != 0 {
		m.t.Fatalf("umount: exit code %d\n%s", r.code, r.output)
	}
}

// kill ends the daemon as a crash would, and returns once it is gone.
func (m *mount) kill() {
	m.t.Helper()
	d := m.daemon()
	d.signal(unix.SIGKILL)
	d.wait()
}

// wait returns once everything is committed.
func (m *mount) wait(paths ...string) {
	m.t.Helper()
	args := []string{"wait", "-q", "--timeout", patience.String()}
	if len(paths) == 0 {
		paths = []string{""}
	}
	for _, p := range paths {
		args = append(args, m.path(p))
	}
	if r := run(m.t, m.env, trainfs, args...); r.code != 0 {
		m.t.Fatalf("wait: exit code %d\n%s\n%s", r.code, r.output, run(m.t, m.env, trainfs, "status", m.dir).output)
	}
}

// commit says that paths are finished, and waits for them.
func (m *mount) commit(paths ...string) {
	m.t.Helper()
	args := []string{"commit", "-q", "--wait", "--timeout", patience.String()}
	for _, p := range paths {
		args = append(args, m.path(p))
	}
	if r := run(m.t, m.env, trainfs, args...); r.code != 0 {
		m.t.Fatalf("commit: exit code %d\n%s", r.code, r.output)
	}
}

// unitStatus is a unit that is not committed.
type unitStatus struct {
	Path      string `json:"path"`
	Kind      string `json:"kind"`
	State     string `json:"state"`
	Reason    string `json:"reason"`
	BytesDone int64  `json:"bytes_done"`
	Writers   int    `json:"writers"`
}

// status is what the tests look at of trainfs status --json.
type status struct {
	PID            int          `json:"pid"`
	CacheDir       string       `json:"cache_dir"`
	Passthrough    bool         `json:"passthrough"`
	StoreReachable bool         `json:"store_reachable"`
	StoreError     string       `json:"store_error"`
	Units          []unitStatus `json:"units"`
	BytesLeft      int64        `json:"bytes_left"`
	BytesUploaded  int64        `json:"bytes_uploaded"`
	BytesFetched   int64        `json:"bytes_fetched"`
	HiddenKeys     int          `json:"hidden_keys"`
	LostFound      int          `json:"lost_and_found"`
}

func (m *mount) status() (st status) {
	m.t.Helper()
	st, ok := m.tryStatus()
	if !ok {
		m.t.Fatalf("%s has no status", m.dir)
	}
	return st
}

// tryStatus is for a daemon that may have died.
func (m *mount) tryStatus() (st status, ok bool) {
	m.t.Helper()
	r := run(m.t, m.env, trainfs, "status", "--json", m.dir)
	if r.code != 0 {
		m.t.Logf("status: exit code %d\n%s", r.code, r.output)
		return st, false
	}
	if err := json.Unmarshal([]byte(r.output), &st); err != nil {
		m.t.Fatalf("status: %v\n%s", err, r.output)
	}
	return st, true
}

// unit is the state of a unit and why it is in it; "" if it is not pending.
func (m *mount) unit(path string) (state, reason string) {
	m.t.Helper()
	for _, u := range m.status().Units {
		if u.Path == path {
			return u.State, u.Reason
		}
	}
	return "", ""
}

// xattr gives the state that a path says of itself.
func (m *mount) state(path string) string {
	m.t.Helper()
	buf := make([]byte, 100)
	n, err := unix.Lgetxattr(m.path(path), "user.trainfs.state", buf)
	if err != nil {
		m.t.Fatalf("state of %s: %v", path, err)
	}
	return string(buf[:n])
}

// daemon is the process behind a mount.
type daemon struct {
	t       *testing.T
	pid, fd int
}

func (m *mount) daemon() *daemon {
	m.t.Helper()
	return process(m.t, m.status().PID)
}

func process(t *testing.T, pid int) *daemon {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("pidfd_open %d: %v", pid, err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &daemon{t, pid, fd}
}

func (d *daemon) signal(s unix.Signal) {
	d.t.Helper()
	must(d.t, unix.PidfdSendSignal(d.fd, s, nil, 0))
}

func (d *daemon) ended() bool {
	fds := []unix.PollFd{{Fd: int32(d.fd), Events: unix.POLLIN}}
	n, _ := unix.Poll(fds, 0)
	return n > 0
}

func (d *daemon) wait() {
	d.t.Helper()
	eventually(d.t, "the daemon ends", d.ended)
}

// result of a program.
type result struct {
	code   int
	output string // stdout and stderr
	took   time.Duration
}

// run runs a program to its end, with a plain environment and env.
func run(t *testing.T, env []string, program string, args ...string) result {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(plainEnv(), env...)
	return finish(t, cmd)
}

func finish(t *testing.T, cmd *exec.Cmd) (r result) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	start := time.Now()
	err := cmd.Run()
	r = result{output: out.String(), took: time.Since(start)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		r.code = exit.ExitCode()
	} else if err != nil {
		t.Fatalf("%s: %v", cmd, err)
	}
	if strings.Contains(r.output, "DATA RACE") {
		t.Errorf("%s:\n%s", cmd, r.output)
	}
	return r
}

// plainEnv holds no credentials and no home, whoever runs the tests.
func plainEnv() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "TMPDIR=" + os.Getenv("TMPDIR"),
		"AWS_EC2_METADATA_DISABLED=true", "GORACE=atexit_sleep_ms=0",
	}
}

func isMounted(path string) bool {
	infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(path))
	if err != nil {
		panic(fmt.Sprintf("read the mount table: %v", err))
	}
	return len(infos) > 0
}

// runAs runs a program as some other user.
func runAs(t *testing.T, uid uint32, program string, args ...string) result {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = plainEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return finish(t, cmd)
}

// in is the same mount, for a subtest.
func (m *mount) in(t *testing.T) *mount {
	c := *m
	c.t = t
	return &c
}
