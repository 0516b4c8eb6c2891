package cache

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// silentStore is a store of which nobody may ask anything.
type silentStore struct{ backend.Store }

// hostileStore says what the fuzzer wants, whatever it is asked.
type hostileStore struct {
	backend.Store
	pages    [][]string // a line is a key, and after a tab its size
	manifest string
}

func (s *hostileStore) List(_ context.Context, o backend.ListOptions) (p backend.Page, err error) {
	i := 0
	fmt.Sscan(o.Token, &i)
	if i < 0 || i >= len(s.pages) {
		return p, nil
	}
	for _, line := range s.pages[i] {
		key, size, _ := strings.Cut(line, "\t")
		if o.Shallow && strings.HasSuffix(key, "/") {
			p.Prefixes = append(p.Prefixes, key)
			continue
		}
		obj := backend.Object{Key: key, ETag: "x"}
		fmt.Sscan(size, &obj.Size)
		p.Objects = append(p.Objects, obj)
	}
	if i+1 < len(s.pages) {
		p.Token = fmt.Sprint(i + 1)
	}
	return p, nil
}

func (s *hostileStore) Head(_ context.Context, key string) (backend.Object, error) {
	for _, page := range s.pages {
		for _, line := range page {
			if k, size, _ := strings.Cut(line, "\t"); k == key {
				obj := backend.Object{Key: key, ETag: "x"}
				fmt.Sscan(size, &obj.Size)
				return obj, nil
			}
		}
	}
	return backend.Object{}, backend.ErrNotExist
}

// Get is honest about how much there is: what ends early is asked for again, and that takes time.
func (s *hostileStore) Get(ctx context.Context, key string, o backend.GetOptions) (io.ReadCloser, backend.Object, error) {
	obj, err := s.Head(ctx, key)
	if err == nil && (obj.Size < 0 || obj.Size > 64<<10) {
		err = backend.ErrDenied
	}
	if err != nil {
		return nil, obj, err
	}
	body := s.manifest
	if o.Length > 0 || o.ETag != "" { // of a file; a manifest comes as it is
		body += strings.Repeat("x", int(obj.Size))
		body = body[min(o.Offset, obj.Size):obj.Size]
	}
	return io.NopCloser(strings.NewReader(body)), obj, nil
}

func (s *hostileStore) Capabilities() backend.Capabilities { return backend.Capabilities{} }

// A store may list what it likes, in any order and as often as it likes: what a mount shows are
// names of files, each once, none of trainfs's own, none with a size that no file has.
func FuzzListing(f *testing.F) {
	f.Add("run/\na.txt\t5\n..\t1\n.trainfs/\n.trainfs/v1/units/run/checkpoint_1/n.json\t2", "{}")
	f.Add("run/checkpoint_1/f\t5\frun/checkpoint_1/f/g\t-1\nrun/checkpoint_1/\n.trainfs/v1/units/run/checkpoint_1/n2.json\t9",
		`{"version":1,"unit":"run/checkpoint_1","node":"n2","files":[{"path":"","type":"dir"},{"path":"f","type":"file","size":5},{"path":"d/e","type":"dir"},{"path":"l","type":"symlink","target":"../../x"}]}`)
	f.Add("a\na/\na/b\t9223372036854775807\n/a\n//\n/\n\nrun//x\na/../../b", "")
	f.Add(".trainfs/v1/units/run/checkpoint_1/n2.open\nrun/checkpoint_1/f\nlatest\t3\x00", "checkpoint_1")
	f.Add("neg\t-5\nrun/checkpoint_1/neg\t-5\nrun/neg\t-5\nrun/checkpoint_1/", "")
	f.Add("huge\t9223372036854775807\nlarge\t4611686018427387904", "12345")
	f.Add("f\t5\ng\t4\nrun/checkpoint_1/h\t5\nrun/checkpoint_1/", "12345")
	f.Add("b\na\nb\na\fa\nc", "")
	s := &hostileStore{}
	b := newFuzzCache(f, s)
	f.Fuzz(func(t *testing.T, listing, manifest string) {
		if len(listing) > 64<<10 {
			return
		}
		s.pages, s.manifest = nil, manifest
		for page := range strings.SplitSeq(listing, "\f") {
			s.pages = append(s.pages, strings.Split(page, "\n"))
		}
		c := b.fresh(t)
		if err := c.recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		walkHostile(t, c, "", &looks{names: 50, opens: 2})
	})
}

// looks are how many more names are looked at, and files opened.
type looks struct{ names, opens int }

func walkHostile(t *testing.T, c *Cache, dir string, left *looks) {
	ctx := context.Background()
	list, err := c.ReadDir(ctx, dir)
	if err != nil {
		return
	}
	seen := map[string]bool{}
	for _, e := range list {
		path := join(dir, e.Name)
		if layout.CheckPath(e.Name) != nil || strings.Contains(e.Name, "/") || seen[e.Name] || path+"/" == layout.Prefix {
			t.Errorf("%q lists %q", dir, e.Name)
		}
		seen[e.Name] = true
		if left.names--; left.names < 0 {
			return
		}
		info, err := c.Lookup(ctx, path)
		if err != nil {
			continue
		}
		if info.Size < 0 {
			t.Errorf("%q has %d bytes", path, info.Size)
		}
		if isDir(&info.Stat_t) {
			walkHostile(t, c, path, left)
		} else if left.opens--; left.opens >= 0 {
			readHostile(c, path)
		}
	}
}

// readHostile must end, and not panic.
func readHostile(c *Cache, path string) {
	ctx := context.Background()
	h, err := c.Open(ctx, path, 0)
	if err != nil {
		return
	}
	_, _ = h.ReadAt(ctx, make([]byte, 10), 0)
	h.File().Close()
	h.Released()
}
