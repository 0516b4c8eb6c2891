package uploader

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// Restore, and what goes wrong with it. What a program reads is right, or an error.

func openStream(t *testing.T, n *node, path string) *cache.Handle {
	t.Helper()
	h, err := n.Open(ctx, path, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Streaming() {
		t.Fatal("it is all here already")
	}
	return h
}

// readWithin reads 4 KiB, and fails if they are wrong or do not come in time.
func readWithin(t *testing.T, h *cache.Handle, off int, want string) {
	t.Helper()
	c, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	p := make([]byte, 4096)
	if n, err := h.ReadAt(c, p, int64(off)); err != nil || string(p[:n]) != want[off:off+4096] {
		t.Fatalf("read at %d MiB: %d bytes, %v, or wrong ones", off>>20, n, err)
	}
}

func TestRandomReadDoesNotWaitForSlowRequests(t *testing.T) {
	s := newHooked()
	want := big(5, 100<<20)
	s.fill(t, "f", want)
	free := make(chan struct{})
	defer close(free)
	s.body = func(n int, o backend.GetOptions, r io.ReadCloser) io.ReadCloser {
		if n <= 4 { // those of the download that runs ahead: a block each, then nothing
			return &stops{r, 1 << 20, free}
		}
		return r
	}
	n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = time.Hour })
	h := openStream(t, n, "f")
	defer n.shut(h)
	eventually(t, "four requests are under way", func() bool { _, _, gets := s.counts(); return gets >= 4 })
	readWithin(t, h, 95<<20, want) // nobody fetches it
	readWithin(t, h, 12<<20, want) // the first request would bring it, in its time
	readWithin(t, h, 60<<20, want) // the last one would
}

// A download that fails leaves nothing behind that later opens trip over.
func TestFailedDownloadIsGoneOnWithFromWhereItBroke(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	want := big(6, 40<<20)
	put(t, s, "f", want)
	n := startNode(t, s, func(c *cache.Config) { c.Prefetch = cache.PrefetchOff })
	h := openStream(t, n, "f")
	defer n.shut(h)
	readWithin(t, h, 20<<20, want)
	s.FailAlways("get", errors.New("connection refused"))
	if _, err := h.ReadAt(ctx, make([]byte, 1), 30<<20); err == nil {
		t.Fatal("read without a store")
	}
	s.Clear()
	before := s.Calls("get")
	again := openStream(t, n, "f") // while the first one is still open
	defer n.shut(again)
	if !sameFile(t, h, again) {
		t.Error("the same object has another file below: the kernel would refuse it")
	}
	readWithin(t, again, 20<<20, want)
	if got := s.Calls("get"); got != before {
		t.Errorf("%d requests for what is here", got-before)
	}
	readWithin(t, again, 30<<20, want)
}

func sameFile(t *testing.T, a, b *cache.Handle) bool {
	t.Helper()
	x, err := a.File().Stat()
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.File().Stat()
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(x, y)
}

func put(t *testing.T, s backend.Store, key, content string) {
	t.Helper()
	(&hooked{Store: s}).fill(t, key, content)
}

// Never mixed bytes: whoever has the old object open gets an error, whoever opens it then
// gets the new one, under another identity, as the kernel may hold the old one.
func TestObjectReplacedInTheMiddleOfADownload(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	old, new := big(1, 40<<20), big(2, 40<<20)
	put(t, s, "f", old)
	n := startNode(t, s, func(c *cache.Config) { c.Prefetch = cache.PrefetchOff })
	first, err := n.Lookup(ctx, "f")
	if err != nil {
		t.Fatal(err)
	}
	h := openStream(t, n, "f")
	defer n.shut(h)
	readWithin(t, h, 1<<20, old)
	put(t, s, "f", new)
	p := make([]byte, 4096)
	if _, err := h.ReadAt(ctx, p, 30<<20); !errors.Is(err, backend.ErrChanged) {
		t.Errorf("read of the rest: %v, want ErrChanged", err)
	}
	then, err := n.Lookup(ctx, "f")
	if err != nil || then.Ident == first.Ident {
		t.Errorf("the new object has the identity of the old one; %v", err)
	}
	again := openStream(t, n, "f")
	defer n.shut(again)
	for _, off := range []int{30 << 20, 1 << 20} {
		readWithin(t, again, off, new)
	}
	readWithin(t, h, 1<<20, old) // what it has read it still has
}

// A download that has failed keeps its blocks for the next one of the same object, and no
// other's: whoever still has it open goes on reading them.
func TestBlocksOfAFailedDownloadAreNotOverwrittenByAnotherObjects(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	old, new := big(1, 40<<20), big(2, 40<<20)
	put(t, s, "f", old)
	n := startNode(t, s, func(c *cache.Config) { c.Prefetch = cache.PrefetchOff })
	h := openStream(t, n, "f")
	defer n.shut(h)
	readWithin(t, h, 1<<20, old)
	s.Fail(backend.OpGet, 1, &backend.Error{Op: backend.OpGet, Key: "f", Kind: backend.ErrDenied})
	if _, err := h.ReadAt(ctx, make([]byte, 1), 30<<20); !errors.Is(err, backend.ErrDenied) {
		t.Fatalf("read of the rest: %v, want ErrDenied", err)
	}
	put(t, s, "f", new)
	again := openStream(t, n, "f")
	defer n.shut(again)
	readWithin(t, again, 1<<20, new)
	readWithin(t, h, 1<<20, old)
}

func TestObjectDeletedInTheMiddleOfADownload(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	old := big(1, 40<<20)
	put(t, s, "f", old)
	n := startNode(t, s, func(c *cache.Config) { c.Prefetch = cache.PrefetchOff })
	h := openStream(t, n, "f")
	defer n.shut(h)
	readWithin(t, h, 1<<20, old)
	if err := s.Delete(ctx, "f"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ReadAt(ctx, make([]byte, 1), 30<<20); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("read of the rest: %v, want ErrNotExist", err)
	}
	if !n.missing("f") {
		t.Error("it still shows")
	}
}

// Close-to-open: what is remembered of a name does not make an open fail.
func TestOpenOfAnObjectThatWasReplacedSinceItWasListed(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 8 << 20} {
		s := newFaulty()
		put(t, s, "data/f", big(1, size))
		n := startNode(t, s, patient)
		n.names("data")
		want := big(2, size+1)
		put(t, s, "data/f", want)
		if got := n.read("data/f"); got != want {
			t.Errorf("%d bytes: the old content, or a mixture", size)
		}
	}
}

func TestBodiesThatEndEarlyOrStallAreFetchedAgain(t *testing.T) {
	t.Parallel()
	free := make(chan struct{})
	defer close(free)
	for name, shape := range map[string]func(io.ReadCloser) io.ReadCloser{
		"truncated":    func(r io.ReadCloser) io.ReadCloser { return &endsEarly{r, 1<<20 + 7, false} },
		"short":        func(r io.ReadCloser) io.ReadCloser { return &endsEarly{r, 1<<20 + 7, true} },
		"empty":        func(r io.ReadCloser) io.ReadCloser { return &endsEarly{r, 0, true} },
		"stalled":      func(r io.ReadCloser) io.ReadCloser { return &stops{r, 1<<20 + 7, free} },
		"never begins": func(r io.ReadCloser) io.ReadCloser { return &stops{r, 0, free} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newHooked()
			want := big(3, 20<<20)
			s.fill(t, "f", want)
			s.body = func(n int, _ backend.GetOptions, r io.ReadCloser) io.ReadCloser {
				if n%3 == 1 {
					return shape(r)
				}
				return r
			}
			n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = 300 * time.Millisecond })
			if n.read("f") != want {
				t.Error("content differs")
			}
			eventually(t, "it is in the tree", func() bool { st, _ := n.State(ctx, "f"); return st == cache.StateCommitted })
		})
	}
}

// A store that is slow is not one that has stalled.
func TestSlowBodyIsNotGivenUp(t *testing.T) {
	s := newHooked()
	want := big(4, 5<<20)
	s.fill(t, "f", want)
	s.body = func(_ int, _ backend.GetOptions, r io.ReadCloser) io.ReadCloser {
		return &trickles{r, 32 << 10, 20 * time.Millisecond}
	}
	n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = 400 * time.Millisecond })
	if n.read("f") != want {
		t.Error("content differs")
	}
	if _, _, gets := s.counts(); gets > 6 {
		t.Errorf("%d requests for 5 blocks", gets)
	}
}

func TestThrottlingOnlySlowsDown(t *testing.T) {
	s := newFaulty()
	want := big(4, 40<<20)
	put(t, s, "f", want)
	n := startNode(t, s)
	for i := range 12 {
		s.Fail("get", 1+2*i, errors.New("503 SlowDown"))
	}
	if n.read("f") != want {
		t.Error("content differs")
	}
}

// What a HEAD has said is not asked for again, nor is a listing that cannot say more.
func TestFileOfAnotherToolCostsOneHead(t *testing.T) {
	s := newHooked()
	s.plain = true
	s.fill(t, "data/f", big(1, 6<<20))
	s.fill(t, "data/g", "small")
	n := startNode(t, s, patient)
	n.names("data")
	before, _, _ := s.counts()
	for i, p := range []string{"data/f", "data/g"} {
		if _, err := n.Lookup(ctx, p); err != nil {
			t.Fatal(err)
		}
		n.read(p)
		eventually(t, "it is in the tree", func() bool { st, _ := n.State(ctx, p); return st == cache.StateCommitted })
		if heads, _, _ := s.counts(); heads-before != i+1 {
			t.Errorf("%s: %d HEAD requests so far, want %d", p, heads-before, i+1)
		}
	}
}
