package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// waitsForUs tells whether a process waits for the answer to a FUSE request; where the kernel
// does not say what it waits for, whether it waits.
func waitsForUs(pid int) bool {
	where, _ := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid))
	if text := string(where); text != "" && text != "0" {
		return strings.Contains(text, "request_wait") || strings.Contains(text, "fuse")
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "S") || strings.HasPrefix(state, "D")
}

func uploads(r request) bool { return r.method == http.MethodPut || r.method == http.MethodPost }

// P7: whatever call waits for a store that hangs, its program can be killed: nobody is left in
// D state, and the mount goes on once the store does.
func TestEveryCallThatWaitsForTheStoreCanBeKilled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ command, options string }{
		"stat":               {"stat run/unknown", ""},
		"open":               {"exec cat run/small", ""},
		"list":               {"ls run/other", ""},
		"rename":             {"mv run/small run/renamed", ""},
		"open for writing":   {"echo x >> run/small", ""},
		"close of a control": {"echo > .validate_storage_marker", "control_timeout=1h"},
		"close":              {"echo > run/new", "commit=close"},
		"fsync":              {"dd if=/dev/zero of=run/new bs=1k count=1 conv=fsync", "fsync=remote"},
		"create when full":   {"echo > run/new", "cache_size=64M,full_timeout=1h"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := s3Store(t)
			s.put("run/small", "content")
			s.put("run/other/f", "content")
			m := s.mount(t, append([]string{"store_timeout=10m", "list_ttl=0", "create_ttl=0"}, strings.Split(c.options, ",")...)...)
			m.wait()
			s.proxy.holdIf(uploads)
			if strings.Contains(name, "full") {
				write(t, m.path("large"), strings.Repeat(noise(mib, 1), 70))
			}
			s.proxy.holdIf(func(request) bool { return true })
			cmd := exec.Command("sh", "-c", "exec 2>&1; "+c.command)
			cmd.Dir = m.dir
			must(t, cmd.Start())
			eventually(t, "it waits", func() bool { return waitsForUs(child(cmd.Process.Pid)) })
			killAndWait(t, cmd)
			s.proxy.release()
			write(t, m.path("after"), "content")
			m.wait()
			s.wantSame(m.dir, "")
		})
	}
}

// child is the process that a shell has started and waits for, or the shell.
func child(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		return pid
	}
	return pid
}

func killAndWait(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	inner := process(t, child(cmd.Process.Pid))
	inner.signal(9)
	_ = cmd.Process.Kill()
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatalf("it cannot be killed: %s", read(t, fmt.Sprintf("/proc/%d/status", inner.pid)))
	}
	eventually(t, "the program is gone", inner.ended)
}
