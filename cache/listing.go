package cache

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// list learns all names of a directory that is not a checkpoint. What it learns was so at
// most old ago.
func (n *names) list(ctx context.Context, dir string, old time.Duration) error {
	_, err := n.share("list "+dir, func(any) time.Duration { return old }, func() (any, error) { return nil, n.listNow(ctx, dir) })
	if err != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return n.list(ctx, dir, old)
	}
	return err
}

func (n *names) listNow(ctx context.Context, dir string) error {
	start, end := n.began()
	defer end()
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	var found packer
	var many nameSet // those that found has no place for
	var units map[string]*unitMarks
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return n.pages(gctx, backend.ListOptions{Prefix: prefix, Shallow: true}, func(p backend.Page) {
			n.add(&found, &many, prefix, p, start)
		})
	})
	g.Go(func() (err error) {
		units, err = n.marks(gctx, dir)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	many.packed = found.pack(start, func(name string, e *remoteEntry) bool {
		path := join(dir, name)
		m := units[path]
		return e.dir && m != nil && m.foreignOpen(n.c.node.Node) && !n.c.owns(path)
	}, func(name string) {
		n.hide(prefix+name, "a directory has the same name")
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.dir(dir)
	n.gone.dropFrom(dir, &many)
	for name, old := range d.entries.changed {
		if old == nil {
			continue
		}
		e, there := many.get(name)
		switch {
		case old.seen > start.UnixNano(): // it is younger than what the listing has seen
			many.set(name, *old)
		case there && !e.dir && !old.dir && old.etag == e.etag && e.more == nil: // a HEAD knows more than a listing
			e.more = old.more
			many.set(name, e)
		}
	}
	d.entries, d.listed, d.cost = many, start, time.Since(start)
	n.trim(dir)
	return nil
}

// trim forgets directories that were not listed lately, while more names are known than
// are worth the memory. Callers hold mu.
func (n *names) trim(keep string) {
	total := 0
	for _, d := range n.dirs {
		total += d.entries.len()
	}
	for p, d := range n.dirs {
		if total <= maxKnownNames/4 {
			return
		}
		if p != keep && time.Since(d.listed) > n.c.cfg.ListTTL && time.Since(d.creating) > creatingFor {
			total -= d.entries.len()
			delete(n.dirs, p)
		}
	}
}

func (n *names) add(found *packer, many *nameSet, prefix string, p backend.Page, at time.Time) {
	keep := func(name string, e remoteEntry) {
		if !found.add(name, &e) {
			many.set(name, e)
		}
	}
	for _, x := range p.Prefixes {
		name := strings.TrimSuffix(strings.TrimPrefix(x, prefix), "/")
		if prefix == "" && name+"/" == layout.Prefix || !n.inListing(x, prefix, name) {
			continue
		}
		keep(name, dirEntryAt(at))
	}
	for _, o := range p.Objects {
		name := strings.TrimPrefix(o.Key, prefix)
		if name == "" || !n.inListing(o.Key, prefix, name) { // "" is the marker of the directory itself
			continue
		}
		keep(name, entryOf(o, at))
	}
}

// pages calls f with every page of a listing.
func (n *names) pages(ctx context.Context, o backend.ListOptions, f func(backend.Page)) error {
	for tokens := (backend.Tokens{}); ; {
		var page backend.Page
		err := n.ask(ctx, func(ctx context.Context) (err error) {
			page, err = n.c.cfg.Store.List(ctx, o)
			return err
		})
		if err != nil {
			return err
		}
		f(page)
		if page.Token == "" {
			return nil
		}
		if tokens.Again(page.Token) {
			return fmt.Errorf("list %q: the store repeats a page: %w", o.Prefix, syscall.EIO)
		}
		o.Token = page.Token
	}
}

// inListing tells whether a key belongs in the listing of one directory that it came with.
func (n *names) inListing(key, prefix, name string) bool {
	if !strings.HasPrefix(key, prefix) || strings.Contains(name, "/") {
		n.hide(key, "the store lists it where it does not belong")
		return false
	}
	return n.possible(key, name)
}

// possible tells whether a key can be a name here, and counts those that cannot.
func (n *names) possible(key, name string) bool {
	if err := layout.CheckPath(name); err != nil {
		n.hide(key, err.Error())
		return false
	}
	return true
}

func (n *names) hide(key, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := fnv.New64a()
	h.Write([]byte(key))
	if _, known := n.hidden[h.Sum64()]; known || len(n.hidden) >= maxKnownNames {
		return
	}
	n.hidden[h.Sum64()] = struct{}{}
	switch shown := fmt.Sprintf("%.200s", key); {
	case len(n.hidden) < mostHiddenTold:
		n.c.log.Warn("object cannot be a file name here: hidden", "key", shown, "err", why)
	case len(n.hidden) == mostHiddenTold:
		n.c.log.Warn("many objects cannot be file names here: hidden, and no more are told of", "key", shown, "err", why)
	}
}
