package cache

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
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
	touched    time.Time
	synced     time.Time // last upload of a file that stays open
	seq        uint64    // order of closing in this node; 0 while open
	reopened   bool      // written to while it was being published
	reclosed   uint64    // and the place in that order of what was written
	said       bool      // a commit signal was seen
	hurried    bool      // a later checkpoint has begun in the trial
	busy       bool      // the uploader has it, from Due to Release
	hands      int       // and so have closes that wait for a file of it: TakeUp
	tried      bool      // it has been in those hands since it was last committed
	publishing bool
	gone       bool // deleted, or renamed away
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
			u.hurried = true
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

// filled is touch for a renamed file whose bytes have come: the unit is looked at again, but no
// program has written to it, so that what was said of it holds. Callers hold mu.
func (c *Cache) filled(path string) {
	var was Unit
	if u := c.mu.units[c.unitPath(path)]; u != nil {
		was = *u
	}
	if u := c.touch(path, false); u != nil && !was.touched.IsZero() {
		u.touched, u.said, u.hurried, u.shrinking = was.touched, was.said, was.hurried, was.shrinking
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
	u.touched = time.Now()
	u.bytes, u.done = 0, 0
	u.said, u.hurried, u.sealed, u.unmarked = false, false, false, false
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
	case u.hurried:
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

// Due takes the units whose time has come, in the order in which they were closed,
// and tells when to ask again. The caller gives each back with Release.
func (c *Cache) Due(now time.Time, most int) (due []*Unit, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.moving > 0 { // what is taken up now would not be among what the rename has buried
		return nil, now.Add(movingPause)
	}
	var closed, ready []*Unit
	for _, u := range c.mu.units {
		if u.gone || u.state == StateTorn || u.busy && c.mu.torn[u.Path] != nil || c.tornNow(u) || u.empty() && !u.said {
			continue
		}
		at := c.closedAt(u)
		switch {
		case at.IsZero():
			continue
		case at.After(now):
			next = sooner(next, at)
			continue
		}
		reason, place := "", u.place()
		if waits := u.busy || u.nextTry.After(now); *place == 0 || !waits {
			reason = c.held(u)
		}
		if *place == 0 && reason == "" {
			closed = append(closed, u)
		}
		switch {
		case u.busy: // its Release has this asked again
		case u.nextTry.After(now):
			next = sooner(next, u.nextTry)
		case reason != "":
			u.reason = reason
			next = sooner(next, now.Add(time.Second))
		default:
			ready = append(ready, u)
		}
	}
	c.putInOrder(closed)
	sort.Slice(ready, func(i, j int) bool { return ready[i].seq < ready[j].seq })
	if len(ready) > most {
		ready = ready[:most]
		if most > 0 { // else a Release has this asked again
			next = now
		}
	}
	for _, u := range ready {
		u.busy, u.tried = true, true
		u.reason = ""
	}
	return ready, next
}

// place is where the unit's place in the order of closing is kept. What is written while it is
// being published is closed anew, and has one of its own.
func (u *Unit) place() *uint64 {
	if u.publishing && u.reopened {
		return &u.reclosed
	}
	return &u.seq
}

// putInOrder gives units that are closed their places. They have them also while an attempt from
// before hangs or waits to be made again: else what is closed later would overtake them.
// Callers hold mu.
func (c *Cache) putInOrder(closed []*Unit) {
	sort.Slice(closed, func(i, j int) bool {
		a, b := closed[i], closed[j]
		if !a.touched.Equal(b.touched) {
			return a.touched.Before(b.touched)
		}
		return a.Path < b.Path
	})
	for _, u := range closed {
		*u.place() = c.nextSeq()
	}
}

func (c *Cache) nextSeq() uint64 {
	c.mu.seq++
	return c.mu.seq
}

// held says why a unit that is closed is not to be committed yet, "" if it is.
func (c *Cache) held(u *Unit) string {
	switch {
	case c.isDeleting(u.Path):
		return "waits for the deletion of what was there before"
	case c.heldOpen(u):
		return "held open by a name beside it that says unfinished"
	case u.shrinking != 0 && !u.said && c.trackersBefore(u.Path, u.shrinking+1, base(u.Path)):
		return "loses members, and waits for a tracker that was closed before"
	}
	return ""
}

func (c *Cache) heldOpen(u *Unit) bool {
	if u.Class.Kind != layout.Checkpoint {
		return false
	}
	for _, p := range c.cfg.Layout.HeldBy(u.Path) {
		if c.tree.exists(p) {
			return true
		}
	}
	return false
}

// Release gives a unit back after an attempt. err nil means that there is nothing
// left to do for what the uploader saw; retry says when to try again otherwise.
func (c *Cache) Release(u *Unit, err error, retry time.Duration) {
	c.mu.Lock()
	u.busy, u.publishing = false, false
	switch {
	case err == nil:
		u.attempts, u.reason, u.permanent = 0, "", false
		u.nextTry = time.Now() // if it was touched meanwhile, it is due by its own clock
	default:
		u.attempts++
		u.reason, u.permanent = err.Error(), backend.Permanent(err)
		c.mu.stats.retries++
		u.nextTry = time.Now().Add(retry)
		if u.state == StateUploading && u.sealed {
			u.state = StateSealed
		} else if u.state != StateTorn && !u.sealed {
			u.state = StateDirty
		}
	}
	if u.gone {
		if c.mu.units[u.Path] == u {
			delete(c.mu.units, u.Path)
		}
	}
	c.handedBack(u)
	c.notify()
	c.mu.Unlock()
	c.poke()
}

// TakeUp says that a file of the unit goes up though Due has not given it out; HandBack, that
// this has ended. ErrReopened: not now.
func (c *Cache) TakeUp(u *Unit) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDeleting(u.Path) {
		return ErrReopened
	}
	u.hands++
	u.tried = true
	return nil
}

// HandBack ends what TakeUp has begun.
func (c *Cache) HandBack(u *Unit) {
	c.mu.Lock()
	u.hands--
	c.handedBack(u)
	c.mu.Unlock()
	c.poke()
}

// inHand tells that something of the unit may go up at this moment. Callers hold mu.
func (u *Unit) inHand() bool { return u.busy || u.hands > 0 }

// handedBack lets deletions go on that wait for it. Callers hold mu.
func (c *Cache) handedBack(u *Unit) {
	if !u.inHand() {
		delete(c.mu.leaving, u)
	}
}

// comingTo tells that a unit which is gone here is still in the uploader's hands, so that
// objects of it may yet appear at or below path, or at what path lies in: they would come
// after their own deletion. Callers hold mu.
func (c *Cache) comingTo(path string) bool {
	for u := range c.mu.leaving {
		if under(u.Path, path) || under(path, u.Path) {
			return true
		}
	}
	return false
}

// Postpone gives back a unit that is ready and waits for others. That is no failure.
func (c *Cache) Postpone(u *Unit, reason string, retry time.Duration) {
	c.mu.Lock()
	u.busy, u.publishing = false, false
	u.attempts, u.reason, u.permanent = 0, reason, false
	u.nextTry = time.Now().Add(retry)
	c.handedBack(u)
	c.mu.Unlock()
	c.poke()
}

// Attempts is how often a unit has failed in a row.
func (c *Cache) Attempts(u *Unit) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return u.attempts
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

// Blockers names what a checkpoint or a tracker version has to wait for before it
// may become visible (P4): for a checkpoint, those closed before it in its trial; for
// a tracker, the pending checkpoints that it names and those below its directory that
// were closed before it.
func (c *Cache) Blockers(u *Unit, seq uint64, named []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, o := range c.mu.units {
		if o == u || o.gone || o.Class.Kind != layout.Checkpoint {
			continue
		}
		if o.state == StateTorn || o.empty() {
			continue // it will not come
		}
		earlier := o.seq != 0 && o.seq < seq
		switch u.Class.Kind {
		case layout.Checkpoint:
			if earlier && o.Class.Trial == u.Class.Trial {
				out = append(out, o.Path)
			}
		case layout.Tracker:
			if under(o.Path, parent(u.Path)) && (earlier || contains(named, base(o.Path))) {
				out = append(out, o.Path)
			}
		}
	}
	sort.Strings(out)
	return out
}

// HereOrCommitted tells whether a checkpoint directory is in the tree, or this node has
// published it.
func (c *Cache) HereOrCommitted(unit string) bool {
	var r ownRecord
	found, err := c.journal.get(tableOwn, unit, &r)
	return err != nil || found || c.tree.exists(unit)
}

// HasNamed tells that of a checkpoint which a tracker in dir names. It lies beside the
// tracker, or in a directory beside it, as the trials do below Tune's experiment state.
func (c *Cache) HasNamed(dir, name string) bool {
	if c.HereOrCommitted(join(dir, name)) {
		return true
	}
	beside, _ := c.tree.names(dir)
	return slices.ContainsFunc(beside, func(e DirEntry) bool {
		return e.Type == syscall.S_IFDIR && c.HereOrCommitted(join(join(dir, e.Name), name))
	})
}

// Torn are the torn checkpoints that a tracker names.
func (c *Cache) Torn(tracker *Unit, named []string) (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.mu.units {
		if o.state == StateTorn && o.Class.Kind == layout.Checkpoint && under(o.Path, parent(tracker.Path)) && contains(named, base(o.Path)) {
			out = append(out, o.Path)
		}
	}
	return out
}

// Explain notes why a unit does not go forward.
func (c *Cache) Explain(u *Unit, format string, args ...any) {
	c.mu.Lock()
	u.reason = fmt.Sprintf(format, args...)
	c.mu.Unlock()
}

// Seq is the unit's place in the order of closing.
func (c *Cache) Seq(u *Unit) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return u.seq
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
