package integration

import (
	"os"
	"testing"
)

// P10: what is written to a file that has no name any more is waited for by nobody.
func TestFileWrittenAfterItsNameIsGoneIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"passthrough=auto", "passthrough=off"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := fileStore(t)
			m := s.mount(t, mode)
			mkdir(t, m.path("run"))
			for _, name := range []string{"new.bin", "committed.bin", "checkpoint_000001"} {
				path := m.path("run", name)
				write(t, path, "content")
				if name == "committed.bin" {
					m.wait()
				}
				f, err := os.OpenFile(path, os.O_RDWR, 0)
				must(t, err)
				must(t, os.Remove(path))
				_, err = f.WriteAt([]byte("still here"), 3)
				must(t, err)
				must(t, f.Close())
				m.wait()
			}
			s.wantKeys()
		})
	}
}

// P6: nor does its close count as the close of the file that has the name now.
func TestCloseOfAReplacedFileIsNotThatOfItsSuccessor(t *testing.T) {
	t.Parallel()
	for how, replace := range map[string]func(t *testing.T, path string){
		"unlink": func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"rename": func(t *testing.T, path string) {
			write(t, path+".tmp", "")
			must(t, os.Rename(path+".tmp", path))
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			s := fileStore(t)
			m := s.mount(t, "sync_period=1h")
			path := m.path("run.bin")
			old, err := os.Create(path)
			must(t, err)
			replace(t, path)
			successor, err := os.Create(path)
			must(t, err)
			_, err = successor.WriteString("half")
			must(t, err)
			must(t, old.Close())
			// Something that is finished later, and goes by the same clock.
			write(t, m.path("other.bin"), "x")
			m.wait("other.bin")
			_, there := s.get("run.bin")
			want(t, "half of it went up", there, false)
			_, err = successor.WriteString(" and half")
			must(t, err)
			must(t, successor.Close())
			m.wait()
			content, _ := s.get("run.bin")
			want(t, "content", content, "half and half")
		})
	}
}

// P7: a name is not taken for open for ever because a file had it that was renamed while it
// was open: it could never be evicted.
func TestNameOfAFileThatWasRenamedWhileOpenCanBeEvicted(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	m := s.mount(t)
	f, err := os.Create(m.path("a.bin"))
	must(t, err)
	must(t, os.Rename(m.path("a.bin"), m.path("b.bin")))
	must(t, f.Close())
	write(t, m.path("a.bin"), "content")
	m.wait()
	eventually(t, "both are evicted", func() bool {
		return run(t, m.env, trainfs, "evict", m.path("a.bin"), m.path("b.bin")).code == 0
	})
	want(t, "content", read(t, m.path("a.bin")), "content")
}
