package uploader

import (
	"context"
	"errors"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// overtaken finds what this commit would leave as it is in the store, and what is not that
// any more: another node has replaced or deleted it since this one has looked. The manifest
// would be the newest, and say of another node's bytes what this node's were. Such members
// are given up, and the unit is looked at again: ErrReopened.
//
// It costs one listing, and only commits that keep something. What another node publishes
// between the listing and the manifest is not seen.
func (u *Uploader) overtaken(ctx context.Context, s *sealedUnit) error {
	kept := map[string]*plan{}
	for _, p := range s.plans {
		if p.how == keep && p.Known && p.Type != layout.TypeDir {
			kept[p.Path] = p
		}
	}
	if len(kept) == 0 {
		return nil
	}
	err := listAll(ctx, u.store, s.Unit.Path+"/", func(o backend.Object) {
		if p := kept[o.Key]; p != nil && o.ETag == p.ETag {
			delete(kept, o.Key)
		}
	})
	if err != nil || len(kept) == 0 {
		return err
	}
	for path, p := range kept {
		obj, err := u.store.Head(ctx, path)
		switch {
		case err == nil && obj.ETag == p.ETag:
			delete(kept, path)
		case err != nil && !errors.Is(err, backend.ErrNotExist):
			return err
		}
	}
	if len(kept) == 0 {
		return nil
	}
	for path, p := range kept {
		u.log.Info("another node has replaced or deleted it", "unit", s.Unit.Path, "path", path)
		if err := u.c.Overtaken(path, p.ID); err != nil {
			return err
		}
	}
	return cache.ErrReopened
}
