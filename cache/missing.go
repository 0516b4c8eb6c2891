package cache

import (
	"maps"
	"slices"
	"syscall"

	"github.com/trainfs/trainfs/layout"
)

// tellMissing tells of sealed files that are not in the tree any more and that the store does
// not have: somebody has deleted them under tree/ while nothing was mounted. What was deleted
// there and is clean counts as evicted; of what was neither sealed nor committed there is no
// trace to go by.
func (r *recovery) tellMissing() error {
	for unit, s := range r.seals {
		missing, moved, err := r.missingOf(unit, s)
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			r.log.Warn("deleted from the cache directory before it was uploaded: it is lost", "unit", unit,
				"path", missing[0], "files", len(missing))
		} else if !moved {
			continue
		}
		if r.mu.units[unit] != nil || s.Publishing {
			continue // the next seal replaces this one; of what was begun it says all
		}
		if err := r.journal.write(del(tableSeal, unit)); err != nil {
			return err
		}
	}
	return nil
}

// missingOf lists them; moved: some are in the tree under another name.
func (r *recovery) missingOf(unit string, s sealRecord) (missing []string, moved bool, err error) {
	if s.Manifest == nil || len(s.IDs) != len(s.Manifest.Files) || r.buried(unit) {
		return nil, false, nil
	}
	lost := map[string]Identity{}
	for i, f := range s.Manifest.Files {
		p := joinRel(unit, f.Path)
		if f.Type == layout.TypeDir || r.tree.exists(p) || r.buried(p) {
			continue
		}
		var rec fileRecord
		found, err := r.journal.get(tableFile, p, &rec)
		if err != nil {
			return nil, false, err
		}
		if !found { // else it is one that was evicted
			lost[p] = s.IDs[i]
		}
	}
	if len(lost) == 0 {
		return nil, false, nil
	}
	all := len(lost)
	if err := r.strikeMoved(lost); err != nil {
		return nil, false, err
	}
	return slices.Sorted(maps.Keys(lost)), len(lost) < all, nil
}

// strikeMoved drops those that are in the tree under another name: renamed by hand, or through the
// mount before a power cut that took the tombstone and left the rename. They go up from there.
func (r *recovery) strikeMoved(lost map[string]Identity) error {
	return r.tree.walk("", func(_ string, st *syscall.Stat_t) error {
		for p, id := range lost {
			if id == identityOf(st) {
				delete(lost, p)
			}
		}
		return nil
	})
}
