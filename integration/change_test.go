package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is deleted and renamed: a file, a directory, a checkpoint; and what lies there.
var things = map[string][]string{
	"file.txt":          {""},
	"dir":               {"/a", "/sub/b"},
	"checkpoint_000001": {"/a", "/sub/b"},
}

// Where they are when that happens. remote: only in the store, as far as the mount knows.
var places = []string{"local", "uploaded", "remote"}

// eachThing runs test with every thing in every place, and the mount that is to change it.
// Each case has a directory of its own.
func eachThing(t *testing.T, test func(t *testing.T, s *store, m *mount, thing string)) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t), s.mount(t)
		for _, where := range places {
			for name := range things {
				t.Run(where+" "+name, func(t *testing.T) {
					thing := filepath.Join(where+" "+strings.TrimSuffix(name, ".txt"), name)
					content(t, a, thing)
					m := a
					if where != "local" {
						a.wait()
					}
					if where == "remote" {
						m = b
						eventually(t, "it shows elsewhere", func() bool { return exists(b.path(thing)) })
					}
					s, m := s.in(t), m.in(t)
					test(t, s, m, thing)
					s.wantNoTraces(thing)
					s.wantNoOpenMarkers()
				})
			}
		}
	})
}

func content(t *testing.T, m *mount, thing string) {
	t.Helper()
	for i, member := range things[filepath.Base(thing)] {
		mkdir(t, filepath.Dir(m.path(thing+member)))
		write(t, m.path(thing+member), noise(2*mib, uint64(i)))
	}
}

func TestDeletionsReachTheStore(t *testing.T) {
	eachThing(t, func(t *testing.T, _ *store, m *mount, thing string) {
		must(t, os.RemoveAll(m.path(thing)))
		want(t, "it is there still", exists(m.path(thing)), false)
		m.wait()
	})
}

func TestRenamesReachTheStore(t *testing.T) {
	eachThing(t, func(t *testing.T, s *store, m *mount, thing string) {
		to := filepath.Join(filepath.Dir(thing), strings.ReplaceAll("new_"+filepath.Base(thing), "new_checkpoint_000001", "checkpoint_000002"))
		must(t, os.Rename(m.path(thing), m.path(to)))
		want(t, "it is there still", exists(m.path(thing)), false)
		m.wait()
		for i, member := range things[filepath.Base(thing)] {
			want(t, "content of "+member, sum(read(t, m.path(to+member))), sum(noise(2*mib, uint64(i))))
			got, _ := s.get(to + member)
			want(t, "object "+member, sum(got), sum(noise(2*mib, uint64(i))))
		}
	})
}

func TestTemporaryNamesAreNeverUploadedUntilRenamed(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t, "settle=1h")
		temporary := []string{"tmp-checkpoint-5/model.pt", "latest.tmp", "7.orbax-checkpoint-tmp-123/data"}
		for _, name := range temporary {
			mkdir(t, filepath.Dir(m.path(name)))
			write(t, m.path(name), name)
		}
		write(t, m.path("other.txt"), "")
		m.wait()
		s.wantKeys("other.txt")
		want(t, "state", m.state("latest.tmp"), "local")
		// Renamed into its final name it is finished: nobody waits for settle.
		must(t, os.Rename(m.path("tmp-checkpoint-5"), m.path("checkpoint-5")))
		m.wait()
		s.wantKeys("checkpoint-5/model.pt", "other.txt")
	})
}

func TestWhatIsExcludedIsNeverUploaded(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t, "exclude=*.secret,exclude=runs/*/scratch,not_checkpoint=step-*")
		for _, name := range []string{
			"a.secret", "runs/1/scratch/checkpoint_000001/model.pt", "checkpoint_000001/key.secret",
			"tmp-test/notes.txt", "checkpoint_000001/model.pt", "step-1/table.csv",
		} {
			mkdir(t, filepath.Dir(m.path(name)))
			write(t, m.path(name), name)
		}
		m.wait()
		s.wantKeys("checkpoint_000001/model.pt", "step-1/table.csv", "tmp-test/notes.txt")
		want(t, "state", m.state("a.secret"), "local")
		want(t, "state", m.state("step-1/table.csv"), "committed")
		// Under a name that is not excluded it goes up.
		must(t, os.Rename(m.path("a.secret"), m.path("a.txt")))
		m.wait()
		s.wantKeys("a.txt", "checkpoint_000001/model.pt", "step-1/table.csv", "tmp-test/notes.txt")
	})
}

func TestWhatIsWrittenAgainReplacesWhatWasThere(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t)
		for round := range 3 {
			for _, name := range []string{"file.txt", "checkpoint_000001/model.pt"} {
				mkdir(t, filepath.Dir(m.path(name)))
				write(t, m.path(name), noise(2*mib+round, uint64(round)))
			}
			m.wait()
			s.wantSame(m.dir, "")
		}
		// A member less.
		write(t, m.path("checkpoint_000001/more.pt"), "more")
		m.wait()
		must(t, os.Remove(m.path("checkpoint_000001/model.pt")))
		m.wait()
		s.wantKeys("checkpoint_000001/more.pt", "file.txt")
	})
}

func TestRemoteOnlyFilesCanBeWrittenTo(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		s.put("log.txt", "from elsewhere\n")
		m := s.mount(t)
		f, err := os.OpenFile(m.path("log.txt"), os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString("and here\n")
		must(t, err)
		must(t, f.Close())
		m.wait()
		got, _ := s.get("log.txt")
		want(t, "object", got, "from elsewhere\nand here\n")
	})
}

func TestOwnPrefixDoesNotShow(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t)
		write(t, filepath.Join(mkdir(t, m.path("checkpoint_000001")), "f"), "")
		m.wait()
		want(t, "names", strings.Join(names(t, m.dir), " "), "checkpoint_000001")
		want(t, "it can be looked up", exists(m.path(".trainfs")), false)
	})
}
