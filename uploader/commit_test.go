package uploader

import (
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

func TestCheckpointArrivesByteForByte(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/model.pt", big(1, 5<<20+17))
	n.write("run/checkpoint_000000/meta.json", "{}")
	n.wait()
	if got, want := objects(t, s), "run/checkpoint_000000/meta.json run/checkpoint_000000/model.pt"; got != want {
		t.Errorf("objects: %s, want %s", got, want)
	}
	if get(t, s, "run/checkpoint_000000/model.pt") != big(1, 5<<20+17) {
		t.Error("content differs")
	}
	for _, k := range allKeys(t, s) {
		if strings.HasSuffix(k, ".open") {
			t.Errorf("open marker left: %s", k)
		}
	}
}

func TestArtifactAndEmptyDirectory(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/empty")
	n.write("run/notes.txt", "hello")
	n.wait()
	if got, want := objects(t, s), "run/empty/ run/notes.txt"; got != want {
		t.Errorf("objects: %s, want %s", got, want)
	}
	other := startNode(t, s)
	if got := other.names("run"); got != "empty notes.txt" {
		t.Errorf("names: %s", got)
	}
	if got := other.read("run/notes.txt"); got != "hello" {
		t.Errorf("read: %q", got)
	}
}

func TestUnlinkAndRemoveCheckpoint(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(1, 2<<20))
	n.write("run/checkpoint_000000/b", "b")
	n.write("run/x", "x")
	n.wait()
	for _, p := range []string{"run/checkpoint_000000/a", "run/checkpoint_000000/b", "run/x"} {
		if err := n.Unlink(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Rmdir(ctx, "run/checkpoint_000000"); err != nil {
		t.Fatal(err)
	}
	n.wait()
	if got := allKeys(t, s); len(got) != 0 && strings.Join(got, " ") != "run/" {
		t.Errorf("left: %v", got)
	}
	if !n.missing("run/checkpoint_000000") {
		t.Error("the directory is back")
	}
}

func TestRenameOfCommittedDirectoryCopiesInTheStore(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(1, 2<<20))
	n.write("run/checkpoint_000000/b", "b")
	n.wait()
	parts := s.Calls("put_part")
	if err := n.Rename(ctx, "run/checkpoint_000000", "run/checkpoint_best", 0); err != nil {
		t.Fatal(err)
	}
	n.wait()
	if got, want := objects(t, s), "run/checkpoint_best/a run/checkpoint_best/b"; got != want {
		t.Errorf("objects: %s, want %s", got, want)
	}
	if get(t, s, "run/checkpoint_best/a") != big(1, 2<<20) {
		t.Error("content differs")
	}
	if got := s.Calls("put_part"); got != parts {
		t.Errorf("%d parts were sent again", got-parts)
	}
	for _, k := range allKeys(t, s) {
		if strings.Contains(k, "checkpoint_000000") {
			t.Errorf("left: %s", k)
		}
	}
}

func TestTrackerWaitsForWhatItNames(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/global_step1")
	h := n.open("run/global_step1/model.pt")
	h.File().WriteString(big(3, 3<<20))
	n.write("run/latest", "global_step1")
	n.write("run/other.txt", "x")
	n.wait("run/other.txt")
	if got := objects(t, s); strings.Contains(got, "latest") {
		t.Errorf("tracker is visible before its checkpoint: %s", got)
	}
	n.closeHandle(h)
	n.wait()
	if got, want := objects(t, s), "run/global_step1/model.pt run/latest run/other.txt"; got != want {
		t.Errorf("objects: %s, want %s", got, want)
	}
}

func TestRestartFindsEverythingClean(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", big(1, 2<<20))
	n.write("run/latest", "checkpoint_000000")
	n.write("run/notes", "n")
	n.wait()
	puts, parts := s.Calls("put"), s.Calls("put_part")
	n.restart()
	n.wait()
	if s.Calls("put") != puts || s.Calls("put_part") != parts {
		t.Errorf("something was sent again: %d puts, %d parts", s.Calls("put")-puts, s.Calls("put_part")-parts)
	}
}

// Of what was said while an earlier version went up nothing is lost: a one-file checkpoint that
// is written again meanwhile is committed at its close, and waits for no quiet.
func TestFileClosedWhileItsEarlierVersionGoesUpIsCommittedAtOnce(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.Settle = time.Hour })
	n.mkdir("run")
	h := s.Hold(backend.OpPut, 1)
	defer h.Release()
	n.write("run/model.ckpt", "1")
	<-h.Reached()
	n.write("run/model.ckpt", "2")
	h.Release()
	n.wait()
	if got := get(t, s, "run/model.ckpt"); got != "2" {
		t.Errorf("in the store: %q", got)
	}
}
