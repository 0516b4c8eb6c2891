package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Two daemons cannot share a cache directory, whatever they are to mount where.
func TestTwoDaemonsOnOneCacheDirectoryAreRefused(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	m := s.mount(t)
	write(t, m.path("f"), "content")
	other := s.unmounted(t)
	other.cache = m.cache
	if r := other.tryStart(); r.code == 0 || !strings.Contains(r.output, "another trainfs is using") || !strings.Contains(r.output, m.cache) {
		t.Errorf("mount: exit code %d\n%s", r.code, r.output)
	}
	want(t, "it is mounted", isMounted(other.dir), false)
	r := run(t, m.env, trainfs, "flush", "--cache-dir", m.cache)
	if r.code == 0 || !strings.Contains(r.output, m.cache) {
		t.Errorf("flush: exit code %d\n%s", r.code, r.output)
	}
	want(t, "the first one's file", read(t, m.path("f")), "content")
	other.cache += "2" // the cleanup of other reads the log of its own
	m.umount()
	s.wantKeys("f")
}

// A cache directory that was copied makes two nodes of one id. Neither loses what it has saved
// under names of its own, and both say of one name what the store has, the later commit.
func TestCopiedCacheDirectoryLosesNothingThatWasSaved(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t), s.unmounted(t)
		save := func(m *mount, path, content string) {
			t.Helper()
			mkdir(t, filepath.Dir(m.path(path)))
			write(t, m.path(path), content)
		}
		save(a, "run/checkpoint_000001/f", "first")
		save(a, "run/shared.txt", "first")
		a.umount()
		if r := run(t, nil, "cp", "-a", a.cache, b.cache); r.code != 0 {
			t.Fatal(r.output)
		}
		a.start()
		b.start()
		save(a, "run/checkpoint_000002/f", "of a")
		save(a, "run/a.txt", "of a")
		save(b, "run/checkpoint_000003/f", "of b")
		save(b, "run/b.txt", "of b")
		if !strings.Contains(b.log(), "was copied") || strings.Contains(a.log(), "was copied") {
			t.Errorf("the log of the copy:\n%s\nof the other:\n%s", b.log(), a.log())
		}
		save(a, "run/latest", "checkpoint_000002")
		a.wait()
		b.wait()
		for _, m := range []*mount{a, b} {
			for path, content := range map[string]string{
				"run/checkpoint_000001/f": "first", "run/checkpoint_000002/f": "of a", "run/checkpoint_000003/f": "of b",
				"run/a.txt": "of a", "run/b.txt": "of b",
			} {
				eventually(t, path+" shows", func() bool { return exists(m.path(path)) })
				want(t, path, read(t, m.path(path)), content)
			}
		}
		// One checkpoint from both: the files of both are there.
		save(a, "run/checkpoint_000004/a", "of a")
		a.wait()
		save(b, "run/checkpoint_000004/b", "of b")
		b.wait()
		for path, content := range map[string]string{"run/checkpoint_000004/a": "of a", "run/checkpoint_000004/b": "of b"} {
			got, ok := s.get(path)
			if !ok || got != content {
				t.Errorf("%s is %q in the store", path, got)
			}
		}
	})
}

// I6: made a node of its own, as the log says, a copy replaces nothing, though it has not uploaded
// what the other one has, and has gone on writing since.
func TestCopiedCacheDirectoryMadeANodeOfItsOwnOverwritesNothing(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	a, b := s.mount(t), s.unmounted(t)
	mkdir(t, a.path("run/checkpoint_000001"))
	s.proxy.holdIf(uploads)
	for _, path := range []string{"run/a.txt", "run/checkpoint_000001/f"} {
		write(t, a.path(path), "old")
	}
	if r := run(t, a.env, trainfs, "umount", "--no-wait", a.dir); r.code != 0 {
		t.Fatal(r.output)
	}
	s.proxy.release()
	if r := run(t, nil, "cp", "-a", a.cache, b.cache); r.code != 0 {
		t.Fatal(r.output)
	}
	must(t, os.Remove(filepath.Join(b.cache, "node.json")))
	must(t, os.RemoveAll(filepath.Join(b.cache, "journal")))
	a.start()
	a.wait()
	for _, path := range []string{"run/a.txt", "run/checkpoint_000001/f"} {
		write(t, a.path(path), "newer")
	}
	a.wait()
	b.start()
	b.wait()
	for _, path := range []string{"run/a.txt", "run/checkpoint_000001/f"} {
		got, _ := s.get(path)
		want(t, path+" in the store", got, "newer")
		want(t, path+" through the copy", read(t, b.path(path)), "newer")
	}
	want(t, "set aside", b.status().LostFound, 2)
	if !strings.Contains(b.log(), "nothing overwritten") {
		t.Errorf("the log of the copy:\n%s", b.log())
	}

	node := func(m *mount) (n struct{ Node string }) {
		must(t, json.Unmarshal([]byte(read(t, filepath.Join(m.cache, "node.json"))), &n))
		return n
	}
	want(t, "they have one id", node(a) == node(b), false)
}
