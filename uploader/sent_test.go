package uploader

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

var errLost = errors.New("the answer was lost")

// P5: what a put has left whose answer was lost is this node's own, and newer content of the
// file replaces it: it is not set aside as in a clash with another node.
func TestFileWrittenAgainAfterALostAnswerReachesTheStore(t *testing.T) {
	t.Parallel()
	for name, unasked := range map[string]bool{"name seen to be free": false, "name made in an outage": true} {
		for _, restart := range []bool{false, true} {
			t.Run(name, func(t *testing.T) { writtenAgain(t, unasked, restart) })
		}
	}
}

func writtenAgain(t *testing.T, unasked, restart bool) {
	s := newFaulty()
	n := startNode(t, s, func(c *cache.Config) { c.StoreTimeout = 100 * time.Millisecond })
	n.mkdir("run")
	n.write("run/before", "content")
	n.wait()
	if unasked {
		s.Offline(true)
		eventually(t, "a name of which nothing is known counts as missing", func() bool {
			_, err := n.Lookup(ctx, "run/f")
			return errors.Is(err, fs.ErrNotExist)
		})
	}
	s.FailAfter(backend.OpPut, 1, errLost)
	n.write("run/f", "one")
	s.Online()
	eventually(t, "it is in the store", func() bool { _, err := s.Head(ctx, "run/f"); return err == nil })
	s.Offline(false)
	n.write("run/f", "and another")
	if restart {
		n.restart()
	}
	s.Online()
	n.wait()
	if got := get(t, s, "run/f"); got != "and another" {
		t.Errorf("the store has %q", got)
	}
	if lost := n.Status().LostFound; lost != 0 {
		t.Errorf("%d files were set aside", lost)
	}
}
