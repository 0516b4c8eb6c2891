package cache

import (
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/layout"
)

// P5: a file that is deleted at the moment at which its commit ends gets a tombstone. Asked for
// its record first and then for its unit, it seemed to have neither, and its object stayed.
func TestFileDeletedAsItsCommitEndsMayBeRemote(t *testing.T) {
	const path = "run/notes"
	c := bareCache(t)
	c.mu.units = map[string]*Unit{path: {Path: path, tried: true}}

	c.mu.Lock()
	answer := make(chan bool, 1)
	go func() { answer <- c.mayBeRemote(path) }()
	waitsInside(t, "mayBeRemote")
	if err := c.journal.write(put(tableFile, path, fileRecord{})); err != nil { // as Committed does
		t.Fatal(err)
	}
	delete(c.mu.units, path)
	c.mu.Unlock()
	if !<-answer {
		t.Error("it gets no tombstone")
	}
}

// bareCache is a cache of which there is nothing yet but its journal.
func bareCache(t *testing.T) *Cache {
	t.Helper()
	names, err := layout.New(layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.close() })
	return &Cache{cfg: Config{Layout: names}, journal: j}
}

// waitsInside returns once a goroutine waits for a lock below a function.
func waitsInside(t *testing.T, name string) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, name+"(") && strings.Contains(g, "Mutex") {
				return
			}
		}
	}
	t.Fatalf("nobody waits in %s", name)
}
