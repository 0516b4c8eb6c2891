package hdfs

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend"
)

// pageLimit is larger than that of other stores: each page reads its directories anew.
const pageLimit = 10_000

func (s *Store) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	if err := ctx.Err(); err != nil {
		return backend.Page{}, &backend.Error{Op: backend.OpList, Key: o.Prefix, Err: err}
	}
	pager := backend.NewPager(o, pageLimit)
	key := pager.Start()
	if key != "" && (backend.CheckKey(backend.OpList, key) != nil || reserved(strings.TrimSuffix(key, "/"))) {
		return backend.Page{}, nil // no object can have such a key
	}
	page, err := call(ctx, s, func(c *hdfs.Client) (backend.Page, error) {
		w := &walk{Pager: pager, ctx: ctx, s: s, c: c}
		err := w.enter(key)
		if errors.Is(err, backend.ErrPageFull) || missing(err) || exceptions[exceptionOf(err)] == backend.ErrInvalidKey {
			err = nil
		}
		return w.Page, err
	})
	if err != nil {
		return backend.Page{}, fail(backend.OpList, o.Prefix, err)
	}
	return page, nil
}

// walk goes through directories in the byte order of their keys, and fills a page.
type walk struct {
	*backend.Pager
	ctx context.Context
	s   *Store
	c   *hdfs.Client
}

type entry struct {
	key string // of a directory with its slash
	os.FileInfo
}

// entries gives what is in a directory, in the order of keys.
func (w *walk) entries(dir string) ([]entry, error) {
	infos, err := w.c.ReadDir(w.s.path(dir))
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(infos))
	for _, info := range infos {
		e := entry{dir + keyName(info.Name()), info}
		if info.IsDir() {
			e.key += "/"
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

func (w *walk) enter(dir string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	info, err := w.c.Stat(w.s.path(dir))
	if err != nil || !info.IsDir() {
		return err
	}
	entries, err := w.entries(dir)
	if err != nil {
		return err
	}
	if len(entries) == 0 && dir != "" {
		return w.marker(dir)
	}
	for _, e := range entries {
		if w.Skip(e.key) || w.hidden(e.key) {
			continue
		}
		if err := w.visit(e); err != nil && !missing(err) { // gone since
			return err
		}
	}
	return nil
}

func (w *walk) visit(e entry) error {
	switch {
	case !e.IsDir():
		return w.Add(listed(e.key, e.FileInfo))
	case w.Grouped(e.key):
		return w.AddPrefix(e.key)
	}
	return w.enter(e.key)
}

// marker lists a directory that is empty, and there by itself.
func (w *walk) marker(dir string) error {
	if dir <= w.Token || !strings.HasPrefix(dir, w.Prefix) {
		return nil
	}
	obj, err := w.s.describe(w.c, dir)
	if errors.Is(err, backend.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	obj.Attr = backend.Attr{}
	return w.Add(obj)
}

// hidden tells that key is the staging directory, or one that holds nothing else.
func (w *walk) hidden(key string) bool {
	switch {
	case key == stagingDir+"/":
		return true
	case !strings.HasSuffix(key, "/") || !strings.HasPrefix(stagingDir, key):
		return false
	}
	entries, err := w.entries(key)
	for _, e := range entries {
		if !w.hidden(e.key) {
			return false
		}
	}
	return err == nil
}
