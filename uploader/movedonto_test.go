package uploader

import (
	"testing"

	"github.com/trainfs/trainfs/backend"
)

// P5: a file that is only in the store is renamed onto one that is on its way up at that moment. The
// end of that upload is not that of the new file: where its bytes are must not be forgotten, else
// they are deleted with the old name.
func TestRemoteFileRenamedOntoOneThatGoesUpIsNotLost(t *testing.T) {
	for name, put := range map[string]int{"run/notes": 1, "run/checkpoint_000001/notes": 3} { // after the marker and the manifest
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFaulty()
			n := startNode(t, s)
			n.mkdir("run")
			n.mkdir("run/checkpoint_000001")
			n.write("run/old", "the new content")
			n.write("run/checkpoint_000001/other", "other")
			n.wait()
			if _, _, err := n.Evict(ctx, []string{"run/old"}); err != nil {
				t.Fatal(err)
			}
			held := s.Hold(backend.OpPut, put)
			n.write(name, "what was there")
			<-held.Reached()
			must(n, n.Rename(ctx, "run/old", name, 0))
			held.Release()
			n.wait()
			if got := n.read(name); got != "the new content" {
				t.Errorf("it reads %q", got)
			}
			if got := get(t, s, name); got != "the new content" {
				t.Errorf("the store has %q", got)
			}
			n.restart()
			if got := n.read(name); got != "the new content" {
				t.Errorf("after a restart it reads %q", got)
			}
		})
	}
}
