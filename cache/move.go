package cache

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/trainfs/trainfs/layout"
)

// move is what a rename writes to the journal beside the tree.
type move struct {
	tombs  []string // planted before
	before []op     // written before the tree changes
	finish []op     // written after
	moved  map[string]movedRecord
}

// startMove keeps deletions back until the returned func is called: between the tombstones
// of a rename and the registration of its new units, nothing says that the old keys are
// still needed.
func (c *Cache) startMove() (done func()) {
	c.mu.Lock()
	c.mu.moving++
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		c.mu.moving--
		c.mu.Unlock()
		c.poke()
	}
}

// plantMove writes the tombstones and copy hints of a rename.
func (c *Cache) plantMove(old, new string, dir uint64, remote map[string]remoteEntry) (*move, error) {
	m := &move{}
	if dir != 0 {
		c.mu.Lock()
		i := renameIntent{Seq: c.nextSeq(), Old: old, New: new, Ino: dir}
		c.mu.Unlock()
		m.before = append(m.before, put(tableIntent, old, i))
		m.finish = append(m.finish, del(tableIntent, old))
	}
	planted := map[string]tombstone{}
	bury := func(key string, t tombstone) {
		c.mu.Lock()
		t = c.numbered(key, t)
		c.mu.Unlock()
		planted[key] = t
		m.tombs = append(m.tombs, key)
		m.before = append(m.before, put(tableTomb, key, t))
	}
	c.plantMoved(m, old, new, remote, bury)
	up, err := c.goingUp(old) // before the records are read, as in mayBeRemote
	if err != nil {
		return nil, err
	}
	err = below(c.journal, tableFile, old, func(key string, r fileRecord) error {
		to := new + key[len(old):]
		if _, ok := remote[key]; ok {
			m.finish = append(m.finish, del(tableFile, key))
			return nil
		}
		bury(key, tombstone{After: to})
		m.before = append(m.before, put(tableHint, to, copyHint{r.ID, key, r.ETag, r.CRC32C}))
		m.finish = append(m.finish, del(tableFile, key))
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = below(c.journal, tableDir, old, func(key string, r dirRecord) error {
		if class := c.cfg.Layout.Classify(key, true); class.Kind != layout.Checkpoint || class.Unit != key {
			bury(key+"/", tombstone{After: new + key[len(old):]})
		}
		m.finish = append(m.finish, del(tableDir, key))
		return nil
	})
	if err != nil {
		return nil, err
	}
	stale, err := c.replaced(old, new)
	if err != nil {
		return nil, err
	}
	m.finish = append(m.finish, stale...)
	for _, p := range up {
		key := p
		if c.dirMayBeUp(p) {
			key += "/"
		}
		if _, ok := planted[key]; !ok {
			bury(key, tombstone{After: new + p[len(old):]})
		}
	}
	for _, unit := range c.remoteUnits(old, remote, up) {
		if _, ok := planted[unit]; !ok { // else it is one file, sealed and not committed
			bury(unit, tombstone{Unit: true, After: new + unit[len(old):]})
		}
	}
	if dir != 0 && len(m.before) == 1 && len(m.finish) == 1 {
		m.before, m.finish = nil, nil // nothing of it was ever in the store: the tree alone says it
	}
	if err := c.journal.write(m.before...); err != nil {
		return nil, err
	}
	c.mu.Lock()
	for key, t := range planted {
		c.mu.tombs[key] = t
	}
	c.mu.Unlock()
	return m, nil
}

// replaced takes from the records at and below new what they say of files that are not
// there any more, or will not be: evicted ones, or ones that another node has moved away.
// Of an evicted file everything can come back, the inode number too, with a file that is
// renamed there; it would count as committed. That this node knows the history remains.
func (c *Cache) replaced(old, new string) (ops []op, err error) {
	err = below(c.journal, tableFile, new, func(key string, r fileRecord) error {
		if key != new && !c.tree.exists(old+key[len(new):]) {
			ops = append(ops, del(tableFile, key))
			return nil
		}
		r.ID = Identity{}
		ops = append(ops, put(tableFile, key, r))
		return nil
	})
	return ops, err
}

// goingUp are the local files and empty directories at and below path that may be in the store
// though no record says so.
func (c *Cache) goingUp(path string) (out []string, err error) {
	err = c.tree.walk(path, func(p string, st *syscall.Stat_t) error {
		up := isDir(st) && c.dirMayBeUp(p)
		if !isDir(st) {
			c.mu.Lock()
			up = c.mayBeUp(p)
			c.mu.Unlock()
		}
		if up {
			out = append(out, p)
		}
		return nil
	})
	if isNotExist(err) { // a file that is only in the store
		err = nil
	}
	return out, err
}

// remoteUnits are the checkpoint directories at and below path of which anything may
// be in the store.
func (c *Cache) remoteUnits(path string, remote map[string]remoteEntry, up []string) []string {
	set := map[string]bool{}
	member := func(p string) {
		if class := c.cfg.Layout.Classify(p, false); class.Kind == layout.Checkpoint && class.Unit != p && under(class.Unit, path) {
			set[class.Unit] = true
		}
	}
	for p := range remote {
		member(p)
	}
	for _, p := range up {
		member(p)
	}
	for _, table := range []string{tableOpen, tableOwn, tableSeal} {
		below(c.journal, table, path, func(unit string, _ struct{}) error {
			set[unit] = true
			return nil
		})
	}
	below(c.journal, tableFile, path, func(key string, _ struct{}) error {
		member(key)
		return nil
	})
	out := make([]string, 0, len(set))
	for unit := range set {
		out = append(out, unit)
	}
	return out
}

// undoMove takes back the tombstones of a rename that did not happen.
func (c *Cache) undoMove(m *move) {
	var ops []op
	c.mu.Lock()
	for _, key := range m.tombs {
		delete(c.mu.tombs, key)
		ops = append(ops, del(tableTomb, key))
	}
	for to := range m.moved {
		ops = append(ops, del(tableMoved, to))
	}
	for _, o := range m.finish {
		if strings.HasPrefix(o.key, tableIntent) {
			ops = append(ops, o)
		}
	}
	c.mu.Unlock()
	if err := c.journal.write(ops...); err != nil {
		c.log.Error("tombstones of a failed rename stay; they are void", "err", err)
	}
}

// moved re-attaches what is in memory after the tree has changed.
func (c *Cache) moved(m *move, old, new string, dir bool, ino uint64) error {
	c.idents.move(old, new)
	c.names.forget(old)
	c.names.forget(new)
	var ops []op
	for to := range m.moved {
		if c.tree.exists(to) { // fetched since we looked, and renamed with its directory
			delete(m.moved, to)
			ops = append(ops, del(tableMoved, to))
		}
	}
	c.mu.Lock()
	c.forget(old)
	for _, p := range c.movedBelow(new) { // replaced
		if _, ok := m.moved[p]; !ok {
			ops = append(ops, del(tableMoved, p))
		}
		delete(c.mu.moved, p)
	}
	for _, p := range c.movedBelow(old) {
		delete(c.mu.moved, p)
	}
	for to, r := range m.moved {
		c.mu.moved[to] = r
		c.touch(to, false)
	}
	if !dir {
		c.unlinked(ino, old)
	}
	if !dir {
		c.orphan(new, func(open uint64) bool { return open != ino })
	}
	for h := range c.mu.handles {
		if p := h.Path(); under(p, old) {
			h.move(new + p[len(old):])
		}
	}
	c.unaccount(old)
	c.unaccount(new)
	for p, rec := range c.mu.torn { // a torn unit stays torn under any name
		if !under(p, old) {
			continue
		}
		delete(c.mu.torn, p)
		for i, f := range rec.Files {
			rec.Files[i] = new + f[len(old):]
		}
		to := new + p[len(old):]
		c.mu.torn[to] = rec
		ops = append(ops, del(tableTorn, p), put(tableTorn, to, rec))
	}
	for key, t := range c.mu.tombs {
		if t.After != "" && under(t.After, old) {
			t.After = new + t.After[len(old):]
			c.mu.tombs[key] = t
			ops = append(ops, put(tableTomb, key, t))
		}
	}
	c.recountWriters()
	if unit := c.cfg.Layout.Classify(old, dir).Unit; unit != old && c.mu.units[unit] != nil {
		c.shrink(old) // a member was moved out
	}
	c.mu.Unlock()
	c.accountTree(new)
	return errors.Join(c.journal.write(ops...), c.adopt(new))
}

// move says that the file has another name. Callers hold mu.
func (h *Handle) move(to string) {
	h.c.closedAs(h.Path())
	h.c.mu.opened[to]++
	h.path.Store(&to)
}

// closedAs counts an open file of that name less. Callers hold mu.
func (c *Cache) closedAs(path string) {
	if c.mu.opened[path]--; c.mu.opened[path] <= 0 {
		delete(c.mu.opened, path)
	}
}

// recountWriters makes the counts of open files fit the handles' paths. Callers
// hold mu.
func (c *Cache) recountWriters() {
	clear(c.mu.writers)
	for _, u := range c.mu.units {
		u.writers = 0
	}
	for h := range c.mu.handles {
		p := h.Path()
		c.mu.writers[p]++
		if u := c.unitFor(p, false); u != nil {
			if u.writers++; u.touched.IsZero() {
				u.touchNow()
			}
		}
	}
}

// adopt makes units of all that is dirty at and below path, after a rename brought
// it there.
func (c *Cache) adopt(path string) error {
	var trackers []string
	err := c.tree.walk(path, func(p string, st *syscall.Stat_t) error {
		class := c.cfg.Layout.Classify(p, isDir(st))
		switch {
		case class.Kind == layout.Temporary && isDir(st):
			return fs.SkipDir
		case class.Kind == layout.Tracker && !isDir(st):
			trackers = append(trackers, p)
		}
		c.mu.Lock()
		if u := c.touch(p, isDir(st)); u != nil && class.Kind == layout.Checkpoint && !isDir(st) {
			c.mu.closed[p] = u.touched
		}
		c.mu.Unlock()
		return nil
	})
	if err != nil && !isNotExist(err) { // a file that is only in the store is not in the tree
		return err
	}
	for _, p := range trackers {
		if err := c.snapshotTrackerAt(p); err != nil {
			return err
		}
	}
	st, err := c.tree.lstat(path)
	dir := err == nil && isDir(&st)
	if unit, ok := c.cfg.Layout.Closes(path, dir, layout.RenamedIn); ok {
		c.signal(unit)
	}
	c.poke()
	return nil
}
