package cache

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// confirm is find for a caller that will act on the answer: nothing that is missing is
// taken from memory, nor anything while the store is out of reach.
func (n *names) confirm(ctx context.Context, path string) (remoteEntry, error) {
	class := n.c.cfg.Layout.Classify(path, false)
	if class.Kind == layout.Checkpoint && class.Unit != path {
		e, err := n.member(ctx, class.Unit, path)
		if n.offline() {
			return e, errOffline
		}
		return e, err
	}
	return n.probe(ctx, path)
}

// probe asks for one key and for anything below it, at once.
func (n *names) probe(ctx context.Context, path string) (remoteEntry, error) {
	v, err := n.share("probe "+path, func(any) time.Duration {
		if kind := n.c.cfg.Layout.Classify(path, false).Kind; kind == layout.Control || kind == layout.Tracker {
			return 0
		}
		return n.c.cfg.ListTTL
	}, func() (any, error) {
		start, end := n.began()
		defer end()
		var obj backend.Object
		var page backend.Page
		var missing bool
		err := n.ask(ctx, func(ctx context.Context) error {
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() (err error) {
				obj, err = n.c.cfg.Store.Head(ctx, path)
				if errors.Is(err, backend.ErrNotExist) || errors.Is(err, backend.ErrInvalidKey) {
					missing, err = true, nil
				}
				return err
			})
			g.Go(func() (err error) {
				page, err = n.c.cfg.Store.List(ctx, backend.ListOptions{Prefix: path + "/", Limit: 1})
				return err
			})
			return g.Wait()
		})
		if err != nil {
			return remoteEntry{}, err
		}
		if !missing && obj.Attr.Type == backend.Directory {
			return entryOf(obj, start), nil
		}
		if len(page.Objects) > 0 {
			return n.directory(ctx, path, page, start), nil
		}
		if missing {
			return remoteEntry{}, fs.ErrNotExist
		}
		e := entryOf(obj, start)
		if e.more == nil {
			e.more = &entryMore{}
		}
		e.more.asked = true
		return e, nil
	})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.Canceled) {
		return n.probe(ctx, path) // it was another program's request that was given up
	}
	return v.(remoteEntry), err
}

// directory describes a directory of which the first key is known; its own marker has
// the attributes.
func (n *names) directory(ctx context.Context, path string, page backend.Page, at time.Time) remoteEntry {
	e := dirEntryAt(at)
	if len(page.Objects) == 0 || page.Objects[0].Key != path+"/" {
		e.more = &entryMore{} // there is none
		return e
	}
	e.more = n.marker(ctx, path)
	return e
}

// marker asks for the attributes of a directory, which only an object of its own has.
func (n *names) marker(ctx context.Context, path string) *entryMore {
	m := &entryMore{}
	n.ask(ctx, func(ctx context.Context) error {
		obj, err := n.c.cfg.Store.Head(ctx, path+"/")
		if err == nil {
			m.attr, m.marker = obj.Attr, true
		}
		return err
	})
	return m
}
