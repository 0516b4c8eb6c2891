package integration

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// I1.
func TestEverythingUnderTreeIsWholeRealData(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	big := noise(24*mib, 1)
	s.put("data.bin", big)
	m := s.mount(t)
	inTree := filepath.Join(m.cache, "tree", "data.bin")
	want(t, "size", stat(t, m.path("data.bin")).Size, int64(len(big)))
	want(t, "a file that is only remote is in tree/", exists(inTree), false)

	s.proxy.holdIf(func(r request) bool { return r.method == http.MethodGet && r.key == "data.bin" })
	done := make(chan string)
	go func() {
		b, err := os.ReadFile(m.path("data.bin"))
		if err != nil {
			t.Error(err)
		}
		done <- string(b)
	}()
	held := func() bool { return len(names(t, filepath.Join(m.cache, "fetch"))) > 0 }
	eventually(t, "it is being fetched", func() bool { return s.proxy.holding() > 0 || held() })
	want(t, "a file that is being fetched is in tree/", exists(inTree), false)
	s.proxy.release()
	got := <-done
	want(t, "bytes read", len(got), len(big))
	want(t, "content", sum(got), sum(big))
	for i := range got {
		if got[i] != big[i] {
			t.Logf("first differs at %d: %x", i, got[i:i+16])
			break
		}
	}
	eventually(t, "it is in tree/", func() bool { return exists(inTree) })
	want(t, "content in tree/", sum(read(t, inTree)), sum(big))
}

// I2.
func TestLosingTheJournalLosesNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t)
		all := []string{"a.txt", "trial/checkpoint_000001/model.pt", "latest"}
		for _, name := range all {
			mkdir(t, filepath.Dir(m.path(name)))
			write(t, m.path(name), name)
		}
		m.umount()
		must(t, os.RemoveAll(filepath.Join(m.cache, "journal")))
		m.start()
		for _, name := range all {
			want(t, "content", read(t, m.path(name)), name)
		}
		m.wait()
		want(t, "set aside", m.status().LostFound, 0)
		write(t, m.path("a.txt"), "changed")
		m.wait()
		s.wantKeys(all...)
		s.wantSame(m.dir, "")
	})
}

// I2: the tree is the truth, whoever changed it.
func TestWhatChangedInTheTreeWhileNobodyLookedGoesUp(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t)
		write(t, m.path("a.txt"), "before")
		m.umount()
		write(t, filepath.Join(m.cache, "tree", "a.txt"), "behind its back")
		m.start()
		m.wait()
		got, _ := s.get("a.txt")
		want(t, "object", got, "behind its back")
	})
}

// I3.
func TestAMissingLocalFileDeletesNothing(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t)
		all := []string{"a.txt", "trial/checkpoint_000001/model.pt"}
		for _, name := range all {
			mkdir(t, filepath.Dir(m.path(name)))
			write(t, m.path(name), name)
		}
		m.umount()
		for _, name := range []string{"a.txt", "trial"} {
			must(t, os.RemoveAll(filepath.Join(m.cache, "tree", name)))
		}
		m.start()
		for _, name := range all {
			want(t, "content", read(t, m.path(name)), name)
		}
		m.wait()
		s.wantKeys(all...)
	})
}

// I5, as far as there is anything that drops local copies: a newer one in the store.
func TestWhatIsOpenOrDirtyIsNotDroppedForWhatIsNewerElsewhere(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t), s.mount(t)
		write(t, a.path("read.txt"), "old")
		write(t, a.path("written.txt"), "old")
		a.wait()
		eventually(t, "it shows elsewhere", func() bool { return exists(b.path("written.txt")) })
		reader, err := os.Open(b.path("read.txt"))
		must(t, err)
		defer reader.Close()
		writer, err := os.OpenFile(b.path("written.txt"), os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		_, err = writer.WriteString("mine")
		must(t, err)

		write(t, a.path("read.txt"), "newer")
		a.wait()
		eventually(t, "a new open sees the newer", func() bool { return read(t, b.path("read.txt")) == "newer" })
		got, err := io.ReadAll(reader)
		must(t, err)
		want(t, "the old handle", string(got), "old")
		want(t, "what is being written", read(t, b.path("written.txt")), "mine")
		must(t, writer.Close())
		b.wait()
		content, _ := s.get("written.txt")
		want(t, "the last to publish", content, "mine")
	})
}

// I6.
func TestWhatWasNeverSeenIsNotOverwritten(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t)
		all := []string{"a.txt", "trial/checkpoint_000001/model.pt"}
		for _, name := range all {
			mkdir(t, filepath.Dir(m.path(name)))
			write(t, m.path(name), "local")
		}
		m.umount()
		must(t, os.RemoveAll(filepath.Join(m.cache, "journal")))
		for _, name := range all {
			s.put(name, "somebody else's")
		}
		m.start()
		m.wait()
		for _, name := range all {
			got, _ := s.get(name)
			want(t, "object "+name, got, "somebody else's")
		}
		want(t, "status", m.status().LostFound, len(all))
		var kept int
		for path, content := range tree(t, filepath.Join(m.cache, "lost+found")) {
			if content == "local" && strings.Contains(path, "a.txt") || strings.Contains(path, "model.pt") {
				kept++
			}
		}
		want(t, "files kept under lost+found", kept, len(all))
		eventually(t, "the mount shows the other one", func() bool { return read(t, m.path("a.txt")) == "somebody else's" })
		if log := m.log(); !strings.Contains(log, "set aside") {
			t.Error("the log does not tell")
		}
	})
}
