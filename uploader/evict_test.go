package uploader

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache"
)

func TestCacheStaysWithinItsBounds(t *testing.T) {
	s := newFaulty()
	const limit = 24 << 20
	n := startNode(t, s, func(c *cache.Config) { c.CacheSize = limit })
	n.mkdir("run")
	for i := range 12 {
		dir := fmt.Sprintf("run/checkpoint_%06d", i)
		n.mkdir(dir)
		for j := range 2 {
			n.write(fmt.Sprintf("%s/f%d", dir, j), big(byte(i+j), 4<<20))
		}
		if used := n.CacheReport().Used; used > limit+8<<20 {
			t.Errorf("%d bytes used, the limit is %d", used, limit)
		}
	}
	n.wait()
	eventually(t, "within the limit", func() bool { r := n.CacheReport(); return r.Used+r.Partial <= limit })
	if n.CacheReport().Evicted == 0 {
		t.Error("nothing was evicted")
	}
	for i := range 12 { // old ones come back, byte for byte
		for j := range 2 {
			if n.read(fmt.Sprintf("run/checkpoint_%06d/f%d", i, j)) != big(byte(i+j), 4<<20) {
				t.Errorf("checkpoint %d differs", i)
			}
		}
	}
}

func TestFullCacheWithoutTheStoreGivesENOSPC(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.CacheSize = 8 << 20; c.FullTimeout = 300 * time.Millisecond })
	n.mkdir("run")
	s.Offline(false)
	n.write("run/a", big(1, 9<<20))
	_, _, err := n.Create(ctx, "run/b", unix.O_WRONLY, 0o644, cache.Owner{})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("create: %v, want ENOSPC", err)
	}
	if n.read("run/a") != big(1, 9<<20) {
		t.Error("what was written is damaged")
	}
	s.Online()
	n.wait()
	n.cfg.FullTimeout = 10 * time.Second
	eventually(t, "room again", func() bool {
		h, _, err := n.Create(ctx, "run/b", unix.O_WRONLY, 0o644, cache.Owner{})
		if err != nil {
			return false
		}
		n.closeHandle(h)
		return true
	})
}

// I5: neither what is dirty, nor what is open, nor what is torn.
func TestEvictOnlyWhatIsCommittedAndUnused(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/open", big(1, 1<<20))
	n.write("run/free", big(2, 1<<20))
	n.wait()
	s.Offline(false)
	n.write("run/dirty", big(3, 1<<20))
	h, err := n.Open(ctx, "run/open", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	freed, kept, err := n.Evict(ctx, []string{"run"})
	if err != nil {
		t.Fatal(err)
	}
	if freed == 0 || len(kept) != 2 {
		t.Errorf("freed %d, kept %v", freed, kept)
	}
	for _, p := range []string{"run/open", "run/dirty"} {
		if _, err := os.Stat(filepath.Join(n.cfg.Dir, "tree", p)); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
	n.shut(h)
	if info, err := n.Lookup(ctx, "run/free"); err != nil || info.Size != 1<<20 {
		t.Errorf("out of reach of the store: size %d, %v", info.Size, err)
	}
	s.Online()
	n.wait()
	if st, _ := n.State(ctx, "run/free"); st != cache.StateRemote {
		t.Errorf("state of the evicted: %s", st)
	}
	eventually(t, "the store is asked again", func() bool {
		h, err := n.Open(ctx, "run/free", unix.O_RDONLY)
		if err == nil {
			n.shut(h)
		}
		return err == nil
	})
	if n.read("run/free") != big(2, 1<<20) {
		t.Error("content differs")
	}
}

// Readers never fail for lack of cache.
func TestFileLargerThanTheCacheIsReadThroughAWindow(t *testing.T) {
	t.Parallel()
	n, want, _ := pair(t, 24<<20, func(c *cache.Config) { c.CacheSize = 8 << 20 })
	if n.read("data/file") != want {
		t.Error("content differs")
	}
	if r := n.CacheReport(); r.Used+r.Partial > 8<<20 {
		t.Errorf("%d bytes used", r.Used+r.Partial)
	}
	if st, _ := n.State(ctx, "data/file"); st != cache.StateRemote {
		t.Errorf("state %s", st)
	}
}

func TestAccountingSurvivesARestartAndDeletionsByHand(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/a", big(1, 2<<20))
	n.write("run/b", big(2, 2<<20))
	n.wait()
	before := n.CacheReport().Used
	n.close()
	if err := os.Remove(filepath.Join(n.cfg.Dir, "tree/run/a")); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.wait()
	if got := n.CacheReport().Used; got > before/2+4096 || got == 0 {
		t.Errorf("used %d, before the restart %d", got, before)
	}
	if n.read("run/a") != big(1, 2<<20) {
		t.Error("content differs")
	}
	if got := objects(t, s); !strings.HasSuffix(got, "run/a run/b") { // perhaps run/, if the disk was slow
		t.Errorf("objects: %s", got)
	}
}

// What a file takes on the disk counts, not what it seems to be, and a file with two names
// counts once; after a restart just as before.
func TestAccountingOfSparseAndLinkedFilesSurvivesARestart(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/whole", big(1, 2<<20))
	if _, err := n.Link(ctx, "run/whole", "run/linked"); err != nil {
		t.Fatal(err)
	}
	h := n.open("run/sparse")
	if err := h.File().Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := h.File().WriteAt([]byte(big(2, 1<<20)), 32<<20); err != nil {
		t.Fatal(err)
	}
	n.closeHandle(h)
	n.wait()
	onDisk := func() (sum int64) {
		seen := map[uint64]bool{}
		for _, name := range []string{"whole", "linked", "sparse"} {
			var st syscall.Stat_t
			if err := syscall.Lstat(filepath.Join(n.cfg.Dir, "tree/run", name), &st); err != nil {
				t.Fatal(err)
			}
			if !seen[st.Ino] {
				seen[st.Ino] = true
				sum += st.Blocks * 512
			}
		}
		return sum
	}
	check := func(when string) {
		t.Helper()
		got, want := n.CacheReport().Used, onDisk()
		if diff := got - want; diff < -8192 || diff > 8192 {
			t.Errorf("%s: %d bytes counted, %d on the disk", when, got, want)
		}
	}
	n.restart()
	n.wait()
	check("after a restart")
	n.restart()
	check("after another one")
	if _, kept, err := n.Evict(ctx, []string{""}); err != nil || len(kept) > 0 {
		t.Fatalf("evict: kept %v, %v", kept, err)
	}
	if got := n.CacheReport().Used; got != 0 {
		t.Errorf("%d bytes counted when all is evicted", got)
	}
	if n.read("run/linked") != big(1, 2<<20) {
		t.Error("content differs")
	}
}

// P7: a file that is evicted at the moment at which it is renamed is renamed as one that is only in
// the store.
func TestFileThatIsEvictedWhileItIsRenamedIsThere(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	const files = 200
	for i := range files {
		n.write(fmt.Sprint("run/f", i), fmt.Sprint("content ", i))
	}
	n.wait()
	for i := range files {
		old, new := fmt.Sprint("run/f", i), fmt.Sprint("run/g", i)
		evicted := make(chan error)
		go func() {
			_, _, err := n.Evict(ctx, []string{old})
			evicted <- err
		}()
		time.Sleep(rand.N(200 * time.Microsecond)) // some of them in the middle
		if err := n.Rename(ctx, old, new, 0); err != nil {
			t.Errorf("rename: %v", err)
		}
		if err := <-evicted; err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("evict: %v", err)
		}
	}
	n.wait()
	for i := range files {
		if got, want := n.read(fmt.Sprint("run/g", i)), fmt.Sprint("content ", i); got != want {
			t.Errorf("file %d reads %q", i, got)
		}
	}
}
