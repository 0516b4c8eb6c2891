package integration

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRecoveryMeasured is the time from a start after a kill until programs can work, with
// 100,000 files in the cache that have to go up and 10,000 that are committed. The goal is 5 s; the
// comparison with the store, and the uploads, go on behind.
func TestRecoveryMeasured(t *testing.T) {
	if os.Getenv("TRAINFS_TEST_MEASURE") == "" {
		t.Skip("make recovery runs it")
	}
	const clean, dirty, each, starts = 10_000, 100_000, 1_000, 5
	s := s3Store(t)
	program, err := plainProgram()
	must(t, err)
	m := s.unmounted(t)
	m.program = program
	m.start()
	m.fillWith("clean", clean, each)
	m.wait()
	refused := func(r request) int { // nothing goes up any more
		if changes(r) {
			return http.StatusServiceUnavailable
		}
		return 0
	}
	s.proxy.failIf(refused)
	m.fillWith("dirty", dirty, each)
	var worst, mounted time.Duration
	for i := range starts {
		m.kill()
		start := time.Now()
		m.start()
		took := time.Since(start)
		for _, name := range []string{"clean", "dirty"} {
			path := m.path(name, "7", "77")
			want(t, path, read(t, path), wordsOf(name, 7*each+77))
		}
		write(t, m.path("dirty", "0", fmt.Sprint("new", i)), "content")
		usable := time.Since(start)
		t.Logf("start %d: mount has returned after %.2f s; a file of each kind read and a new one written after %.2f s", i+1, took.Seconds(), usable.Seconds())
		mounted, worst = max(mounted, took), max(worst, usable)
	}
	if !strings.Contains(m.log(), fmt.Sprintf("dirty_files=%d ", dirty)) {
		t.Errorf("not all files were still to go up:\n%s", lastLines(m.log(), 20))
	}
	figure("recovery, %d starts after a kill, %d files to go up and %d committed: mounted after %.2f s at most, a file of each kind read and a new one written after %.2f s at most", starts, dirty, clean, mounted.Seconds(), worst.Seconds())
}

func wordsOf(name string, i int) string { return strings.Repeat(fmt.Sprint(name, i, "\n"), 20) }

// fillWith makes so many files, in directories of so many each.
func (m *mount) fillWith(name string, files, each int) {
	m.t.Helper()
	for i := range files {
		dir := m.path(name, fmt.Sprint(i/each))
		if i%each == 0 {
			mkdir(m.t, dir)
		}
		must(m.t, os.WriteFile(fmt.Sprint(dir, "/", i%each), []byte(wordsOf(name, i)), 0o644))
	}
}
