package uploader

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/trainfs/trainfs/cache"
)

// What people do under tree/ while nothing is mounted.

// sharedLog is a log that a test reads while others write.
type sharedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *sharedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// What was deleted by hand counts as evicted if the store has it. If not, that is told.
func TestDeletedByHandBeforeItsUploadIsReported(t *testing.T) {
	t.Parallel()
	const told = "deleted from the cache directory before it was uploaded"
	s := newFaulty()
	log := &sharedLog{}
	n := startNode(t, s, func(c *cache.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	n.mkdir("run")
	for _, dir := range []string{"run/checkpoint_000000", "run/checkpoint_000001", "run/checkpoint_000002"} {
		n.mkdir(dir)
	}
	n.write("run/checkpoint_000000/f", "committed")
	n.wait()
	s.Offline(false)
	n.write("run/checkpoint_000001/f", "one")
	n.write("run/checkpoint_000001/g", "two")
	n.write("run/checkpoint_000002/f", "three")
	sealed := func(dir string) func() bool {
		return func() bool { u, ok := n.unit(dir); return ok && u.State != cache.StateDirty }
	}
	eventually(t, "both are sealed", func() bool { return sealed("run/checkpoint_000001")() && sealed("run/checkpoint_000002")() })
	n.close()
	inTree := func(p string) string { return filepath.Join(n.cfg.Dir, "tree", p) }
	for _, p := range []string{"run/checkpoint_000000/f", "run/checkpoint_000001/g", "run/checkpoint_000002"} {
		if err := os.RemoveAll(inTree(p)); err != nil {
			t.Fatal(err)
		}
	}
	s.Online()
	n.start()
	for _, p := range []string{"run/checkpoint_000001/g", "run/checkpoint_000002/f"} {
		if !strings.Contains(log.String(), `"`+told+`: it is lost"`) || !strings.Contains(log.String(), "path="+p) {
			t.Errorf("nothing tells of %s:\n%s", p, log)
		}
	}
	if strings.Contains(log.String(), "path=run/checkpoint_000000") {
		t.Errorf("what the store has is told of:\n%s", log)
	}
	n.wait()
	if got := n.read("run/checkpoint_000000/f") + n.read("run/checkpoint_000001/f"); got != "committedone" {
		t.Errorf("%q", got)
	}
	before := strings.Count(log.String(), told)
	n.restart()
	if got := strings.Count(log.String(), told); got != before {
		t.Errorf("told again at the next start: %d times", got-before)
	}
	n.wait()
}

// P10: what left a sealed checkpoint through the mount is not called lost by any start.
func TestWhatLeftASealedCheckpointIsNotCalledLost(t *testing.T) {
	const unit, one = "run/checkpoint_000000", "run/epoch=1.ckpt"
	for name, leave := range map[string]func(n *node){
		"a member renamed out":       func(n *node) { n.rename(unit+"/f", "run/f") },
		"a member renamed":           func(n *node) { n.rename(unit+"/f", unit+"/other") },
		"a member renamed and back":  func(n *node) { n.rename(unit+"/f", "run/f"); n.rename("run/f", unit+"/f") },
		"a member renamed twice":     func(n *node) { n.rename(unit+"/f", "run/f"); n.rename("run/f", "run/x") },
		"a member replaced":          func(n *node) { n.rename(unit+"/g", unit+"/f") },
		"a member deleted":           func(n *node) { n.unlink(unit + "/f") },
		"its directory renamed":      func(n *node) { n.rename(unit+"/sub", "run/sub") },
		"all renamed":                func(n *node) { n.rename(unit, "run/checkpoint_000009") },
		"all of them renamed":        func(n *node) { n.rename("run", "run2") },
		"a file renamed":             func(n *node) { n.rename(one, "run/best.ckpt") },
		"a file renamed into a unit": func(n *node) { n.rename(one, unit+"/model.ckpt") },
		"a file deleted":             func(n *node) { n.unlink(one) },
	} {
		for when, restarts := range map[string]int{"first a start, then the store": 2, "first the store": 0} {
			t.Run(name+", "+when, func(t *testing.T) {
				t.Parallel()
				s := newFaulty()
				log := &sharedLog{}
				n := startNode(t, s, func(c *cache.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
				n.mkdir("run")
				n.mkdir(unit)
				n.mkdir(unit + "/sub")
				n.wait()
				s.Offline(false)
				for _, p := range []string{unit + "/f", unit + "/g", unit + "/sub/h", one} {
					n.write(p, "content of "+p)
				}
				for _, p := range []string{unit, one} {
					eventually(t, p+" is sealed", func() bool { u, ok := n.unit(p); return ok && u.State != cache.StateDirty })
				}
				leave(n)
				for range restarts {
					n.restart()
				}
				s.Online()
				n.wait()
				n.restart()
				if strings.Contains(log.String(), "it is lost") {
					t.Errorf("told:\n%s", log)
				}
			})
		}
	}
}

// A sealed file that was only given another name under tree/ goes up under that.
func TestRenamedByHandIsNotCalledLost(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	log := &sharedLog{}
	n := startNode(t, s, func(c *cache.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	const unit = "run/checkpoint_000000"
	n.mkdir("run")
	n.mkdir(unit)
	n.wait()
	s.Offline(false)
	for _, name := range []string{"f", "g", "h"} {
		n.write(unit+"/"+name, "content of "+name)
	}
	eventually(t, "it is sealed", func() bool { u, ok := n.unit(unit); return ok && u.State != cache.StateDirty })
	n.close()
	inTree := func(p string) string { return filepath.Join(n.cfg.Dir, "tree", p) }
	if err := os.Rename(inTree(unit+"/f"), inTree("run/f")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(inTree(unit + "/g")); err != nil {
		t.Fatal(err)
	}
	s.Online()
	n.start()
	n.wait()
	if text := log.String(); !strings.Contains(text, "it is lost") || !strings.Contains(text, "path="+unit+"/g files=1") {
		t.Errorf("told:\n%s", text)
	}
	if got := objects(t, s); got != "run/checkpoint_000000/h run/f" {
		t.Errorf("in the store: %s", got)
	}
}

// The next start but one does not miss it either, when the store alone has it.
func TestOneFileCheckpointRenamedByHandIsNotCalledLostOnceItIsEvicted(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	log := &sharedLog{}
	n := startNode(t, s, func(c *cache.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
	const old, renamed = "run/epoch=1.ckpt", "run/best.ckpt"
	n.mkdir("run")
	n.wait()
	s.Offline(false)
	n.write(old, "content")
	eventually(t, "it is sealed", func() bool { u, ok := n.unit(old); return ok && u.State != cache.StateDirty })
	n.close()
	inTree := func(p string) string { return filepath.Join(n.cfg.Dir, "tree", p) }
	if err := os.Rename(inTree(old), inTree(renamed)); err != nil {
		t.Fatal(err)
	}
	s.Online()
	n.start()
	n.wait()
	if _, kept, err := n.Evict(ctx, []string{renamed}); err != nil || len(kept) > 0 {
		t.Fatal(kept, err)
	}
	n.restart()
	if strings.Contains(log.String(), "it is lost") {
		t.Errorf("told:\n%s", log)
	}
	if got := n.read(renamed); got != "content" {
		t.Errorf("it is %q", got)
	}
}
