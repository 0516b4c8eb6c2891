package cache

import (
	"context"
	"errors"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// recovery is what one start finds out.
type recovery struct {
	*Cache
	byIno    map[uint64]openEntry
	byName   map[uint64]openEntry
	rebooted bool
	torn     map[string]*tornRecord
	seals    map[string]sealRecord
	unsynced map[uint64]Identity // fetched files that a power cut may have emptied
	dirty    int
}

// recover brings memory in line with what is on disk. It is set subtraction: all
// files of the tree, less those that a clean record speaks of, are dirty; of the
// dirty ones, those that were open at the end are torn, and after a power cut those
// that no seal covers. It changes nothing in the store and may itself be killed at
// any point.
func (c *Cache) recover(ctx context.Context) error {
	table, left, rebooted, err := loadOpenTable(filepath.Join(c.dir, "opens"), c.cfg.BootID)
	if err != nil {
		return err
	}
	c.opens = table
	killpoint.At(killpoint.RecoverOpened)
	r := &recovery{Cache: c, byIno: map[uint64]openEntry{}, byName: map[uint64]openEntry{},
		torn: map[string]*tornRecord{}, seals: map[string]sealRecord{}, unsynced: map[uint64]Identity{}}
	for _, e := range left {
		if e.ino != 0 {
			r.byIno[e.ino] = e
		} else {
			r.byName[e.name] = e
		}
	}
	r.rebooted = rebooted
	for _, step := range []func() error{r.keepFetches, r.loadRecords, r.scan, r.judge, r.loadMoved, r.tellMissing, r.voidTombstones, r.loadTrackers, r.order} {
		if err := step(); err != nil {
			return err
		}
	}
	killpoint.At(killpoint.RecoverScanned)
	var ops []op
	if rebooted { // they are dropped, or are not what was fetched
		for ino := range r.unsynced {
			ops = append(ops, del(tableUnsynced, inodeKey(ino)))
		}
	}
	for unit, t := range r.torn {
		c.mu.torn[unit] = t
		ops = append(ops, put(tableTorn, unit, t))
	}
	for unit, t := range c.mu.torn {
		if torn, _ := c.stillTorn(t); !torn { // written again, and perhaps committed, before the crash
			delete(c.mu.torn, unit)
			ops = append(ops, del(tableTorn, unit))
			continue
		}
		u := c.mu.units[unit]
		if u == nil { // else it is as old as what was found of it
			st, err := c.tree.lstat(unit)
			u = c.touch(unit, err != nil || isDir(&st))
		}
		if u != nil {
			c.tornNow(u)
		}
	}
	if err := errors.Join(r.findStrays(), c.journal.durably(ops...)); err != nil {
		return err
	}
	killpoint.At(killpoint.RecoverTorn)
	c.opens.clear(c.cfg.BootID)
	killpoint.At(killpoint.RecoverCleared)
	if r.dirty > 0 || len(c.mu.torn) > 0 {
		c.log.Info("recovered", "dirty_files", r.dirty, "units", len(c.mu.units), "torn", len(c.mu.torn), "rebooted", r.rebooted)
	}
	return nil
}

func (r *recovery) loadRecords() error {
	top := func(seq uint64) { r.mu.seq = max(r.mu.seq, seq) }
	return errors.Join(
		below(r.journal, tableTomb, "", func(key string, t tombstone) error {
			r.mu.tombs[key] = t
			top(t.Seq)
			return nil
		}),
		below(r.journal, tableTorn, "", func(unit string, t tornRecord) error {
			r.mu.torn[unit] = &t
			return nil
		}),
		below(r.journal, tableSeal, "", func(unit string, s sealRecord) error {
			r.seals[unit] = s
			top(s.Seq)
			return nil
		}),
		below(r.journal, tableUnsynced, "", func(_ string, f fetchedRecord) error {
			if r.unsynced[f.ID.Ino] = f.ID; !r.rebooted {
				r.Cache.unsynced.add(f.Path, f.ID.Ino)
			}
			return nil
		}),
	)
}

// scan walks the tree and makes units of what is dirty.
func (r *recovery) scan() error {
	return r.tree.walk("", func(p string, st *syscall.Stat_t) error {
		if p == "" {
			return nil
		}
		class := r.cfg.Layout.Classify(p, isDir(st))
		if isDir(st) {
			return r.scanDir(p, st, class)
		}
		if st.Nlink > 1 {
			r.linked(st.Ino, p)
		}
		if isRegular(st) {
			r.account(p, st, later(mtimeOf(st), time.Unix(st.Atim.Unix())))
		}
		var rec fileRecord
		found, err := r.journal.get(tableFile, p, &rec)
		if err != nil {
			return err
		}
		open := r.wasOpen(p, st)
		if found && rec.clean(st) {
			if !open {
				if r.rebooted && r.unsynced[st.Ino] == identityOf(st) {
					return r.dropUnsynced(p)
				}
				return nil
			}
			r.distrust(p, st.Ino) // a program may go on writing through a mapping (mapped.go)
		}
		if found && r.rebooted && r.wentBack(&rec, st) {
			return r.dropDamaged(p)
		}
		u := r.unitFor(p, false)
		if u == nil {
			return nil
		}
		r.dirty++
		if !found && !r.buried(p) { // a tombstone is history as well: this node knew what was there
			r.mu.unknown[p] = struct{}{}
		}
		u.gen++
		u.tried = true // for all that is known
		u.members = u.members || p != u.Path
		u.touched, u.found = later(u.touched, mtimeOf(st)), true
		if now := time.Now(); u.touched.After(now) {
			u.touched = now
		}
		if open && canTear(class) {
			r.tear(class.Unit, "was open for writing when trainfs died", p, st.Ino)
		}
		return nil
	})
}

func (r *recovery) scanDir(p string, st *syscall.Stat_t, class layout.Class) error {
	if class.Kind == layout.Checkpoint && class.Unit != p {
		return nil // told by its unit
	}
	var rec dirRecord
	if found, err := r.journal.get(tableDir, p, &rec); err != nil || found {
		return err
	}
	if names, err := r.tree.names(p); err != nil || len(names) > 0 {
		return err
	}
	if u := r.unitFor(p, true); u != nil {
		u.touched, u.found = mtimeOf(st), true
	}
	return nil
}

// wasOpen tells whether the file was open for writing at the end.
func (r *recovery) wasOpen(p string, st *syscall.Stat_t) bool {
	e, ok := r.byIno[st.Ino]
	if !ok {
		if e, ok = r.byName[nameHash(p)]; !ok {
			return false
		}
	}
	return !(e.closing && e.size == st.Size && e.mtime == st.Mtim.Nano())
}

func (r *recovery) tear(unit, why, path string, ino uint64) {
	t := r.torn[unit]
	if t == nil {
		t = newTorn(why)
		if old := r.mu.torn[unit]; old != nil { // torn before, and again
			t.Files, t.Inos = old.Files, old.Inos
		}
		r.torn[unit] = t
	}
	t.Files, t.Inos = append(t.Files, path), append(t.Inos, ino)
}

// order numbers the recovered checkpoints in the order in which they were last written:
// what was closed but not sealed has lost its place, and what was sealed after it must
// not overtake it (P4). The numbers are lower than any that is in the journal, so
// trackers wait for all of them.
func (r *recovery) order() error {
	var list []*Unit
	for _, u := range r.mu.units {
		if u.Class.Kind == layout.Checkpoint && u.state != StateTorn && !u.empty() {
			list = append(list, u)
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].closedBefore(list[j]) })
	for i, u := range list {
		u.seq = uint64(i + 1)
	}
	r.mu.seq = max(r.mu.seq, uint64(len(list)))
	return nil
}

// fits tells whether the files of a unit are those that were sealed.
func (r *recovery) fits(u *Unit, s sealRecord) bool {
	if s.Manifest == nil || len(s.IDs) != len(s.Manifest.Files) {
		return false
	}
	sealed := map[string]Identity{}
	for i, f := range s.Manifest.Files {
		if f.Type != layout.TypeDir {
			sealed[joinRel(u.Path, f.Path)] = s.IDs[i]
		}
	}
	n := 0
	err := r.tree.walk(u.Path, func(p string, st *syscall.Stat_t) error {
		if isDir(st) {
			return nil
		}
		if id, ok := sealed[p]; ok && id == identityOf(st) {
			n++
			return nil
		}
		if r.cfg.Layout.Classify(p, false).Kind == layout.Temporary {
			return nil
		}
		return errors.New("another file")
	})
	return err == nil && n == len(sealed)
}

// voidTombstones drops those whose deletion did not happen, and wakes the units that
// have lost a member.
func (r *recovery) voidTombstones() error {
	var ops []op
	for key, t := range r.mu.tombs {
		path := strings.TrimSuffix(key, "/")
		st, err := r.tree.lstat(path)
		if err == nil {
			var rec fileRecord
			found, err := r.journal.get(tableFile, path, &rec)
			if err != nil {
				return err
			}
			if t.Unit && r.mu.units[path] != nil {
				continue // made again: its commit replaces all that was there
			}
			if t.Unit || isDir(&st) || found && rec.clean(&st) {
				delete(r.mu.tombs, key)
				ops = append(ops, del(tableTomb, key))
			}
			continue
		}
		ops = append(ops, del(tableFile, path))
		class := r.cfg.Layout.Classify(path, false)
		if class.Unit != path && r.tree.exists(class.Unit) {
			r.touch(path, false)
		}
	}
	return r.journal.write(ops...)
}

// loadTrackers gives the versions that wait to their units, and takes one of every
// dirty tracker that has none.
func (r *recovery) loadTrackers() error {
	var drop []op
	err := below(r.journal, tableTracker, "", func(key string, v trackerRecord) error {
		r.mu.seq = max(r.mu.seq, v.Seq)
		if !r.tree.exists(v.Path) {
			drop = append(drop, del(tableTracker, key))
			return nil
		}
		st, err := r.tree.lstat(v.Path)
		if err != nil {
			return err
		}
		var rec fileRecord
		found, err := r.journal.get(tableFile, v.Path, &rec)
		if err != nil {
			return err
		}
		if found && rec.clean(&st) { // overtaken: the store has what came after it
			drop = append(drop, del(tableTracker, key))
			return nil
		}
		u := r.unitFor(v.Path, false)
		if u == nil {
			return nil
		}
		v.kept = true
		u.versions = append(u.versions, &v)
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.journal.write(drop...); err != nil {
		return err
	}
	for _, u := range r.mu.units {
		if u.Class.Kind != layout.Tracker || r.torn[u.Path] != nil {
			continue
		}
		st, err := r.tree.lstat(u.Path)
		if err != nil {
			continue
		}
		if r.rebooted {
			if err := r.restoreTracker(u, &st); err != nil {
				return err
			}
			continue
		}
		if n := len(u.versions); n > 0 && u.versions[n-1].ID == identityOf(&st) {
			continue
		}
		if err := r.snapshotTrackerAt(u.Path); err != nil {
			return err
		}
	}
	return nil
}

func joinRel(unit, rel string) string {
	if rel == "" {
		return unit
	}
	return unit + "/" + rel
}
