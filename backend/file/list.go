package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// pageLimit is larger than S3's: each page reads its directories anew.
const pageLimit = 10_000

func (s *Store) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	l := &lister{ctx: ctx, store: s, Pager: backend.NewPager(o, pageLimit)}
	key := l.Start()
	if key != "" && (backend.CheckKey(backend.OpList, key) != nil || reserved(strings.TrimSuffix(key, "/"))) {
		return backend.Page{}, nil // no object can have such a key
	}
	err := ctx.Err()
	if err == nil {
		err = l.enter(s.root, "./"+key, key)
	}
	if err != nil && !errors.Is(err, backend.ErrPageFull) && !missing(err) {
		return backend.Page{}, fail(backend.OpList, o.Prefix, err)
	}
	return l.Page, nil
}

// lister walks the tree in the byte order of its keys and fills a page.
type lister struct {
	*backend.Pager
	ctx   context.Context
	store *Store
}

// enter walks the directory called name in parent, whose keys begin with key.
func (l *lister) enter(parent *os.File, name, key string) error {
	dir, err := openAt(parent, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	if len(names) == 0 && key != "" {
		return l.marker(dir, key)
	}
	for _, name := range names {
		full := key + name
		if l.Skip(full) || l.store.hidden(full) {
			continue
		}
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if err := l.visit(dir, name, full); err != nil && !missing(err) { // gone since
			return err
		}
	}
	return nil
}

func (l *lister) visit(dir *os.File, name, full string) error {
	if !strings.HasSuffix(name, "/") {
		return l.file(dir, name, full)
	}
	if l.Grouped(full) {
		return l.AddPrefix(full)
	}
	return l.enter(dir, name, full)
}

func (l *lister) file(dir *os.File, name, full string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return os.NewSyscallError("fstatat", err)
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFLNK {
		return nil
	}
	return l.Add(object(full, &st))
}

func (l *lister) marker(dir *os.File, key string) error {
	obj, ok, err := describe(dir, key)
	if err != nil || !ok || key <= l.Token || !strings.HasPrefix(key, l.Prefix) {
		return err
	}
	return l.Add(obj)
}

// hidden tells that key is the staging directory, or one that holds nothing else.
func (s *Store) hidden(key string) bool {
	switch {
	case key == stagingDir+"/":
		return true
	case !strings.HasSuffix(key, "/") || !strings.HasPrefix(stagingDir, key):
		return false
	}
	dir, err := s.openDir(key)
	if err != nil {
		return false
	}
	defer dir.Close()
	names, err := readNames(dir)
	for _, name := range names {
		if !s.hidden(key + name) {
			return false
		}
	}
	return err == nil
}

// readNames gives the names in dir, those of directories with a slash, in byte order;
// which is the order of their keys only with the slash.
func readNames(dir *os.File) ([]string, error) {
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := e.Name()
		if e.Type()&fs.ModeDir != 0 {
			name += "/"
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}
