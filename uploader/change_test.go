package uploader

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/trainfs/trainfs/cache"
)

// What others change in the store shows here, and the local copies go along.

func (n *node) link(target, path string) {
	n.t.Helper()
	n.Unlink(ctx, path)
	if _, err := n.Symlink(ctx, target, path, cache.Owner{}); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) target(path string) string {
	n.t.Helper()
	if err := n.walkTo(path); err != nil {
		return err.Error()
	}
	target, err := n.Readlink(ctx, path)
	if err != nil {
		return err.Error()
	}
	return target
}

// Lightning's last.ckpt and Composer's latest-rank0.pt are links: the node that has followed
// one once follows the next one, too.
func TestSymlinkThatAnotherNodeReplacesIsFollowedAnew(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	a.mkdir("run")
	for _, path := range []string{"run/last.ckpt", "run/current"} {
		for _, target := range []string{"step=1.ckpt", "step=2.ckpt", "step=3.ckpt"} {
			a.link(target, path)
			a.wait()
			eventually(t, path+" leads to "+target, func() bool { return b.target(path) == target })
		}
		b.link("here", path)
		b.wait()
		eventually(t, path+" leads there on the first node, too", func() bool { return a.target(path) == "here" })
	}
}

// inTree tells whether there is a local copy.
func (n *node) inTree(path string) bool {
	_, err := os.Lstat(filepath.Join(n.cfg.Dir, "tree", path))
	return err == nil
}

func TestVanishedObjectTakesItsCleanCopyAlong(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	a, b := startNode(t, s), startNode(t, s)
	a.mkdir("run")
	for _, name := range []string{"gone", "stays", "changed"} {
		a.write("run/"+name, name)
	}
	a.link("gone", "run/link")
	a.wait()
	for _, n := range []*node{a, b} {
		if n.read("run/gone")+n.read("run/stays")+n.read("run/changed")+n.target("run/link") != "gonestayschangedgone" {
			t.Fatal("content differs")
		}
	}
	for _, key := range []string{"run/gone", "run/changed", "run/link"} { // by another tool
		if err := s.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	h := b.open("run/changed") // what is dirty stays
	h.File().WriteString("mine")
	for _, n := range []*node{a, b} {
		want := map[*node]string{a: "stays", b: "changed stays"}[n]
		eventually(t, "the listing is as it is in the store", func() bool { return n.names("run") == want })
		if n.inTree("run/gone") || n.inTree("run/link") || !n.inTree("run/stays") {
			t.Error("the local copies are not what the store has")
		}
	}
	b.closeHandle(h)
	b.wait()
	eventually(t, "it is back", func() bool { return a.names("run") == "changed stays" && a.read("run/changed") == "mine" })
}
