package mem

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/trainfs/trainfs/backend"
)

const pageLimit = 1000 // as S3's

func (s *Store) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	if err := ctx.Err(); err != nil {
		return backend.Page{}, &backend.Error{Op: backend.OpList, Key: o.Prefix, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()

	limit := o.Limit
	if limit <= 0 || limit > pageLimit {
		limit = pageLimit
	}
	var (
		page backend.Page
		last = o.Token // the key or prefix that was given last
	)
	for _, key := range slices.Sorted(maps.Keys(s.mu.objects)) {
		// A last that ends in '/' is a prefix already given, unless it is o.Prefix's own marker.
		grouped := o.Shallow && len(last) > len(o.Prefix) && strings.HasSuffix(last, "/")
		if !strings.HasPrefix(key, o.Prefix) || key <= o.Token || grouped && strings.HasPrefix(key, last) {
			continue
		}
		if len(page.Objects)+len(page.Prefixes) == limit {
			page.Token = last
			return page, nil
		}
		if rest := key[len(o.Prefix):]; o.Shallow && strings.Contains(rest, "/") {
			last = o.Prefix + rest[:strings.IndexByte(rest, '/')+1]
			page.Prefixes = append(page.Prefixes, last)
			continue
		}
		last = key
		obj := s.mu.objects[key].Object
		obj.HasCRC32C, obj.CRC32C = false, 0
		if !s.caps.KeepsAttrInList {
			obj.Attr = backend.Attr{}
		}
		page.Objects = append(page.Objects, obj)
	}
	return page, nil
}
