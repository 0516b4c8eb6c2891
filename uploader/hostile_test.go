package uploader

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/trainfs/trainfs/backend"
)

// listing is a store whose listings are made up.
type listing struct {
	backend.Store
	pages map[string][]backend.Page // by prefix; the token is the number of the next
	loops bool
}

func (l *listing) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	pages, ok := l.pages[o.Prefix]
	if !ok {
		return l.Store.List(ctx, o)
	}
	i := 0
	fmt.Sscan(o.Token, &i)
	page := pages[i]
	if l.loops {
		page.Token = fmt.Sprint((i + 1) % len(pages))
	} else if i+1 < len(pages) {
		page.Token = fmt.Sprint(i + 1)
	}
	return page, nil
}

func named(keys ...string) (p backend.Page) {
	for _, k := range keys {
		if strings.HasSuffix(k, "/") {
			p.Prefixes = append(p.Prefixes, k)
		} else {
			p.Objects = append(p.Objects, backend.Object{Key: k, Size: 5, ETag: "x"})
		}
	}
	return p
}

// A store's answers are not trusted to be in order, to come once, or to be names.
func TestUnsortedAndRepeatingListings(t *testing.T) {
	s := &listing{Store: newFaulty(), pages: map[string][]backend.Page{
		"": {named("data/")},
		"data/": {
			named("data/z", "data/a", "data/both/"), named(), named("data/a", "data/m", "data/both"),
			named("data/"+strings.Repeat("long", 2500), "data/..", "data/.", "data/\x00", "data/x/y", "elsewhere", "data/ok"),
		},
	}}
	n := startNode(t, s)
	if got := n.names("data"); got != "a both m ok z" {
		t.Errorf("names: %s", got)
	}
	if got := n.up.Status().HiddenKeys; got < 5 {
		t.Errorf("%d hidden", got)
	}
	before := n.up.Status().HiddenKeys
	n.names("data")
	if got := n.up.Status().HiddenKeys; got != before {
		t.Errorf("hidden keys are counted again: %d, then %d", before, got)
	}
}

// A listing that never ends is an error, not a hang.
func TestListingThatRepeatsAPageForEver(t *testing.T) {
	for _, pages := range [][]backend.Page{
		{named("data/a")},
		{named("data/a"), named("data/b"), named("data/c")}, // in a circle
	} {
		s := &listing{Store: newFaulty(), loops: true, pages: map[string][]backend.Page{"data/": pages}}
		n := startNode(t, s)
		putRaw(t, s.Store, "data/a", "12345")
		if _, err := n.ReadDir(ctx, "data"); !errors.Is(err, syscall.EIO) {
			t.Errorf("%d pages: %v, want EIO", len(pages), err)
		}
	}
}
