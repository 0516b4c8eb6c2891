package cache

import (
	"fmt"
	"strings"
	"time"

	"github.com/trainfs/trainfs/layout"
)

// canTear tells whether half of a file of this kind would mislead a reader. Logs and
// other artifacts go up as they are: that is what a local disk would have kept.
func canTear(class layout.Class) bool {
	return class.Kind == layout.Checkpoint || class.Kind == layout.Tracker
}

// stillTorn tells whether any of the files that a crash found half written is still
// the same file, and why.
func (c *Cache) stillTorn(t *tornRecord) (bool, string) {
	var names []string
	for i, p := range t.Files {
		if st, err := c.tree.lstat(p); err == nil && st.Ino == t.Inos[i] {
			names = append(names, base(p))
		}
	}
	if len(names) == 0 {
		return false, ""
	}
	more := ""
	if len(names) > 5 {
		names, more = names[:5], fmt.Sprintf(" and %d more", len(names)-5)
	}
	return true, t.Why + ": " + strings.Join(names, ", ") + more
}

// rewritten says that path was truncated, so that nothing of what a crash left in it
// remains.
func (c *Cache) rewritten(path string) {
	unit := c.cfg.Layout.Classify(path, false).Unit
	c.mu.Lock()
	t := c.mu.torn[unit]
	if t == nil {
		c.mu.Unlock()
		return
	}
	kept := &tornRecord{Since: t.Since, Why: t.Why}
	for i, p := range t.Files {
		if p != path {
			kept.Files, kept.Inos = append(kept.Files, p), append(kept.Inos, t.Inos[i])
		}
	}
	c.mu.torn[unit] = kept
	c.mu.Unlock()
	if err := c.journal.write(put(tableTorn, unit, kept)); err != nil {
		c.log.Error("a torn file was rewritten, but that cannot be recorded", "path", path, "err", err)
	}
}

// abandoned marks a file of a checkpoint whose last writer was killed with the file open:
// it is as half as one that a crash of the daemon finds.
func (c *Cache) abandoned(path string, ino uint64) {
	class := c.cfg.Layout.Classify(path, false)
	st, err := c.tree.lstat(path)
	if err != nil || st.Ino != ino || !canTear(class) || !c.goesUp(class) {
		return
	}
	c.mu.Lock()
	t := newTorn("was open for writing when its program was killed")
	if old := c.mu.torn[class.Unit]; old != nil {
		t.Files, t.Inos = old.Files, old.Inos
	}
	t.Files, t.Inos = append(t.Files, path), append(t.Inos, ino)
	c.mu.torn[class.Unit] = t
	c.mu.Unlock()
	c.log.Warn("a program was killed while it was writing: not uploaded as it is", "unit", class.Unit, "path", path)
	if err := c.journal.write(put(tableTorn, class.Unit, t)); err != nil {
		c.log.Error("journal", "err", err)
	}
}

// tornNow settles whether a unit that is about to be committed is torn. Callers hold
// mu.
func (c *Cache) tornNow(u *Unit) bool {
	t := c.mu.torn[u.Path]
	if t == nil {
		return false
	}
	torn, why := c.stillTorn(t)
	if torn {
		u.state, u.seq, u.reason, u.since = StateTorn, 0, why, t.Since
		return true
	}
	delete(c.mu.torn, u.Path)
	if err := c.journal.write(del(tableTorn, u.Path)); err != nil {
		c.log.Error("journal", "err", err)
	}
	return false
}

func newTorn(why string) *tornRecord { return &tornRecord{Since: time.Now(), Why: why} }
