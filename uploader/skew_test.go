package uploader

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// skewed is a store as a node sees it whose clock is behind the store's by so much.
type skewed struct {
	backend.Store
	by time.Duration
}

func (s *skewed) shift(o backend.Object) backend.Object {
	if !o.Modified.IsZero() {
		o.Modified = o.Modified.Add(s.by)
	}
	return o
}

func (s *skewed) Head(ctx context.Context, key string) (backend.Object, error) {
	o, err := s.Store.Head(ctx, key)
	return s.shift(o), err
}

func (s *skewed) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	r, obj, err := s.Store.Get(ctx, key, o)
	return r, s.shift(obj), err
}

func (s *skewed) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	page, err := s.Store.List(ctx, o)
	for i := range page.Objects {
		page.Objects[i] = s.shift(page.Objects[i])
	}
	return page, err
}

// No two clocks need agree: not those of two nodes, nor a node's and the store's. One node's
// clock is an hour behind the store's here, another's an hour ahead.
func TestClocksNeedNotAgree(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	put(t, s, "data/theirs", "of another tool")
	behind, ahead := startNode(t, &skewed{s, time.Hour}), startNode(t, &skewed{s, -time.Hour})
	nodes := []*node{behind, ahead}
	behind.mkdir("run")
	const unit = "run/checkpoint_000000"
	behind.mkdir(unit)
	behind.write(unit+"/both", "first")
	behind.write(unit+"/dropped", "x")
	behind.wait()
	for round, content := range []string{"second", "third!", "fourth"} { // as long as each other: only checksums differ
		n := nodes[(round+1)%2]
		eventually(t, "the checkpoint shows on the other node", func() bool { return n.walkTo(unit+"/both") == nil })
		for _, path := range []string{unit + "/both", "run/latest", "run/notes"} {
			n.write(path, content)
		}
		n.wait()
		for _, n := range nodes {
			for _, path := range []string{unit + "/both", "run/latest", "run/notes"} {
				eventually(t, path+" is "+content, func() bool { return n.walkTo(path) == nil && n.read(path) == content })
			}
			if _, _, err := n.Evict(ctx, []string{"run"}); err != nil {
				t.Fatal(err)
			}
			if got := n.read(unit + "/both"); got != content {
				t.Errorf("fetched again it is %q, want %q", got, content)
			}
			if got := n.read("data/theirs"); got != "of another tool" {
				t.Errorf("%q", got)
			}
			if _, r := n.verify(unit); r.Bad() != 0 {
				t.Errorf("verify: %+v", r)
			}
		}
	}
	if err := ahead.Unlink(ctx, unit+"/dropped"); err != nil {
		t.Fatal(err)
	}
	ahead.wait()
	eventually(t, "the member is gone for the other node", func() bool { return behind.names(unit) == "both" })
	behind.write(unit+"/dropped", "again")
	behind.wait()
	third := startNode(t, s)
	if got := third.read(unit+"/dropped") + " " + third.read(unit+"/both"); got != "again fourth" {
		t.Errorf("a third node reads %q", got)
	}
	if st, err := third.State(ctx, unit+"/both"); err != nil || st != cache.StateCommitted {
		t.Errorf("state %s, %v", st, err)
	}
}
