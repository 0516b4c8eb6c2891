package cache

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/trainfs/trainfs/layout"
)

// slowCommitter takes its time.
type slowCommitter struct{ ended time.Time }

func (s *slowCommitter) CommitFile(context.Context, string) error {
	time.Sleep(time.Millisecond)
	s.ended = time.Now()
	return nil
}

func (s *slowCommitter) CommitUnit(context.Context, string) error { return nil }

// P5: a close that waits long, for the store or a busy disk, and then returns is as good as any
// other: a kill right after it has all the time for the release that there is (opens.go). The
// time counted from before the wait: a file that was closed was torn.
func TestCloseThatHasWaitedLongIsNotedAtItsEnd(t *testing.T) {
	names, err := layout.New(layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	opens, err := mapOpenTable(filepath.Join(dir, "opens"))
	if err != nil {
		t.Fatal(err)
	}
	defer opens.close()
	f, err := os.Create(filepath.Join(dir, "notes"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	store := &slowCommitter{}
	c := &Cache{cfg: Config{Layout: names, CommitOnClose: true}, opens: opens, committer: store}
	path := "run/notes"
	h := &Handle{c: c, slot: 1, write: true, file: f}
	h.path.Store(&path)
	if err := h.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if noted := time.Unix(0, int64(opens.slot(1).flushed.Load())); noted.Before(store.ended) {
		t.Errorf("noted %s before it ended", store.ended.Sub(noted))
	}
}
