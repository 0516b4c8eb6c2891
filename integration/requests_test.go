package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What a program's call costs in requests to the store, counted behind the whole daemon and
// the kernel. docs/guarantees.md and README.md promise these numbers.

// cost is how many requests f makes, those for content not counted.
func (s *store) cost(f func()) (names int) {
	s.t.Helper()
	// Manifests count as names; the content of files does not.
	named := func(r request) bool { return r.method != "GET" || !isContent(r) }
	before := s.proxy.countIf(named)
	f()
	names = s.proxy.countIf(named) - before
	asked := make(map[string]int)
	for _, r := range s.proxy.requests(named)[before:] {
		asked[r.method+" "+r.key]++
	}
	s.t.Log(asked) // shown when there were too many
	return names
}

func isContent(r request) bool {
	return r.method == "GET" && r.key != "" && !strings.HasPrefix(r.key, ".trainfs/")
}

func atMost(t *testing.T, what string, got, most int) {
	t.Helper()
	if got > most {
		t.Errorf("%s: %d requests, want at most %d", what, got, most)
	} else {
		t.Logf("%s: %d requests, at most %d", what, got, most)
	}
}

func TestRequestsThatAProgramsCallsCost(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	const files, listed = 9, 2500
	a := s.mount(t, "settle=60s")
	mkdir(t, a.path("run/checkpoint_000001"))
	for i := range files {
		write(t, a.path(fmt.Sprintf("run/checkpoint_000001/rank_%d.pt", i)), noise(10_000+i, uint64(i)))
	}
	for _, name := range []string{"one.txt", "two.txt"} {
		write(t, a.path("run", name), name)
	}
	a.commit("run", "run/checkpoint_000001")
	a.umount()
	for i := range listed {
		s.put(fmt.Sprintf("many/file-%05d", i), "")
	}
	large := 24 * mib
	if full() {
		large = 1 << 30
	}
	s.put("data/large.bin", noise(large, 3))

	b := s.mount(t, "list_ttl=1h", "attr_timeout=1h")
	look := func(path string) func() { return func() { stat(t, b.path(path)) } }
	atMost(t, "first stat of a directory", s.cost(look("run")), 3) // its own object has the mode
	atMost(t, "first stat of a remote file", s.cost(look("run/one.txt")), 2)
	atMost(t, "another one", s.cost(look("run/two.txt")), 2)
	atMost(t, "second stat of a remote file", s.cost(look("run/one.txt")), 0)
	read(t, b.path("run/one.txt"))
	atMost(t, "stat and open of a local file", s.cost(func() { look("run/one.txt")(); read(t, b.path("run/one.txt")) }), 0)

	dir, err := os.Open(b.path("many"))
	must(t, err)
	defer dir.Close()
	atMost(t, fmt.Sprintf("listing %d names", listed), s.cost(func() {
		list, err := dir.Readdirnames(-1)
		must(t, err)
		want(t, "names listed", len(list), listed)
	}), listed/1000+2)

	atMost(t, fmt.Sprintf("opening a checkpoint of %d files", files), s.cost(func() {
		for i := range files {
			got := read(t, b.path(fmt.Sprintf("run/checkpoint_000001/rank_%d.pt", i)))
			want(t, "content", sum(got), sum(noise(10_000+i, uint64(i))))
		}
	}), files+3)

	stat(t, b.path("data"))
	before := s.proxy.countIf(func(request) bool { return true })
	f, err := os.Open(b.path("data/large.bin"))
	must(t, err)
	defer f.Close()
	_, err = f.Read(make([]byte, 1))
	must(t, err)
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	for i, r := range s.proxy.asked[before:] {
		t.Logf("%d: %s %q from %d", i+1, r.method, r.key, r.from)
		if isContent(r) {
			want(t, "where the first request for content begins", r.from, 0)
			atMost(t, "before the first byte of a large object", i+1, 3)
			return
		}
	}
	t.Error("no request for content")
}
