package cache

import (
	"sort"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

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
		if reason == "" && c.isDeleting(u.Path) {
			reason = "waits for the deletion of what was there before"
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

// held says why a unit that seems to be closed is not, "" if it is.
func (c *Cache) held(u *Unit) string {
	switch {
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
