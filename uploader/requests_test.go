package uploader

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// The requests that a program's call costs, as README promises them.

type counter struct {
	t     *testing.T
	calls func(string) int
	last  int
}

func (c *counter) total() (n int) {
	for _, op := range []string{backend.OpHead, backend.OpList, backend.OpGet} {
		n += c.calls(op)
	}
	return n
}

func (c *counter) atMost(most int, what string) {
	c.t.Helper()
	now := c.total()
	if now-c.last > most {
		c.t.Errorf("%s: %d requests, at most %d", what, now-c.last, most)
	}
	c.last = now
}

func patient(c *cache.Config) { c.ListTTL = time.Hour }

func TestRequestsOfNames(t *testing.T) {
	s := newFaulty()
	a := startNode(t, s)
	a.mkdir("run")
	for i := range 3 {
		a.write(fmt.Sprintf("run/f%d", i), "x")
	}
	a.mkdir("run/checkpoint_000000")
	const files = 9
	for i := range files {
		a.write(fmt.Sprintf("run/checkpoint_000000/f%d", i), "x")
	}
	a.wait()
	count := &counter{t: t, calls: s.Calls}
	count.atMost(1<<30, "so far")
	for range 10 {
		a.Lookup(ctx, "run/f0")
		a.Stat(ctx, "run/f0")
	}
	count.atMost(0, "stat of a local file")
	b := startNode(t, s, patient)
	b.Lookup(ctx, "run")
	count.atMost(2, "first stat of a remote directory")
	b.Lookup(ctx, "run/f1")
	count.atMost(2, "first stat of a remote file")
	b.Lookup(ctx, "run/f1")
	count.atMost(0, "second stat of a remote file")
	b.names("run")
	count.atMost(2, "a listing")
	// The directory has been found; now all of it is opened.
	b.Lookup(ctx, "run/checkpoint_000000")
	for i := range files {
		b.read(fmt.Sprintf("run/checkpoint_000000/f%d", i))
	}
	count.atMost(files+3, fmt.Sprintf("opening a checkpoint of %d files", files))
}

// A large directory is listed in pages, and what is known of it is small.
func TestLargeDirectory(t *testing.T) {
	const n = 20_000
	s := newFaulty()
	for i := range n {
		if _, err := s.Put(ctx, fmt.Sprintf("big/file-%06d.txt", i), contentOf(nil), backend.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	b := startNode(t, s, patient)
	b.Lookup(ctx, "big")
	count := &counter{t: t, calls: s.Calls}
	count.atMost(1<<30, "so far")
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	list, err := b.ReadDir(ctx, "big")
	if err != nil || len(list) != n {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	count.atMost(n/1000+2, "a listing")
	list = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	if perName := int64(after.HeapAlloc-before.HeapAlloc) / n; perName > 120 {
		t.Errorf("%d bytes of memory for each name", perName)
	}
	if _, err := b.Lookup(ctx, "big/file-010000.txt"); err != nil {
		t.Error(err)
	}
	count.atMost(1, "attributes of a listed file")
	if strings.Contains(b.names(""), ".trainfs") {
		t.Error(".trainfs shows")
	}
}
