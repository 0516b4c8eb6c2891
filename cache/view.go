package cache

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// unitView is a checkpoint directory as the store has it: the objects, and what the
// manifests of the nodes that published them say.
type unitView struct {
	entries map[string]remoteEntry // by path below the unit; "" is the unit
	visible bool                   // complete, or this node writes there
	at      time.Time
	cost    time.Duration
	commits uint64 // names.commits when the look began
}

// unitMarks is what lies under .trainfs/ for one checkpoint directory.
type unitMarks struct {
	open      []string         // nodes that are writing, or deleting
	manifests []backend.Object // one a node
}

func (m *unitMarks) foreignOpen(node string) bool {
	for _, o := range m.open {
		if o != node {
			return true
		}
	}
	return false
}

// same tells that nothing was published or begun between two looks.
func (m *unitMarks) same(o *unitMarks) bool {
	if m == nil || o == nil {
		return m == o
	}
	if len(m.open) != len(o.open) || len(m.manifests) != len(o.manifests) {
		return false
	}
	for i := range m.manifests {
		if m.manifests[i].Key != o.manifests[i].Key || m.manifests[i].ETag != o.manifests[i].ETag {
			return false
		}
	}
	return true
}

// marks lists the markers and manifests of all checkpoint directories at and below
// dir.
func (n *names) marks(ctx context.Context, dir string) (map[string]*unitMarks, error) {
	out := map[string]*unitMarks{}
	err := n.pages(ctx, backend.ListOptions{Prefix: layout.UnitsPrefix(dir)}, func(p backend.Page) {
		for _, o := range p.Objects {
			unit, node, open, ok := layout.ParseUnitKey(o.Key)
			if !ok {
				continue
			}
			m := out[unit]
			if m == nil {
				m = &unitMarks{}
				out[unit] = m
			}
			if open {
				m.open = append(m.open, node)
			} else {
				m.manifests = append(m.manifests, o)
			}
		}
	})
	return out, err
}

// member finds a path in (or the directory of) a checkpoint. While another node
// writes there and this one does not, there is nothing to be found.
func (n *names) member(ctx context.Context, unit, path string) (remoteEntry, error) {
	v, err := n.view(ctx, unit)
	if err != nil && path != unit && n.c.owns(unit) { // committed just now, renamed in the outage, or the daemon was started in it
		return n.whileOffline(parent(path), base(path), err)
	}
	if err != nil {
		return remoteEntry{}, err
	}
	e, ok := v.entries[strings.TrimPrefix(strings.TrimPrefix(path, unit), "/")]
	if !ok || !v.visible {
		return remoteEntry{}, fs.ErrNotExist
	}
	return e, nil
}

func (n *names) view(ctx context.Context, unit string) (*unitView, error) {
	n.mu.Lock()
	v := n.views[unit]
	n.mu.Unlock()
	if v != nil && time.Since(v.at) < n.keeps(unit, v) {
		return v, nil
	}
	got, err := n.share("view "+unit, func(got any) time.Duration { return n.keeps(unit, got.(*unitView)) }, func() (any, error) { return n.look(ctx, unit) })
	if errors.Is(err, context.Canceled) && ctx.Err() == nil {
		return n.view(ctx, unit)
	}
	if err != nil {
		if errors.Is(err, errOffline) && v != nil {
			return v, nil
		}
		return nil, err
	}
	return got.(*unitView), nil
}

// keeps is for how long a view of a unit may be used.
func (n *names) keeps(unit string, v *unitView) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	d := n.dirs[unit]
	switch {
	case !v.visible:
		return 0
	case d != nil && time.Since(d.creating) < creatingFor:
		return n.c.cfg.whileCreating(v.cost)
	}
	return n.c.cfg.ListTTL
}

// refresh forgets the view of a unit: what it said was found wrong.
func (n *names) refresh(unit string) {
	n.mu.Lock()
	delete(n.views, unit)
	n.mu.Unlock()
}

// findAnew is find with nothing from memory of that path.
func (n *names) findAnew(ctx context.Context, path string) (remoteEntry, error) {
	n.refresh(n.c.unitPath(path))
	n.forget(path)
	return n.findWith(ctx, path, true)
}

// look reads a checkpoint directory so that what it returns existed at one moment: the
// marks are read before and, unless the objects are just those of the manifests,
// again after the objects.
func (n *names) look(ctx context.Context, unit string) (*unitView, error) {
	start, end := n.began()
	defer end()
	n.mu.Lock()
	commits := n.commits
	n.mu.Unlock()
	for try := 0; ; try++ {
		all, err := n.marks(ctx, unit)
		if err != nil {
			return nil, err
		}
		m := all[unit]
		if m == nil {
			m = &unitMarks{}
		}
		v := &unitView{entries: map[string]remoteEntry{}, at: start, commits: commits, visible: !m.foreignOpen(n.c.node.Node) || n.c.owns(unit)}
		if v.visible {
			exact, err := n.readUnit(ctx, unit, m, v)
			if err != nil {
				return nil, err
			}
			if !exact && try < 5 {
				again, err := n.marks(ctx, unit)
				if err != nil {
					return nil, err
				}
				if now := again[unit]; now != nil && !now.same(m) || now == nil && len(m.manifests) > 0 {
					continue // somebody published meanwhile
				}
			}
		}
		v.cost = time.Since(start)
		n.mu.Lock()
		n.gone.without(unit, v.entries)
		if n.commits == commits {
			n.views[unit] = v
		}
		n.mu.Unlock()
		return v, nil
	}
}

// readUnit fills a view. exact: the objects are just what the manifests name.
func (n *names) readUnit(ctx context.Context, unit string, m *unitMarks, v *unitView) (exact bool, err error) {
	var objects []backend.Object
	manifests := make([]*layout.Manifest, len(m.manifests))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	g.Go(func() error {
		return n.pages(gctx, backend.ListOptions{Prefix: unit + "/"}, func(p backend.Page) {
			objects = append(objects, p.Objects...)
		})
	})
	for i, o := range m.manifests {
		g.Go(func() (err error) {
			manifests[i], err = n.manifest(gctx, o)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	put := make([]time.Time, len(m.manifests))
	for i, o := range m.manifests {
		put[i] = o.Modified
	}
	said := layout.Said(manifests, put)
	exact = true
	for _, o := range objects {
		rel, ok := strings.CutPrefix(o.Key, unit+"/")
		if !ok {
			continue // not what was asked for
		}
		marker := strings.HasSuffix(rel, "/") || rel == ""
		rel = strings.TrimSuffix(rel, "/")
		if rel != "" && !n.possible(o.Key, rel) {
			continue
		}
		n.addParents(v, rel)
		e := entryOf(o, v.at)
		e.dir = e.dir || marker
		if f := said[rel]; f != nil && f.Type != layout.TypeDir && !e.dir {
			if f.Size == o.Size {
				e.file = f
			} else {
				exact = false
			}
			delete(said, rel)
		} else if !e.dir {
			exact = false // another tool's, or of a commit that has begun since the marks were read
		}
		v.entries[rel] = e
	}
	for rel, f := range said {
		if f.Type != layout.TypeDir {
			exact = false // named, but not there
			continue
		}
		n.addParents(v, rel)
		d := dirEntryAt(v.at)
		d.file = f
		v.entries[rel] = d
	}
	if len(objects) > 0 || len(m.manifests) > 0 {
		if _, ok := v.entries[""]; !ok {
			v.entries[""] = dirEntryAt(v.at)
		}
	}
	return exact, nil
}

func (n *names) addParents(v *unitView, rel string) {
	for rel != "" {
		rel = parent(rel)
		if _, ok := v.entries[rel]; ok {
			return
		}
		v.entries[rel] = dirEntryAt(v.at)
	}
}

// manifest reads one manifest; nil if it has gone meanwhile.
func (n *names) manifest(ctx context.Context, o backend.Object) (*layout.Manifest, error) {
	const most = 64 << 20
	var b []byte
	err := n.ask(ctx, func(ctx context.Context) error {
		r, _, err := n.c.cfg.Store.Get(ctx, o.Key, backend.GetOptions{})
		if err != nil {
			return err
		}
		defer r.Close()
		b, err = io.ReadAll(io.LimitReader(r, most))
		return err
	})
	if errors.Is(err, backend.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := layout.DecodeManifest(b)
	if err != nil {
		n.c.log.Error("manifest cannot be used; its files are shown without its checksums", "key", o.Key, "err", err)
		return nil, nil
	}
	return m, nil
}

// holdsFiles tells whether the last look at a checkpoint has found anything but
// directories at or below dir that is not to be deleted.
func (n *names) holdsFiles(unit, dir string) bool {
	n.mu.Lock()
	v := n.views[unit]
	n.mu.Unlock()
	if v == nil {
		return true
	}
	for rel, e := range v.entries {
		if p := joinRel(unit, rel); !e.dir && under(p, dir) && !n.c.buried(p) {
			return true
		}
	}
	return false
}

// children lists the direct children of dir in a view.
func (v *unitView) children(rel string) nameSet {
	var out nameSet
	for p, e := range v.entries {
		if p != "" && parent(p) == rel {
			out.set(base(p), e)
		}
	}
	return out
}
