package uploader

import (
	"context"
	"strings"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// removeOld deletes the keys of members that are no longer there; and, where the
// directory was deleted and made again, everything that the one before it left.
func (u *Uploader) removeOld(ctx context.Context, s *sealedUnit) error {
	here := make(map[string]bool, len(s.Files))
	for _, f := range s.Files {
		here[f.Path] = true
	}
	old := s.Removed
	if s.Replaces {
		old = s.left
	}
	var keys []string
	for _, key := range old {
		if !here[key] && !(s.Replaces && here[strings.TrimSuffix(key, "/")]) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	return u.store.Delete(ctx, keys...)
}

// leftIn lists what a directory that was deleted and made again may still have of its old self:
// all that is older than the open marker that this node has put since. What is younger other
// nodes have published in the new one. The store's clock judges, and it may count in seconds: of
// what is as old as the marker, that goes which was seen here and deleted.
func (u *Uploader) leftIn(ctx context.Context, s *sealedUnit) (keys []string, err error) {
	if !s.Replaces {
		return nil, nil
	}
	all, err := u.objectsOf(ctx, s.Unit.Path)
	if err != nil {
		return nil, err
	}
	manifest, marker := layout.ManifestKey(s.Unit.Path, u.c.Node()), layout.OpenKey(s.Unit.Path, u.c.Node())
	var since time.Time
	for _, o := range all {
		if o.Key == marker {
			since = o.Modified
		}
	}
	if since.IsZero() {
		u.c.Marked(s.Unit, false) // another node has deleted the directory, too: with a new marker, again
		return nil, cache.ErrReopened
	}
	seen := make(map[string]bool, len(s.Removed))
	for _, key := range s.Removed {
		seen[key] = true
	}
	for _, o := range all {
		if o.Key != manifest && o.Key != marker && (o.Modified.Before(since) || seen[o.Key] && o.Modified.Equal(since)) {
			keys = append(keys, o.Key)
		}
	}
	return keys, nil
}

// everythingOf lists the keys of a checkpoint directory, then of its manifests and markers.
func (u *Uploader) everythingOf(ctx context.Context, unit string) (keys []string, err error) {
	all, err := u.objectsOf(ctx, unit)
	for _, o := range all {
		keys = append(keys, o.Key)
	}
	return keys, err
}

func (u *Uploader) objectsOf(ctx context.Context, unit string) (all []backend.Object, err error) {
	for _, prefix := range []string{unit + "/", layout.UnitsPrefix(unit)} {
		err := listAll(ctx, u.store, prefix, func(o backend.Object) {
			if _, node, ok := layout.ParseDeletedKey(o.Key); !ok || node == u.c.Node() { // what others are told is theirs
				all = append(all, o)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
