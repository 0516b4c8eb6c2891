package integration

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// P7: a request that waits for the store can be interrupted: nobody is left in D state.
func TestReaderOnAStoreThatHangsCanBeKilled(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	s.put("run/big", noise(4*mib, 1))
	m := s.mount(t, "store_timeout=10m")
	stat(t, m.path("run/big"))
	s.proxy.holdIf(func(r request) bool { return r.key == "run/big" && r.method == http.MethodGet })
	reader := exec.Command("cat", m.path("run/big"))
	must(t, reader.Start())
	eventually(t, "it waits for the store", func() bool { return s.proxy.holding() > 0 })
	must(t, reader.Process.Kill())
	ended := make(chan struct{})
	go func() { _ = reader.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Error("the reader cannot be killed")
	}
	s.proxy.release()
	<-ended
	quick(t, "reading once the store answers", func() { want(t, "bytes", len(read(t, m.path("run/big"))), 4*mib) })
}

// What was closed before somebody took the mount away behind the daemon's back is not lost.
func TestLazyUnmountEndsTheDaemonAndLosesNothing(t *testing.T) {
	t.Parallel()
	for name, command := range map[string][]string{"umount -l": {"umount", "-l"}, "fusermount3 -uz": {"fusermount3", "-u", "-z"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fileStore(t)
			m := s.mount(t)
			d := m.daemon()
			write(t, filepath.Join(mkdir(t, m.path("checkpoint_000001")), "f"), "content")
			if r := run(t, m.env, command[0], append(command[1:], m.dir)...); r.code != 0 {
				t.Fatalf("exit code %d\n%s", r.code, r.output)
			}
			d.wait()
			m.start()
			m.wait()
			s.wantKeys("checkpoint_000001/f")
			s.wantSame(m.dir, "")
		})
	}
}
