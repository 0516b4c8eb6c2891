package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWithoutTheStoreLocalWorkGoesOn(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	m := s.mount(t, "store_timeout=2s")
	for _, name := range []string{"run/kept", "run/removed", "run/renamed", "run/checkpoint_000001/f"} {
		mkdir(t, filepath.Dir(m.path(name)))
		write(t, m.path(name), "before")
	}
	m.wait()
	s.server.Stop()

	quick(t, "saving a checkpoint", func() {
		write(t, filepath.Join(mkdir(t, m.path("run/checkpoint_000002")), "f"), noise(8*mib, 1))
	})
	quick(t, "writing a new file", func() { write(t, m.path("run/new"), "after") })
	quick(t, "rewriting", func() { write(t, m.path("run/kept"), "after") })
	quick(t, "reading", func() { want(t, "content", read(t, m.path("run/checkpoint_000001/f")), "before") })
	quick(t, "mkdir and rmdir", func() {
		must(t, os.Mkdir(m.path("run/dir"), 0o755))
		must(t, os.Remove(m.path("run/dir")))
	})
	quick(t, "renaming", func() { must(t, os.Rename(m.path("run/renamed"), m.path("run/other"))) })
	quick(t, "removing", func() { must(t, os.Remove(m.path("run/removed"))) })
	quick(t, "listing", func() { want(t, "names", len(names(t, m.path("run"))), 5) })
	quick(t, "removing a checkpoint", func() { must(t, os.RemoveAll(m.path("run/checkpoint_000001"))) })

	eventually(t, "status says so", func() bool {
		st := m.status()
		return !st.StoreReachable && st.StoreError != ""
	})
	r := run(t, m.env, trainfs, "umount", "--timeout", "2s", m.dir)
	if r.code != 3 || !strings.Contains(r.output, "left") || !strings.Contains(r.output, "still mounted") {
		t.Errorf("umount: exit code %d\n%s", r.code, r.output)
	}
	want(t, "it is mounted", isMounted(m.dir), true)

	s.server.Restart()
	m.wait()
	eventually(t, "status says that the store answers", func() bool { return m.status().StoreReachable })
	s.wantKeys("run/kept", "run/new", "run/other", "run/checkpoint_000002/f")
	s.wantSame(m.dir, "")
	s.wantNoOpenMarkers()
}

func TestWithAStoreThatHangsWritingGoesOn(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	m := s.mount(t, "store_timeout=1s")
	mkdir(t, m.path("checkpoint_000001"))
	s.proxy.holdIf(func(request) bool { return true })
	quick(t, "saving", func() {
		for _, name := range []string{"a", "b", "c", "d"} {
			write(t, m.path("checkpoint_000001", name), name)
		}
	})
	s.proxy.release()
	m.wait()
	s.wantSame(m.dir, "")
}

func TestUnmountedWithoutWaitingTheRestGoesUpAtTheNextMount(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	m := s.mount(t)
	s.server.Stop()
	write(t, filepath.Join(mkdir(t, m.path("checkpoint_000001")), "f"), "content")
	r := run(t, m.env, trainfs, "umount", "--no-wait", m.dir)
	if r.code != 0 || !strings.Contains(r.output, m.cache) {
		t.Errorf("umount: exit code %d\n%s", r.code, r.output)
	}
	s.server.Restart()
	m.start()
	m.wait()
	s.wantKeys("checkpoint_000001/f")
}

// P7: a node that starts while the store answers that it cannot serve has work, as one that starts
// while it does not answer.
func TestMountWhereTheStoreIsNotWellGoesOnWithWhatItHas(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	m := s.mount(t, "store_timeout=2s")
	mkdir(t, m.path("run"))
	m.wait()
	m.kill()
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusInternalServerError, http.StatusTooManyRequests} {
		s.proxy.failIf(func(request) int { return status })
		m.start()
		write(t, m.path("run", fmt.Sprint(status)), "content")
		m.kill()
	}
	s.proxy.failIf(nil)
	m.start()
	m.wait()
	s.wantSame(m.path("run"), "run/")
}
