package uploader

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/cache"
)

// P7: an outage costs one program one store_timeout, and not every program one again and
// again. What only the store can say is an error at once, until it is back.
func TestOutageIsWaitedForOnce(t *testing.T) {
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = 200 * time.Millisecond })
	s.Offline(true)
	if _, err := n.Lookup(ctx, "first"); !errors.Is(err, syscall.EIO) {
		t.Fatalf("lookup while the store hangs: %v, want EIO", err)
	}
	heads, lists := s.Calls(backend.OpHead), s.Calls(backend.OpList)
	for range 2 { // nobody but the daemon itself asks, and it goes on asking
		lists = s.Calls(backend.OpList)
		eventually(t, "the store is asked whether it is back", func() bool { return s.Calls(backend.OpList) > lists })
		if _, err := n.Lookup(ctx, "later"); !errors.Is(err, syscall.EIO) {
			t.Fatalf("lookup in the outage: %v, want EIO", err)
		}
	}
	if got := s.Calls(backend.OpHead); got != heads {
		t.Errorf("programs asked the store %d times more", got-heads)
	}
	s.Online()
	eventually(t, "it is back", func() bool {
		_, err := n.Lookup(ctx, "later")
		return errors.Is(err, fs.ErrNotExist)
	})
}

// P7: a save goes on though the store is out of reach, under the directory's final name and
// after a restart of the daemon too.
func TestSaveGoesOnInAnOutageAfterRenameAndRestart(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout, c.Settle = 100*time.Millisecond, time.Second })
	n.mkdir("run")
	n.mkdir("run/new")
	n.write("run/new/a", "content")
	s.Offline(true)
	if err := n.Rename(ctx, "run/new", "run/checkpoint_000001", 0); err != nil {
		t.Fatal(err)
	}
	create := func(path string) {
		t.Helper()
		if _, err := n.Lookup(ctx, path); !errors.Is(err, fs.ErrNotExist) { // the kernel looks before it creates
			t.Errorf("lookup of %s: %v, want ENOENT", path, err)
		}
		n.write(path, "content")
	}
	create("run/checkpoint_000001/b")
	n.restart()
	create("run/checkpoint_000001/c")
	s.Online()
	n.wait()
	for _, name := range []string{"a", "b", "c"} {
		if _, err := s.Head(ctx, "run/checkpoint_000001/"+name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// P7: units whose uploads failed in an outage are tried again when it is over, not at the end of
// their pauses; where the store answers all the while, a unit that fails keeps its pause.
func TestUnitsAreTriedAgainOnceAnOutageIsOver(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = time.Second })
	n.mkdir("run")
	n.write("run/before", "content")
	n.wait()
	n.stop() // the test takes the uploader's part
	<-n.done
	n.write("run/f", "content")
	due := func() (all []*cache.Unit) {
		all, _ = n.Due(time.Now(), 1)
		return all
	}
	fail := func() {
		t.Helper()
		var units []*cache.Unit
		eventually(t, "the file is due", func() bool { units = due(); return len(units) > 0 })
		n.Release(units[0], errLost, time.Hour)
		n.StoreAnswered(errLost)
	}
	asked := func(times int) {
		t.Helper()
		before := s.Calls(backend.OpList)
		eventually(t, "the store is asked whether it answers", func() bool { return s.Calls(backend.OpList) >= before+times })
	}
	fail()
	asked(1)
	if units := due(); len(units) > 0 {
		t.Errorf("%s is tried again, though there was no outage", units[0].Path)
	}
	s.Offline(false)
	n.StoreAnswered(errLost)
	asked(2) // the first has failed
	s.Online()
	fail()
}

// P7: an upload whose answer never comes, because the network has forgotten its connection, is
// tried again once the outage is over; and, where the store answers others, after a while.
func TestUploadOnADeadConnectionIsTriedAgain(t *testing.T) {
	for name, outage := range map[string]bool{"in an outage": true, "while the store answers others": false} {
		for _, op := range []string{backend.OpPut, backend.OpPutPart, backend.OpBeginStage, backend.OpPublishStage} {
			t.Run(name+" "+op, func(t *testing.T) {
				t.Parallel()
				s := newFaulty()
				n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = 200 * time.Millisecond })
				dead := s.Hold(op, 1) // for ever
				n.mkdir("run")
				n.mkdir(ckpt)
				n.write(ckpt+"/model.pt", big(1, 3<<20))
				n.write("run/log", "line")
				<-dead.Reached()
				if outage {
					s.Offline(true)
					lists := s.Calls(backend.OpList)
					eventually(t, "the daemon finds out", func() bool { return s.Calls(backend.OpList) > lists+1 })
					s.Online()
				}
				n.wait()
				if got := get(t, s, ckpt+"/model.pt"); got != big(1, 3<<20) {
					t.Error("content differs")
				}
				if lost := n.Status().LostFound; lost != 0 {
					t.Errorf("%d files were set aside", lost)
				}
			})
		}
	}
}

// P7: a download is complete, the question for its checksum gets no answer, because the network has
// forgotten the connection, and the program that opens the file does not wait for minutes. P9: nor
// does it get what was not checked.
func TestFetchedFileIsCheckedThoughTheFirstQuestionGetsNoAnswer(t *testing.T) {
	for _, wrong := range []bool{false, true} {
		s := newHooked()
		s.terse = true
		s.fill(t, "data/f", big(1, 200_000))
		if wrong {
			s.body = func(_ int, _ backend.GetOptions, r io.ReadCloser) io.ReadCloser { return flipped{r} }
		}
		f := faulty.New(s)
		n := startNode(t, f, func(c *cache.Config) { c.StoreTimeout = 300 * time.Millisecond })
		n.names("data")
		dead := f.Hold(backend.OpHead, 1) // for ever
		h, err := n.Open(ctx, "data/f", unix.O_RDONLY)
		<-dead.Reached()
		if err == nil {
			defer n.shut(h)
		}
		if wrong && !errors.Is(err, cache.ErrCorrupt) || !wrong && err != nil {
			t.Errorf("flipped %v: open: %v", wrong, err)
		}
	}
}

// P9: nor does it get that where the store refuses to tell the checksum.
func TestFetchedFileIsNotShownWhereTheStoreRefusesItsChecksum(t *testing.T) {
	s := newHooked()
	s.terse = true
	s.fill(t, "data/f", big(1, 200_000))
	f := faulty.New(s)
	n := startNode(t, f)
	n.names("data")
	f.Fail(backend.OpHead, 1, &backend.Error{Op: backend.OpHead, Key: "data/f", Kind: backend.ErrDenied})
	if _, err := n.Open(ctx, "data/f", unix.O_RDONLY); !errors.Is(err, backend.ErrDenied) {
		t.Errorf("open: %v, want ErrDenied", err)
	}
	if n.read("data/f") != big(1, 200_000) {
		t.Error("content differs once the store tells")
	}
}

// flipped is a body with another first byte.
type flipped struct{ io.ReadCloser }

func (f flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 {
		p[0] ^= 0x10
	}
	return n, err
}

// P7: a program goes on writing in a checkpoint directory that has been committed in a pause of
// its, just before the store is out of reach.
func TestSaveGoesOnInAnOutageAfterACommit(t *testing.T) {
	t.Parallel()
	const unit = "run/checkpoint_000001"
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = 100 * time.Millisecond })
	n.mkdir("run")
	n.mkdir(unit)
	n.write(unit+"/a", "a")
	n.wait()
	s.Offline(true)
	if _, err := n.Lookup(ctx, unit+"/b"); !errors.Is(err, fs.ErrNotExist) { // the kernel looks before it creates
		t.Fatalf("lookup of a new name: %v, want ENOENT", err)
	}
	n.write(unit+"/b", "b")
	s.Online()
	n.wait()
	for _, name := range []string{"a", "b"} {
		if got := get(t, s, unit+"/"+name); got != name {
			t.Errorf("the store has %q as %s", got, name)
		}
	}
}
