package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A checkpoint of some large files and a small one.
const bigFiles = 8

// bigBytes is the size of a large one: TRAINFS_TEST_SHARD_MIB, which make acceptance sets
// to 64.
var bigBytes = func() int {
	if n, err := strconv.Atoi(os.Getenv("TRAINFS_TEST_SHARD_MIB")); err == nil {
		return n * mib
	}
	return 16 * mib
}()

const bigDir = "exp/trial/checkpoint_000007"

func bigName(i int) string { return fmt.Sprintf("shard-%d.pt", i) }

// saveBig writes the checkpoint as torch.save and Ray do: 1 MiB at a time, two threads.
func saveBig(t *testing.T, m *mount) {
	t.Helper()
	dir := mkdir(t, m.path(bigDir))
	var threads sync.WaitGroup
	for thread := range 2 {
		threads.Go(func() {
			for i := thread; i < bigFiles; i += 2 {
				content := noise(bigBytes, uint64(i))
				f, err := os.Create(filepath.Join(dir, bigName(i)))
				for at := 0; err == nil && at < bigBytes; at += mib {
					_, err = f.WriteString(content[at : at+mib])
				}
				if err == nil {
					err = f.Close()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	threads.Wait()
	write(t, filepath.Join(dir, "meta.json"), "{}")
}

// watch calls look until stop, at most every period.
func watch(period time.Duration, look func()) (stop func()) {
	quit := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		tick := time.NewTicker(period)
		defer tick.Stop()
		for {
			look()
			select {
			case <-quit:
				return
			case <-tick.C:
			}
		}
	})
	return func() { close(quit); loop.Wait() }
}

func TestNoObjectOfACheckpointShowsBeforeAllItsDataIsUploaded(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t, "settle=1h")
		var first atomic.Bool
		stop := watch(50*time.Millisecond, func() {
			objects, err := s.list(bigDir + "/")
			if err != nil || len(objects) == 0 || first.Swap(true) {
				return
			}
			// Every part of every large file has been answered for by now.
			if got := s.staged(t, bigDir); got < int64(bigFiles*bigBytes) {
				t.Errorf("objects %d of the directory show, and %d of %d bytes are uploaded", len(objects), got, bigFiles*bigBytes)
			}
			for key, obj := range objects {
				if strings.HasSuffix(key, ".pt") && obj.Size != int64(bigBytes) {
					t.Errorf("%s shows with %d bytes", key, obj.Size)
				}
			}
		})
		saveBig(t, m)
		m.commit(bigDir)
		eventually(t, "the watcher sees it", first.Load)
		stop()
		s.wantSame(m.path(bigDir), bigDir+"/")
		s.wantPublishedInOneBurst(bigDir)
		s.wantNoOpenMarkers()
	})
}

// staged is how many bytes below a directory the store holds, visible or not.
func (s *store) staged(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	if s.proxy != nil {
		for _, r := range s.proxy.seen(func(r request) bool { return r.part > 0 && strings.HasPrefix(r.key, dir+"/") }) {
			bytes += r.bytes
		}
		return bytes
	}
	// What is renamed into place meanwhile may be counted twice, and never not at all.
	staged, _ := filepath.Glob(filepath.Join(s.dir, ".trainfs/v1/staging/*"))
	for _, path := range staged {
		if fi, err := os.Stat(path); err == nil {
			bytes += fi.Size()
		}
	}
	shown, _ := filepath.Glob(filepath.Join(s.dir, dir, "*"))
	for _, path := range shown {
		if fi, err := os.Stat(path); err == nil {
			bytes += fi.Size()
		}
	}
	return bytes
}

// wantPublishedInOneBurst looks at what was really sent: once one request has made an
// object of the directory visible, no data is uploaded any more.
func (s *store) wantPublishedInOneBurst(dir string) {
	s.t.Helper()
	if s.proxy == nil {
		return
	}
	var shown string
	for _, r := range s.proxy.seen(func(r request) bool { return strings.HasPrefix(r.key, dir+"/") }) {
		switch {
		case r.shows():
			shown = r.key
		case r.part > 0 && shown != "":
			s.t.Errorf("part %d of %s was sent after %s had been made visible", r.part, r.key, shown)
		}
	}
	if shown == "" {
		s.t.Error("the proxy has seen nothing")
	}
}

func TestAnotherMountNeverSeesAPartOfACheckpoint(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t, "settle=1h"), s.mount(t)
		looks, seen := 0, false
		look := func() {
			looks++
			entries, err := os.ReadDir(b.path(bigDir))
			if err != nil {
				if seen {
					t.Errorf("it was there, and is not any more: %v", err)
				}
				return
			}
			seen = true
			if len(entries) != bigFiles+1 {
				t.Errorf("%d of %d names show", len(entries), bigFiles+1)
			}
			for i := range bigFiles {
				if fi, err := os.Stat(b.path(bigDir, bigName(i))); err != nil || fi.Size() != int64(bigBytes) {
					t.Errorf("%s: %v %v", bigName(i), fi, err)
				}
			}
		}
		stop := watch(5*time.Millisecond, look)
		saveBig(t, a)
		a.commit(bigDir)
		eventually(t, "the other mount shows it", func() bool { return exists(b.path(bigDir, "meta.json")) })
		stop()
		look()
		if !seen || looks < 10 {
			t.Errorf("seen %v in %d looks", seen, looks)
		}
		for i := range bigFiles {
			want(t, bigName(i), sum(read(t, b.path(bigDir, bigName(i)))), sum(noise(bigBytes, uint64(i))))
		}
	})
}

func TestCheckpointIsOneTheOtherMountFindsWhileItIsRewritten(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		const dir = "trial/checkpoint_000001"
		a, b := s.mount(t), s.mount(t)
		save := func(round string) {
			mkdir(t, a.path(dir))
			for _, name := range []string{"model", "optimizer"} {
				write(t, a.path(dir, name), round+" "+name)
			}
			a.commit(dir)
		}
		save("first")
		eventually(t, "it shows", func() bool { return exists(b.path(dir, "model")) })
		// A retried trial takes the same name again: leftovers must not survive into it.
		must(t, os.RemoveAll(a.path(dir)))
		mkdir(t, a.path(dir))
		write(t, a.path(dir, "model"), "second model")
		a.commit(dir)
		want(t, "files in the store", fmt.Sprint(s.keys()), fmt.Sprint([]string{dir + "/model"}))
		eventually(t, "the new one shows, whole", func() bool {
			return fmt.Sprint(names(t, b.path(dir))) == "[model]" && read(t, b.path(dir, "model")) == "second model"
		})
	})
}
