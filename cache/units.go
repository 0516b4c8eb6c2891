package cache

import (
	"strings"
	"time"

	"github.com/trainfs/trainfs/layout"
)

// Unit is what is committed together: a checkpoint directory, or one other file,
// symbolic link or empty directory. A Unit exists in memory while it is not
// committed; what is on disk is in the tree and the journal.
//
//	open -> closed -> sealed -> staged -> publishing -> committed (and forgotten)
//	            \-> torn
type Unit struct {
	Path  string
	Class layout.Class
	Dir   bool // the path is a directory

	// Guarded by Cache.mu.
	gen        uint64 // counts touches
	writers    int
	since      time.Time
	touched    time.Time // by a program; where a close is all that was seen, when that returned
	found      bool      // by the start, and not touched since; or what has begun to be published was
	synced     time.Time // last upload of a file that stays open
	seq        uint64    // order of closing in this node; 0 while open
	reopened   bool      // written to while it was being published
	reclosed   uint64    // and the place in that order of what was written
	said       bool      // a commit signal was seen
	hurriedAt  time.Time // when a later checkpoint last began in the trial, if since it was touched; else zero
	busy       bool      // the uploader has it, from Due to Release
	hands      int       // and so have closes that wait for a file of it: TakeUp
	tried      bool      // it has been in those hands since it was last committed
	publishing bool
	begun      time.Time // when the first content of which objects may be in the store, uncommitted, was closed; else zero
	gone       bool      // deleted, or renamed away
	sealed     bool
	shrinking  uint64    // when it, committed, began to lose members, of which it has only lost some since; else 0
	members    bool      // a file was made in the directory; an empty checkpoint is none yet
	marked     bool      // our open marker is in the store
	markedAt   time.Time // since when
	marking    bool      // or on its way
	unmarked   bool      // it has been deleted, and nothing was written since
	versions   []*trackerRecord
	state      State
	reason     string
	attempts   int
	permanent  bool // the last attempt failed with what somebody has to mend
	nextTry    time.Time
	files      int
	bytes      int64 // to upload, once sealed
	done       int64
	size       int64 // as last looked up, before that
	sized      time.Time
}

const (
	artifactSettle = time.Second            // quiet time before an artifact goes up
	hurriedSettle  = 500 * time.Millisecond // quiet time once a later checkpoint has begun

	movingPause = 10 * time.Millisecond // until a rename under way is looked at again

	// A committed checkpoint that loses members is most likely about to lose all of them:
	// rm -r gets so many times settle between two of its steps.
	shrinkSettles = 3
)

// unitFor finds or makes the unit of path. Callers hold mu. It is nil for what never
// goes up.
func (c *Cache) unitFor(path string, dir bool) *Unit {
	class := c.cfg.Layout.Classify(path, dir)
	if class.Kind == layout.Temporary && class.Unit != path {
		// It does not go up, but while it is being written its checkpoint is not finished.
		class = c.cfg.Layout.Classify(class.Unit, true)
	}
	if path == "" || !c.goesUp(class) {
		return nil
	}
	if u := c.mu.units[class.Unit]; u != nil {
		return u
	}
	if class.Unit != path { // a member: the unit is the checkpoint directory
		class, dir = c.cfg.Layout.Classify(class.Unit, true), true
	}
	u := &Unit{Path: class.Unit, Class: class, Dir: dir, since: time.Now(), state: StateDirty}
	c.mu.units[u.Path] = u
	if class.Kind == layout.Checkpoint {
		c.hurryEarlier(u)
	}
	return u
}

// unitPath is the path of the unit that a file counts for.
func (c *Cache) unitPath(path string) string { return c.cfg.Layout.Classify(path, false).Unit }

func (c *Cache) goesUp(class layout.Class) bool {
	switch class.Kind {
	case layout.Temporary, layout.Internal:
		return false
	case layout.Artifact, layout.Log:
		return c.cfg.SyncArtifacts && !c.cfg.ReadOnly
	}
	return !c.cfg.ReadOnly
}

// hurryEarlier is commit signal 4: a later checkpoint begins in the same trial.
func (c *Cache) hurryEarlier(later *Unit) {
	for _, u := range c.mu.units {
		if u != later && u.Class.Kind == layout.Checkpoint && u.Class.Trial == later.Class.Trial {
			u.hurriedAt = time.Now()
		}
	}
}

// touch says that path is, or may be, changing. Callers hold mu.
func (c *Cache) touch(path string, dir bool) *Unit {
	u := c.unitFor(path, dir)
	if u == nil {
		return nil
	}
	u.touchNow()
	u.members = u.members || path != u.Path && !dir
	return u
}

// lookAgain is touch for what no program has done: the bytes of a renamed file have come, or are
// lost. What was said of the unit holds. Callers hold mu.
func (c *Cache) lookAgain(path string) {
	var was Unit
	if u := c.mu.units[c.unitPath(path)]; u != nil {
		was = *u
	}
	if u := c.touch(path, false); u != nil && !was.touched.IsZero() {
		u.touched, u.found, u.said, u.hurriedAt, u.shrinking = was.touched, was.found, was.said, was.hurriedAt, was.shrinking
		if !u.publishing {
			u.seq = was.seq
		}
	}
}

// shrink is touch for the loss of a member. Callers hold mu.
func (c *Cache) shrink(path string) {
	was := c.mu.units[c.unitPath(path)]
	since := c.mu.seq
	if was != nil {
		since = was.shrinking
	}
	if u := c.touch(path, false); u != nil {
		u.shrinking = since
	}
}

func (u *Unit) touchNow() {
	u.gen++
	u.touched, u.found = time.Now(), u.found && !u.begun.IsZero()
	u.bytes, u.done = 0, 0
	u.said, u.hurriedAt, u.sealed, u.unmarked = false, time.Time{}, false, false
	u.shrinking = 0
	u.nextTry = time.Time{}
	u.reopened, u.reclosed = u.publishing, 0
	if !u.publishing {
		u.seq = 0
		u.state = StateDirty
	}
}

// Touch is touch for callers without the lock.
func (c *Cache) touchPath(path string, dir bool) {
	c.mu.Lock()
	c.touch(path, dir)
	c.mu.Unlock()
	c.poke()
}

// signal says that the unit is finished as soon as nobody writes to it any more.
func (c *Cache) signal(unit string) {
	c.mu.Lock()
	if u := c.mu.units[unit]; u != nil {
		u.said = true
		u.nextTry = time.Time{}
	}
	c.mu.Unlock()
	c.poke()
}

// closedAt is when the unit counts as closed if nothing more happens; zero if it
// cannot be told yet. Callers hold mu.
func (c *Cache) closedAt(u *Unit) time.Time {
	quiet := c.cfg.Settle
	switch {
	case u.said:
		quiet = 0
	case u.Class.Kind == layout.Tracker || u.Class.Kind == layout.Control:
		quiet = 0
	case u.Class.Kind != layout.Checkpoint:
		quiet = min(quiet, artifactSettle)
	case u.shrinking != 0:
		quiet *= shrinkSettles
	case !u.hurriedAt.IsZero():
		quiet = min(quiet, hurriedSettle)
	}
	if u.writers > 0 {
		if len(u.versions) > 0 {
			return u.touched
		}
		if u.Class.Kind == layout.Checkpoint || u.Class.Kind == layout.Tracker {
			return time.Time{}
		}
		if u.said {
			return u.touched
		}
		return later(u.synced, u.since).Add(c.cfg.SyncPeriod) // logs and artifacts go up while open
	}
	return u.touched.Add(quiet)
}

// empty tells a checkpoint directory that nothing was put in yet. Quiet does not make it
// complete, and nobody waits for it.
func (u *Unit) empty() bool {
	return u.Dir && u.Class.Kind == layout.Checkpoint && !u.members
}

// sooner is the first of two times; zero is none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// notify tells those who wait for states. Callers hold mu.
func (c *Cache) notify() {
	close(c.mu.changed)
	c.mu.changed = make(chan struct{})
}

// Changed is closed at the next change of any unit's state.
func (c *Cache) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.changed
}

// forget drops units at and below path that are deleted or renamed away. Callers hold
// mu.
func (c *Cache) forget(path string) {
	for p, u := range c.mu.units {
		if under(p, path) {
			u.gone = true
			u.gen++
			delete(c.mu.units, p)
			if u.inHand() {
				c.mu.leaving[u] = struct{}{}
			}
		}
	}
	for p := range c.mu.closed {
		if under(p, path) {
			delete(c.mu.closed, p)
		}
	}
}

func base(p string) string { return p[strings.LastIndexByte(p, '/')+1:] }

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
