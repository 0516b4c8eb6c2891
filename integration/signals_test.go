package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// foreground runs a mount as a child of the test, so that its exit code can be seen.
func foreground(t *testing.T, m *mount) (cmd *exec.Cmd, output *bytes.Buffer) {
	t.Helper()
	cmd = exec.Command(trainfs, "mount", "-f", "-o", strings.Join(append(m.options, "cache_dir="+m.cache), ","), m.source, m.dir)
	cmd.Env = append(plainEnv(), m.env...)
	output = &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = output, output
	must(t, cmd.Start())
	eventually(t, "it is mounted", func() bool { return isMounted(m.dir) })
	return cmd, output
}

func TestSigtermUploadsUnmountsAndExitsZero(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.unmounted(t, "stop_timeout="+patience.String())
		cmd, output := foreground(t, m)
		write(t, filepath.Join(mkdir(t, m.path("checkpoint_000001")), "model.pt"), noise(8*mib, 1))
		write(t, m.path("a.txt"), "content")
		must(t, cmd.Process.Signal(unix.SIGTERM))
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
		if strings.Contains(output.String(), "DATA RACE") {
			t.Error(output)
		}
		want(t, "mounted", isMounted(m.dir), false)
		s.wantKeys("a.txt", "checkpoint_000001/model.pt")
		s.wantSame(filepath.Join(m.cache, "tree"), "")
	})
}

func TestSigtermGivesUpAfterStopTimeoutAndTheNextMountGoesOn(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	m := s.unmounted(t, "stop_timeout=1s")
	cmd, output := foreground(t, m)
	s.proxy.holdIf(func(r request) bool { return r.part > 0 })
	write(t, filepath.Join(mkdir(t, m.path("checkpoint_000001")), "model.pt"), noise(8*mib, 1))
	must(t, cmd.Process.Signal(unix.SIGTERM))
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	s.proxy.release()
	m.start()
	m.wait()
	s.wantKeys("checkpoint_000001/model.pt")
}

// A machine goes down, and the network before us: the daemon ends in its time all the same, says
// what it leaves, and the next mount goes on with it.
func TestToldToStopWithTheNetworkGoneItEndsAndLosesNothing(t *testing.T) {
	t.Parallel()
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			s := s3Store(t)
			s.put("run/remote", "content")
			m := s.unmounted(t, "stop_timeout=2s", "store_timeout=10m")
			cmd, output := foreground(t, m)
			s.proxy.holdIf(uploads)
			write(t, filepath.Join(mkdir(t, m.path("run/checkpoint_000001")), "model.pt"), noise(8*mib, 1))
			write(t, m.path("run/latest"), "checkpoint_000001")
			write(t, m.path("run/log.txt"), "line\n")
			s.proxy.holdIf(func(request) bool { return true })
			reader := exec.Command("cat", m.path("run/remote"))
			must(t, reader.Start())
			eventually(t, "a program waits for the store", func() bool { return waitsForUs(reader.Process.Pid) })

			must(t, cmd.Process.Signal(signal))
			if err := cmd.Wait(); err != nil { // the test's own timeout bounds it
				t.Errorf("%v\n%s", err, output)
			}
			if text := output.String(); !strings.Contains(text, "go on at the next mount") || !strings.Contains(text, "units=") {
				t.Errorf("it does not say what it leaves:\n%s", text)
			}
			_ = reader.Wait() // not in D state for ever
			want(t, "mounted", isMounted(m.dir), false)
			s.proxy.release()
			m.start()
			m.wait()
			s.wantKeys("run/checkpoint_000001/model.pt", "run/latest", "run/log.txt", "run/remote")
			s.wantSame(m.dir, "")
		})
	}
}

// A daemon that logs to a terminal has no log to open anew, and a hangup is not its end.
func TestSighupDoesNotEndADaemonInTheForeground(t *testing.T) {
	t.Parallel()
	m := fileStore(t).unmounted(t)
	cmd, output := foreground(t, m)
	must(t, cmd.Process.Signal(unix.SIGHUP))
	write(t, m.path("f"), "content")
	m.wait()
	must(t, cmd.Process.Signal(unix.SIGINT))
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

func TestSighupOpensTheLogAnew(t *testing.T) {
	t.Parallel()
	m := fileStore(t).mount(t)
	log := filepath.Join(m.cache, "trainfs.log")
	must(t, os.Rename(log, log+".1"))
	m.daemon().signal(unix.SIGHUP)
	eventually(t, "there is a new log", func() bool { return exists(log) })
	write(t, filepath.Join(mkdir(t, m.path("checkpoint_000001")), "f"), "")
	m.wait()
	if text := read(t, log); !strings.Contains(text, "checkpoint_000001") {
		t.Errorf("the new log has only:\n%s", text)
	}
	must(t, os.Remove(log+".1"))
}

func TestUmountOfABusyMountSaysWhoHoldsIt(t *testing.T) {
	t.Parallel()
	m := fileStore(t).mount(t)
	write(t, m.path("f"), "content")
	f, err := os.Open(m.path("f"))
	must(t, err)
	r := run(t, m.env, trainfs, "umount", m.dir)
	if r.code == 0 || !strings.Contains(r.output, "integration.test") && !strings.Contains(r.output, "exe") {
		t.Errorf("exit code %d\n%s", r.code, r.output)
	}
	want(t, "it is mounted", isMounted(m.dir), true)
	must(t, f.Close())
	m.umount()
}

// A container that is started while the mount is there takes a copy of it along, and with
// it keeps the file system from ending.
func TestUmountEndsTheDaemonThoughAnotherNamespaceKeepsTheMount(t *testing.T) {
	t.Parallel()
	m := fileStore(t).mount(t)
	write(t, m.path("f"), "content")
	other := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 300")
	ready, err := other.StdoutPipe()
	must(t, err)
	must(t, other.Start())
	t.Cleanup(func() { other.Process.Kill(); _ = other.Wait() })
	_, err = ready.Read(make([]byte, 5))
	must(t, err)

	d := m.daemon()
	r := run(t, m.env, trainfs, "umount", "--timeout", patience.String(), m.dir)
	if r.code != 0 {
		t.Errorf("exit code %d after %s\n%s", r.code, r.took, r.output)
	}
	want(t, "the daemon has ended", d.ended(), true)
}
