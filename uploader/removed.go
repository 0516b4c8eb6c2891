package uploader

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// removals is what the manifest of a unit must declare void: what was removed here and
// stands in the manifest of another node. What was declared before is kept for as long as
// that manifest is there.
func (u *Uploader) removals(ctx context.Context, s *sealedUnit) ([]layout.Removed, error) {
	before, err := u.c.OwnRemoved(s.Unit)
	if err != nil || s.Replaces || len(s.Removed) == 0 && len(before) == 0 {
		return nil, err // of a directory that replaces another one all manifests go
	}
	others, err := u.manifestsOfOthers(ctx, s.Unit.Path)
	if err != nil {
		return nil, err
	}
	void := map[string]bool{}
	for _, key := range s.Removed {
		void[strings.TrimPrefix(strings.TrimSuffix(key, "/"), s.Unit.Path+"/")] = true
	}
	for _, f := range s.Files {
		delete(void, f.Rel)
	}
	was := layout.RemovalsOf(&layout.Manifest{Removed: before})
	var out []layout.Removed
	for _, m := range others {
		for _, f := range m.Files {
			if f.Path != "" && (void[f.Path] || was.Void(m, f.Path)) {
				out = append(out, layout.Removed{Path: f.Path, Node: m.Node, Sealed: m.Sealed})
			}
		}
	}
	return out, nil
}

// manifestsOfOthers reads what the other nodes have published of a unit. What cannot be
// understood says nothing to anybody.
func (u *Uploader) manifestsOfOthers(ctx context.Context, unit string) (out []*layout.Manifest, err error) {
	for o := (backend.ListOptions{Prefix: layout.UnitsPrefix(unit)}); ; {
		page, err := u.store.List(ctx, o)
		if err != nil {
			return nil, err
		}
		for _, obj := range page.Objects {
			of, node, open, ok := layout.ParseUnitKey(obj.Key)
			if !ok || open || of != unit || node == u.c.Node() {
				continue
			}
			m, err := u.readManifest(ctx, obj.Key)
			if err != nil {
				return nil, err
			}
			if m != nil {
				out = append(out, m)
			}
		}
		if o.Token = page.Token; o.Token == "" {
			return out, nil
		}
	}
}

func (u *Uploader) readManifest(ctx context.Context, key string) (*layout.Manifest, error) {
	body, obj, err := u.store.Get(ctx, key, backend.GetOptions{})
	if errors.Is(err, backend.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer body.Close()
	b, err := io.ReadAll(io.LimitReader(body, min(obj.Size, 64<<20)+1)) // layout refuses what is longer
	if err != nil {
		return nil, err
	}
	m, err := layout.DecodeManifest(b)
	if err != nil {
		u.log.Warn("manifest of another node cannot be read", "key", key, "err", err)
		return nil, nil
	}
	return m, nil
}
