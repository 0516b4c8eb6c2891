package cache

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/trainfs/trainfs/layout"
)

// slowCommitter takes longer than a release may.
type slowCommitter struct{ opens *openTable }

func (s slowCommitter) CommitFile(context.Context, string) error {
	for range 2 * releaseGrace / heartbeatTime {
		s.opens.beat()
	}
	return nil
}

func (s slowCommitter) CommitUnit(context.Context, string) error { return nil }

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
	opens.clear("boot")
	c := &Cache{cfg: Config{Layout: names, CommitOnClose: true}, opens: opens, committer: slowCommitter{opens}}
	path := "run/notes"
	h := &Handle{c: c, slot: 1, write: true, file: f}
	opens.opened(h.slot, 7)
	h.path.Store(&path)
	if err := h.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	if left := opens.entries(); len(left) != 1 || !left[0].closing {
		t.Errorf("killed now, it counts as open: %+v", left)
	}
	for range releaseGrace / heartbeatTime {
		opens.beat()
	}
	if left := opens.entries(); len(left) != 1 || left[0].closing {
		t.Errorf("killed when its release should have come, it counts as closed: %+v", left)
	}
}
