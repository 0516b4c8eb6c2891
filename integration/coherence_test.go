package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestControlFileIsSeenByTheFirstStatElsewhere(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t, "list_ttl=5s"), s.mount(t, "list_ttl=5s")
		for round := range 5 {
			dir := fmt.Sprintf("run%d", round)
			marker := filepath.Join(dir, ".validate_storage_marker")
			mkdir(t, a.path(dir))
			exists(b.path(marker)) // a remembered "missing" would break the run
			names(t, b.path(dir))
			write(t, a.path(marker), "")
			if _, err := os.Stat(b.path(marker)); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestOpenAfterCommitSeesTheCommittedBytes(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t), s.mount(t)
		for _, name := range []string{"params.json", "latest", "trial/checkpoint_000001/model.pt"} {
			mkdir(t, filepath.Dir(a.path(name)))
			for _, content := range []string{"first", "the second, longer", "third", "3rd"} {
				write(t, a.path(name), content)
				a.commit(name)
				eventually(t, name+" is "+content+" elsewhere", func() bool {
					b, err := os.ReadFile(b.path(name))
					return err == nil && string(b) == content
				})
			}
		}
	})
}

// With list_ttl=0 nothing is remembered: the very next open sees the committed bytes.
func TestOpenRightAfterCommitSeesTheCommittedBytesIfNothingIsRemembered(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t), s.mount(t, "list_ttl=0", "attr_timeout=0", "entry_timeout=0")
		for _, name := range []string{"params.json", "latest"} {
			for round := range 5 {
				content := fmt.Sprintf("round %d", round)
				write(t, a.path(name), content)
				a.commit(name)
				want(t, name, read(t, b.path(name)), content)
			}
		}
	})
}

// A link is followed to where another node has it lead now, be it a tracker or not.
func TestSymlinkLeadsWhereAnotherNodeHasItLead(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t), s.mount(t)
		write(t, a.path("step=1.txt"), "one")
		write(t, a.path("step=2.txt"), "two")
		for _, link := range []string{"last.ckpt", "current"} {
			for _, to := range []string{"step=1.txt", "step=2.txt"} {
				_ = os.Remove(a.path(link))
				must(t, os.Symlink(to, a.path(link)))
				a.wait()
				eventually(t, link+" leads to "+to, func() bool {
					target, _ := os.Readlink(b.path(link))
					got, _ := os.ReadFile(b.path(link))
					return target == to && string(got) == map[string]string{"step=1.txt": "one", "step=2.txt": "two"}[to]
				})
			}
		}
	})
}

// A tracker and a control file are always asked for, whatever is remembered.
func TestTrackerIsNeverStaleOnceCommitted(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t, "list_ttl=5s"), s.mount(t, "list_ttl=5s")
		for _, name := range []string{"latest", "checkpoint_manager_snapshot.json"} {
			for round := range 3 {
				content := fmt.Sprintf("round %d", round)
				write(t, a.path(name), content)
				a.commit(name)
				want(t, name, read(t, b.path(name)), content)
			}
		}
	})
}

func TestTwoNodesFillOneCheckpointAndAThirdSeesItWhole(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b, c := s.mount(t, "settle=1h"), s.mount(t, "settle=1h"), s.mount(t)
		const dir = "run/checkpoint_000001"
		for i, m := range []*mount{a, b} {
			write(t, filepath.Join(mkdir(t, m.path(dir)), fmt.Sprintf("rank%d.pt", i)), noise(2*mib, uint64(i)))
		}
		// Both are known to be writing.
		eventually(t, "both say that they are writing", func() bool { return len(s.objects(".trainfs/v1/units/"+dir)) == 2 })
		a.commit(dir)
		want(t, "it shows while one is still writing", exists(c.path(dir)), false)
		eventually(t, "one who writes there sees the others' files", func() bool { return exists(b.path(dir, "rank0.pt")) })
		want(t, "the other's file", sum(read(t, b.path(dir, "rank0.pt"))), sum(noise(2*mib, 0)))
		b.commit(dir)
		eventually(t, "it shows", func() bool { return exists(c.path(dir)) })
		want(t, "files", fmt.Sprint(names(t, c.path(dir))), "[rank0.pt rank1.pt]")
		for i := range 2 {
			want(t, "content", sum(read(t, c.path(dir, fmt.Sprintf("rank%d.pt", i)))), sum(noise(2*mib, uint64(i))))
		}
	})
}
