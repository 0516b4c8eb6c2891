package uploader

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache"
)

// pair is a store with one large artifact, and a node that has not seen it.
func pair(t *testing.T, size int, change ...func(*cache.Config)) (*node, string, func(op string) int) {
	t.Helper()
	s := newFaulty()
	content := big(7, size)
	b := []byte(content)
	if _, err := s.Put(ctx, "data/file", backend.Content{R: strings.NewReader(content), Size: int64(size), CRC32C: crc32c.Checksum(b)}, backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	return startNode(t, s, change...), content, s.Calls
}

func readAll(t *testing.T, h *cache.Handle, size int) string {
	t.Helper()
	out := make([]byte, size)
	for off := 0; off < size; off += 128 << 10 {
		end := min(off+128<<10, size)
		n, err := h.ReadAt(ctx, out[off:end], int64(off))
		if err != nil || n != end-off {
			t.Fatalf("read at %d: %d, %v", off, n, err)
		}
	}
	return string(out)
}

func (n *node) shut(h *cache.Handle) {
	h.File().Close()
	h.Released()
}

func TestReadersShareOneDownload(t *testing.T) {
	t.Parallel()
	const size = 40<<20 + 333
	n, want, calls := pair(t, size)
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			h, err := n.Open(ctx, "data/file", unix.O_RDONLY)
			if err != nil {
				t.Error(err)
				return
			}
			defer n.shut(h)
			if readAll(t, h, size) != want {
				t.Error("content differs")
			}
		}()
	}
	wg.Wait()
	if got := calls("get"); got > 42 {
		t.Errorf("%d requests for 41 blocks", got)
	}
	eventually(t, "in the tree", func() bool {
		s, err := n.State(ctx, "data/file")
		return err == nil && s == cache.StateCommitted
	})
	before := calls("get")
	if n.read("data/file") != want || calls("get") != before {
		t.Error("a local file was fetched again, or differs")
	}
}

func TestRandomReadDoesNotWaitForTheWholeFile(t *testing.T) {
	n, want, calls := pair(t, 64<<20, func(c *cache.Config) { c.Prefetch = cache.PrefetchOff })
	h, err := n.Open(ctx, "data/file", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer n.shut(h)
	if !h.Streaming() {
		t.Fatal("not streaming")
	}
	for _, off := range []int{50 << 20, 3, 33<<20 + 77} {
		p := make([]byte, 4096)
		if _, err := h.ReadAt(ctx, p, int64(off)); err != nil || string(p) != want[off:off+4096] {
			t.Errorf("at %d: %v", off, err)
		}
	}
	if got := calls("get"); got > 3 {
		t.Errorf("%d requests for 3 reads", got)
	}
	if got := n.up.Status().BytesFetched; got > 8<<20 {
		t.Errorf("fetched %d bytes for three small reads", got)
	}
	if n, err := h.ReadAt(ctx, make([]byte, 10), 64<<20); n != 0 || err != nil {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

func TestFirstByteCostsAtMostThreeRequests(t *testing.T) {
	// A slow machine takes longer than the short list_ttl of these tests.
	n, _, calls := pair(t, 64<<20, func(c *cache.Config) { c.ListTTL = time.Minute })
	total := func() int { return calls("get") + calls("head") + calls("list") }
	if _, err := n.Lookup(ctx, "data/file"); err != nil { // as the kernel does
		t.Fatal(err)
	}
	// The directory is looked up first; it is not counted to the file.
	n.names("")
	before := total()
	h, err := n.Open(ctx, "data/file", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer n.shut(h)
	h.ReadAt(ctx, make([]byte, 1), 0)
	if got := calls("head") + calls("list"); got-before > 2 {
		t.Errorf("%d requests for names", got-before)
	}
}

func TestCorruptContentIsFetchedOnceMoreThenRefused(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	log := &sharedLog{}
	a, b := startNode(t, s), startNode(t, s, func(c *cache.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	a.mkdir("run")
	a.mkdir("run/checkpoint_000000")
	const key, size = "run/checkpoint_000000/f", 6 << 20
	right, other := big(1, size), big(2, size) // the same size, other bytes: the manifest knows better
	a.write(key, right)
	a.wait()
	put(t, s, key, other)
	err := b.Prefetch(ctx, []string{"run/checkpoint_000000"})
	if !errors.Is(err, cache.ErrCorrupt) || !errors.Is(err, syscall.EIO) {
		t.Errorf("prefetch: %v, want ErrCorrupt", err)
	}
	if got := b.up.Status().BytesFetched; got != 2*size {
		t.Errorf("%d bytes fetched, want all of it twice", got)
	}
	for _, told := range []string{
		"key=" + key, fmt.Sprintf("crc32c %08x expected", crc32c.Checksum([]byte(right))), fmt.Sprintf("got %08x", crc32c.Checksum([]byte(other))),
	} {
		if !strings.Contains(log.String(), told) {
			t.Errorf("the log does not tell %q:\n%s", told, log)
		}
	}
	if st, _ := b.State(ctx, "run/checkpoint_000000/f"); st != cache.StateRemote {
		t.Errorf("state %s: it entered the tree", st)
	}
}

func TestBrokenStreamsAreTakenUpAgain(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	for i := range 6 {
		s.Fail("get", 2+2*i, fmt.Errorf("connection reset"))
	}
	want := big(3, 20<<20)
	s.Put(ctx, "f", backend.Content{R: strings.NewReader(want), Size: 20 << 20, CRC32C: crc32c.Checksum([]byte(want))}, backend.PutOptions{})
	n := startNode(t, s)
	h, err := n.Open(ctx, "f", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer n.shut(h)
	if readAll(t, h, 20<<20) != want {
		t.Error("content differs")
	}
}

func TestReaderThatGivesUpStopsTheDownload(t *testing.T) {
	s := newFaulty()
	want := big(3, 64<<20)
	s.Put(ctx, "f", backend.Content{R: strings.NewReader(want), Size: 64 << 20, CRC32C: crc32c.Checksum([]byte(want))}, backend.PutOptions{})
	hold := s.Hold("get", 3)
	n := startNode(t, s, func(c *cache.Config) { c.Prefetch = cache.PrefetchFile })
	h, err := n.Open(ctx, "f", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	<-hold.Reached()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	// It returns, be it because the range happens to be here.
	if _, err := h.ReadAt(gone, make([]byte, 1), 60<<20); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted read: %v", err)
	}
	n.shut(h)
	hold.Release()
	calls := 0
	eventually(t, "no more requests", func() bool {
		now := s.Calls("get")
		same := now == calls
		calls = now
		time.Sleep(20 * time.Millisecond)
		return same
	})
	if n.up.Status().BytesFetched >= 64<<20 {
		t.Error("all of it was downloaded, though nobody wanted it")
	}
	// What is here is kept, across a restart too.
	got := n.up.Status().BytesFetched
	n.restart()
	if n.read("f") != want {
		t.Error("content differs")
	}
	eventually(t, "complete", func() bool { st, _ := n.State(ctx, "f"); return st == cache.StateCommitted })
	if again := n.up.Status().BytesFetched; again+got > 64<<20+4<<20 {
		t.Errorf("%d bytes fetched before, %d after the restart", got, again)
	}
}

func TestOpeningOneFilePrefetchesItsSiblings(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	a.mkdir("run")
	a.mkdir("run/checkpoint_000000")
	for i := range 4 {
		a.write(fmt.Sprintf("run/checkpoint_000000/f%d", i), big(byte(i), 5<<20))
	}
	a.wait()
	b.read("run/checkpoint_000000/f0")
	eventually(t, "siblings are local", func() bool {
		for i := range 4 {
			if st, _ := b.State(ctx, fmt.Sprintf("run/checkpoint_000000/f%d", i)); st != cache.StateCommitted {
				return false
			}
		}
		return true
	})
}
