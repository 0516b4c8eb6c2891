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
