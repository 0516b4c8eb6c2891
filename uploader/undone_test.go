package uploader

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/trainfs/trainfs/backend"
)

// A daemon that is killed between the tombstone of a file and its removal from the tree leaves
// the file without its record: it is found in the store, and not sent again.
func TestFileWhoseUnlinkAKillHasUndoneIsNotSentAgain(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"artifact": "run/notes", "member": "run/checkpoint_000001/a"} {
		t.Run(name, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s)
			n.mkdir("run")
			n.mkdir("run/checkpoint_000001")
			n.write("run/checkpoint_000001/b", "b")
			n.write(file, big(1, 3<<20))
			n.wait()
			sent := s.Calls(backend.OpPutPart)
			s.Offline(true)
			local, aside := filepath.Join(n.cfg.Dir, "tree", file), filepath.Join(t.TempDir(), "aside")
			if err := os.Link(local, aside); err != nil {
				t.Fatal(err)
			}
			n.unlink(file)
			n.close()
			if err := os.Rename(aside, local); err != nil {
				t.Fatal(err)
			}
			s.Online()
			n.start()
			n.wait()
			if got := s.Calls(backend.OpPutPart) - sent; got != 0 {
				t.Errorf("%d parts sent again", got)
			}
			if get(t, s, file) != big(1, 3<<20) || n.read(file) != big(1, 3<<20) {
				t.Error("content differs")
			}
			n.unlink(file) // and this time it happens
			n.wait()
			if _, err := s.Head(ctx, file); err == nil {
				t.Error("still in the store")
			}
		})
	}
}
