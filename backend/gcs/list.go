package gcs

import (
	"context"
	"strings"

	"cloud.google.com/go/storage"
	"google.golang.org/api/iterator"

	"github.com/trainfs/trainfs/backend"
)

const maxPage = 1000

func (s *Store) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	if err := ctx.Err(); err != nil {
		return backend.Page{}, &backend.Error{Op: backend.OpList, Key: o.Prefix, Err: err}
	}
	q := &storage.Query{Prefix: s.prefix + o.Prefix, Projection: storage.ProjectionNoACL}
	if o.Shallow {
		q.Delimiter = "/"
	}
	size := maxPage
	if o.Limit > 0 {
		size = min(o.Limit, maxPage)
	}
	var (
		page  backend.Page
		found []*storage.ObjectAttrs
		err   error
	)
	pager := iterator.NewPager(s.bucket.Objects(ctx, q), size, o.Token)
	if page.Token, err = pager.NextPage(&found); err != nil {
		return backend.Page{}, fail(backend.OpList, o.Prefix, err)
	}
	for _, a := range found {
		name := a.Name + a.Prefix // one of them
		key, ok := strings.CutPrefix(name, s.prefix)
		switch {
		case !ok || key == "": // the marker of the storage path itself
		case strings.HasPrefix(key, stagingDir):
		case a.Prefix != "":
			page.Prefixes = append(page.Prefixes, key)
		default:
			page.Objects = append(page.Objects, s.described(a))
		}
	}
	return page, nil
}
