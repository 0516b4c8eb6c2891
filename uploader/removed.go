package uploader

import (
	"context"
	"errors"
	"strings"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// removals is what the manifest of a unit must declare void: what was removed here and
// stands in the manifest of another node. What was declared before is kept for as long as
// that manifest is there.
func (u *Uploader) removals(ctx context.Context, s *sealedUnit) ([]layout.Removed, error) {
	gone := s.Removed
	before, err := u.c.OwnRemoved(s.Unit)
	if s.Replaces { // the manifests that this spoke of go
		gone, before = s.left, nil
	}
	if err != nil || len(gone) == 0 && len(before) == 0 {
		return nil, err
	}
	others, err := u.manifestsOfOthers(ctx, s.Unit.Path)
	if err != nil {
		return nil, err
	}
	void := map[string]bool{}
	for _, key := range gone {
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
	var keys []string
	err = listAll(ctx, u.store, layout.UnitsPrefix(unit), func(o backend.Object) {
		if of, node, open, ok := layout.ParseUnitKey(o.Key); ok && !open && of == unit && node != u.c.Node() {
			keys = append(keys, o.Key)
		}
	})
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		b, err := readSmall(ctx, u.store, key)
		if errors.Is(err, backend.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		m, err := layout.DecodeManifest(b)
		if err != nil {
			u.log.Warn("manifest of another node cannot be read", "key", key, "err", err)
			continue
		}
		out = append(out, m)
	}
	return out, nil
}
