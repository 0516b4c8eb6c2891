package uploader

import (
	"errors"
	"syscall"
	"testing"
)

// What rm -r does: it lists, removes what it was shown, and then the directory. The part of
// another node that comes in between is none of what it was shown (num_to_keep passes while a
// slow node is still uploading).
func TestCheckpointIsRemovedThoughAnotherNodesPartComesMeanwhile(t *testing.T) {
	for _, below := range []string{"", "shards/"} {
		t.Run("in "+below, func(t *testing.T) {
			t.Parallel()
			store := newFaulty()
			a, b := startNode(t, store), startNode(t, store)
			const unit = "run/checkpoint_000001"
			for _, n := range []*node{a, b} {
				n.mkdir("run")
				n.mkdir(unit)
				if below != "" {
					n.mkdir(unit + "/shards")
				}
			}
			a.write(unit+"/"+below+"rank0", "a")
			a.wait(unit)

			// All listings come first, as pyarrow makes them.
			a.names(unit)
			if below != "" {
				a.names(unit + "/shards")
			}
			b.write(unit+"/"+below+"rank1", "b")
			b.wait(unit)
			if err := a.Unlink(ctx, unit+"/"+below+"rank0"); err != nil {
				t.Fatal(err)
			}
			if below != "" {
				if err := a.Rmdir(ctx, unit+"/shards"); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Rmdir(ctx, unit); err != nil {
				t.Fatal(err)
			}
			a.wait()
			if got := objects(t, store); got != "" {
				t.Errorf("left in the store: %s", got)
			}
			eventually(t, "the other node shows nothing of it", func() bool { return b.missing(unit) })
		})
	}
}

// P5: a directory that was removed and made again, and in which the program has been shown another
// node's files since, is not empty to rmdir.
func TestDirectoryThatWasMadeAgainAndShownIsNotTakenAlong(t *testing.T) {
	t.Parallel()
	store := newFaulty()
	a, b := startNode(t, store), startNode(t, store)
	const unit, dir = "run/checkpoint_000001", "run/checkpoint_000001/shards"
	for _, n := range []*node{a, b} {
		n.mkdir("run")
		n.mkdir(unit)
		n.mkdir(dir)
	}
	a.write(unit+"/rank0", "a")
	a.write(dir+"/rank0", "a")
	a.names(unit)
	a.names(dir)
	a.unlink(dir + "/rank0")
	must(a, a.Rmdir(ctx, dir))
	a.mkdir(dir)
	a.wait(unit)
	b.write(dir+"/rank1", "b")
	b.wait(unit)
	eventually(t, "the other node's file shows", func() bool { return a.names(dir) == "rank1" })
	if got := a.names(unit); got != "rank0 shards" {
		t.Fatalf("it lists %q", got)
	}
	a.unlink(unit + "/rank0")
	if err := a.Rmdir(ctx, unit); !errors.Is(err, syscall.ENOTEMPTY) {
		t.Errorf("rmdir: %v", err)
	}
}

// Whoever has not removed anything of a directory, or has been shown the other node's files,
// is told that it is not empty.
func TestDirectoryWithAnotherNodesFilesIsNotRemovedAsEmpty(t *testing.T) {
	for name, c := range map[string]struct{ shown, unlinks bool }{
		"shown":          {shown: true, unlinks: true},
		"nothing listed": {unlinks: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newFaulty()
			a, b := startNode(t, store), startNode(t, store)
			const unit = "run/checkpoint_000001"
			for _, n := range []*node{a, b} {
				n.mkdir("run")
				n.mkdir(unit)
			}
			a.write(unit+"/rank0", "a")
			b.write(unit+"/rank1", "b")
			a.wait(unit)
			b.wait(unit)
			if c.shown {
				eventually(t, "both files show", func() bool { return a.names(unit) == "rank0 rank1" })
			}

			if c.unlinks {
				if err := a.Unlink(ctx, unit+"/rank0"); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Rmdir(ctx, unit); !errors.Is(err, syscall.ENOTEMPTY) {
				t.Errorf("rmdir: %v", err)
			}
		})
	}
}
