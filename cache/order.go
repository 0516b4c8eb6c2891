package cache

import (
	"sort"
	"syscall"
	"time"
)

// The order of closing (P4): a unit that is closed gets a place in it, and what is closed later
// waits for what has an earlier one (Blockers).
//
// Among the checkpoints of a trial that is not enough. A program has closed one with its last
// close(2), and trainfs learns of it later: RELEASE comes some time after FLUSH, which close waits
// for, and quiet tells only when it is over that nothing came after; another that was closed later may
// be known to be finished before, because something says so. So they wait by when they were
// closed, also for those that have no place yet. One of which objects may be in the store keeps that
// time until it is committed, whatever is written in it meanwhile.

// RELEASE comes so much later than FLUSH, at most, counted in heartbeats. What is still open then
// is open somewhere: in a child that has inherited it, or mapped.
const closingGrace = 2 * time.Second

// flushNote is what a file looked like when a close of it returned, and when that was.
type flushNote struct {
	at          time.Time
	size, mtime int64
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
	sort.Slice(closed, func(i, j int) bool { return closed[i].closedBefore(closed[j]) })
	for _, u := range closed {
		*u.place() = c.nextSeq()
	}
}

func (c *Cache) nextSeq() uint64 {
	c.mu.seq++
	return c.mu.seq
}

// closedBefore compares when two units were last changed, or what of them is in the store in part
// was. It is a strict order of all units, so that none wait for each other. What a start has found
// is older than what was written since: the clock may have been set back.
func (u *Unit) closedBefore(o *Unit) bool {
	if u.found != o.found {
		return u.found
	}
	if at, other := u.changedAt(), o.changedAt(); !at.Equal(other) {
		return at.Before(other)
	}
	return u.Path < o.Path
}

func (u *Unit) changedAt() time.Time {
	if !u.begun.IsZero() {
		return u.begun
	}
	return u.touched
}

// comesBefore tells whether o, of the same trial, was closed before the checkpoint u, or what of
// it is being published was. Callers hold mu.
func (c *Cache) comesBefore(o, u *Unit, seq uint64) bool {
	if o.publishing && o.seq < seq {
		return true
	}
	if o.shrinking != 0 && (*o.place() == 0 || c.held(o) != "") { // it is in the store, and is most likely about to go
		return false
	}
	if *o.place() != 0 || !o.begun.IsZero() {
		return o.closedBefore(u)
	}
	if o.writers > 0 {
		if last := c.closingSince(o); last.IsZero() || last.After(u.touched) {
			return false
		}
	} else if !o.closedBefore(u) {
		return false
	}
	return !c.heldOpen(o)
}

// closingSince is when the last file of a unit was closed, of which RELEASE has still to come;
// zero if a program has a file of it open. Callers hold mu.
func (c *Cache) closingSince(u *Unit) (last time.Time) {
	for h := range c.mu.handles {
		if path := h.Path(); path == "" || c.unitPath(path) != u.Path {
			continue
		}
		at := h.closingSince()
		if at.IsZero() {
			return at
		}
		last = later(last, at)
	}
	return last
}

// closingSince is when close(2) of the file returned, if RELEASE may still be on its way; zero if
// the file is open.
func (h *Handle) closingSince() time.Time {
	st, err := h.c.tree.lstat(h.Path())
	if err != nil {
		return time.Time{}
	}
	return h.closedAsFlushed(&st)
}

// closedAsFlushed is when close(2) of the file, which looks like st, returned, if it has not been
// open since; else zero.
func (h *Handle) closedAsFlushed(st *syscall.Stat_t) time.Time {
	n := h.noted.Load()
	if n == nil || st.Ino != h.ino || st.Size != n.size || st.Mtim.Nano() != n.mtime || h.c.opens.sinceFlush(h.slot) > closingGrace {
		return time.Time{}
	}
	return n.at
}
