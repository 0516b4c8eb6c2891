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
	if o.Limit <= 0 || o.Limit > pageLimit {
		o.Limit = pageLimit
	}
	// The walk starts at the deepest directory that the prefix names whole.
	key := o.Prefix[:strings.LastIndexByte(o.Prefix, '/')+1]
	if key != "" && (backend.CheckKey(backend.OpList, key) != nil || reserved(strings.TrimSuffix(key, "/"))) {
		return backend.Page{}, nil // no object can have such a key
	}
	page, err := call(ctx, s, func(c *hdfs.Client) (backend.Page, error) {
		w := &walk{ListOptions: o, ctx: ctx, s: s, c: c}
		err := w.enter(key)
		if errors.Is(err, errFull) || missing(err) || exceptions[exceptionOf(err)] == backend.ErrInvalidKey {
			err = nil
		}
		return w.page, err
	})
	if err != nil {
		return backend.Page{}, fail(backend.OpList, o.Prefix, err)
	}
	return page, nil
}

// errFull ends a walk when the page is full and there is more.
var errFull = errors.New("page is full")

// walk goes through directories in the byte order of their keys, and fills a page.
type walk struct {
	backend.ListOptions
	ctx  context.Context
	s    *Store
	c    *hdfs.Client
	page backend.Page
	last string
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
		if !strings.HasPrefix(e.key, w.Prefix) || w.before(e.key) || w.hidden(e.key) {
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
		if err := w.room(e.key); err != nil {
			return err
		}
		w.page.Objects = append(w.page.Objects, listed(e.key, e.FileInfo))
	case !w.grouped(e.key):
		return w.enter(e.key)
	default:
		if err := w.room(e.key); err != nil {
			return err
		}
		w.page.Prefixes = append(w.page.Prefixes, e.key)
	}
	return nil
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
	if err == nil {
		err = w.room(dir)
	}
	if err != nil {
		return err
	}
	obj.Attr = backend.Attr{}
	w.page.Objects = append(w.page.Objects, obj)
	return nil
}

// room makes a place on the page for key, or sets the token for the next page.
func (w *walk) room(key string) error {
	if len(w.page.Objects)+len(w.page.Prefixes) == w.Limit {
		w.page.Token = w.last
		return errFull
	}
	w.last = key
	return nil
}

// before tells that key, and all below it, was on an earlier page.
func (w *walk) before(key string) bool {
	return key <= w.Token && (w.grouped(key) || !strings.HasPrefix(w.Token, key))
}

// grouped tells that key is reported alone.
func (w *walk) grouped(key string) bool {
	return !strings.HasSuffix(key, "/") || w.Shallow && key != w.Prefix
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
