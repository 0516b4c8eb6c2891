package cache

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/layout"
)

// State of one path.
func (c *Cache) State(ctx context.Context, path string) (State, error) {
	st, lerr := c.tree.lstat(path)
	dir := lerr == nil && isDir(&st)
	class := c.cfg.Layout.Classify(path, dir)
	if !c.goesUp(class) && lerr == nil && !c.cfg.ReadOnly {
		return StateLocal, nil
	}
	c.mu.Lock()
	u := c.mu.units[class.Unit]
	state := StateCommitted
	if u != nil {
		state = u.state
	} else if dir && class.Kind != layout.Checkpoint {
		state = c.worst(path)
	}
	c.mu.Unlock()
	switch {
	case u != nil:
		return state, nil
	case lerr != nil:
		_, err := c.remoteInfo(ctx, path)
		return StateRemote, err
	case dir || !isRegular(&st) && !isSymlink(&st):
		return state, nil
	}
	var r fileRecord
	found, err := c.journal.get(tableFile, path, &r)
	if err == nil && (!found || !r.clean(&st)) {
		state = StateDirty
	}
	return state, err
}

// worst is the state of the least advanced unit below a directory. Callers hold mu.
func (c *Cache) worst(dir string) State {
	rank := map[State]int{StateCommitted: 0, StateUploading: 1, StateSealed: 2, StateDirty: 3, StateTorn: 4}
	out := StateCommitted
	for p, u := range c.mu.units {
		if under(p, dir) && rank[u.state] > rank[out] {
			out = u.state
		}
	}
	return out
}

// RequestCommit closes what is at, above (its checkpoint) and below path now, as far as nobody is
// writing to it, and tries failed ones again at once (commit signal 1).
func (c *Cache) RequestCommit(ctx context.Context, path string) error {
	if path != "" && !c.tree.exists(path) {
		if _, err := c.remoteInfo(ctx, path); err != nil {
			return err
		}
		return nil // only remote: committed
	}
	c.mu.Lock()
	for p, u := range c.mu.units {
		if under(p, path) || under(path, p) && u.Dir {
			u.said, u.nextTry = true, time.Time{}
		}
	}
	for key, t := range c.mu.tombs {
		if t.After != "" && (under(key, path) || under(t.After, path)) {
			t.said = true
			c.mu.tombs[key] = t
		}
	}
	c.mu.Unlock()
	c.poke()
	return nil
}

// Pending tells what below path is not committed yet, and how much it is.
func (c *Cache) Pending(path string) Progress {
	c.lookAtAllMapped()
	c.mu.Lock()
	defer c.mu.Unlock()
	var p Progress
	for up, u := range c.mu.units {
		if !under(up, path) && !(u.Dir && under(path, up)) {
			continue
		}
		if u.state == StateTorn {
			p.Torn = append(p.Torn, u.Path+": "+u.reason)
			continue
		}
		if u.writers > 0 && c.upToDate(u) || u.empty() && !u.said {
			continue
		}
		p.Units++
		p.BytesLeft += max(0, c.unitBytes(u)-u.done)
		if u.attempts > 2 && u.reason != "" {
			p.Stuck = append(p.Stuck, u.Path+": "+u.reason)
		}
	}
	for key, t := range c.mu.tombs {
		if under(key, path) && !c.ofTorn(key) && (t.After == "" || !c.ofTorn(t.After)) {
			p.Deletions++
		}
	}
	for unit := range c.mu.strays {
		if under(unit, path) {
			p.Deletions++
		}
	}
	sort.Strings(p.Torn)
	sort.Strings(p.Stuck)
	p.Done = p.Units == 0 && p.Deletions == 0
	return p
}

// ofTorn tells whether a path belongs to a torn unit: what waits for that is waited for by
// nobody. Callers hold mu.
func (c *Cache) ofTorn(path string) bool {
	u := c.mu.units[c.unitPath(strings.TrimSuffix(path, "/"))]
	return u != nil && u.state == StateTorn
}

// UpToDate tells whether all that was closed of path's unit is in the store. A directory
// in which files are open is not waited for: whoever asks may be the one who has them
// open.
func (c *Cache) UpToDate(ctx context.Context, path string) (bool, error) {
	c.lookAtAllMapped()
	state, err := c.State(ctx, path)
	switch {
	case err != nil:
		return false, err
	case state == StateTorn:
		return false, fmt.Errorf("%s is torn: %w", path, syscall.EIO)
	case state == StateCommitted || state == StateLocal || state == StateRemote:
		return true, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	st, err := c.tree.lstat(path)
	if err != nil {
		return false, err
	}
	u := c.mu.units[c.cfg.Layout.Classify(path, isDir(&st)).Unit]
	return u == nil || u.writers > 0 && (u.Dir || c.upToDate(u)), nil
}

// upToDate tells whether a file that is still open has nothing that the store has not.
// Callers hold mu.
func (c *Cache) upToDate(u *Unit) bool {
	if u.Dir || len(u.versions) > 0 {
		return false
	}
	st, err := c.tree.lstat(u.Path)
	if err != nil {
		return false
	}
	var r fileRecord
	found, err := c.journal.get(tableFile, u.Path, &r)
	return err == nil && found && r.clean(&st)
}

// unitBytes is what there is to upload of a unit, as far as it is known: before it is
// sealed, what lay there within the last second. Whoever waits asks at every change of
// any unit, and must not have all of them looked up each time. Callers hold mu.
func (c *Cache) unitBytes(u *Unit) int64 {
	if u.bytes > 0 {
		return u.bytes
	}
	if time.Since(u.sized) < time.Second {
		return u.size
	}
	u.size, u.sized = c.sizeOnDisk(u), time.Now()
	return u.size
}

const maxStatusUnits = 1000

// Status is what the cache knows of itself; the daemon adds the rest.
func (c *Cache) Status() Status {
	s := Status{
		Source: c.cfg.Source, CacheDir: c.dir, Node: c.node.Node, PID: os.Getpid(),
		UnitsByState: map[State]int{}, StoreReachable: true,
	}
	c.eachUnit(func(u *Unit) {
		s.UnitsByState[u.state]++
		us := c.unitStatus(u)
		s.BytesLeft += max(0, us.Bytes-us.BytesDone)
		if s.OldestDirty.IsZero() || u.since.Before(s.OldestDirty) {
			s.OldestDirty = u.since
		}
		s.Units = append(s.Units, us)
	})
	part := c.fetches.diskBytes()
	c.mu.Lock()
	s.Started = c.mu.stats.started
	s.BytesUploaded, s.BytesFetched = c.mu.stats.uploaded, c.mu.stats.fetched
	s.LostFound, s.LastCommitted = c.mu.stats.lost, c.mu.stats.lastCommitted
	s.Deletions = len(c.mu.tombs)
	s.CacheBytes = c.mu.usage.total + part
	if err := c.mu.stats.storeErr; err != nil {
		s.StoreReachable, s.StoreError = false, err.Error()
	}
	c.mu.Unlock()
	sort.Slice(s.Units, func(i, j int) bool {
		if !s.Units[i].Since.Equal(s.Units[j].Since) {
			return s.Units[i].Since.Before(s.Units[j].Since)
		}
		return s.Units[i].Path < s.Units[j].Path
	})
	if len(s.Units) > maxStatusUnits {
		s.Units = s.Units[:maxStatusUnits]
	}
	c.names.mu.Lock()
	s.HiddenKeys = len(c.names.hidden)
	if c.names.lost != nil && s.StoreReachable {
		s.StoreReachable, s.StoreError = false, c.names.lost.Error()
	}
	c.names.mu.Unlock()
	var fs syscall.Statfs_t
	if syscall.Fstatfs(int(c.tree.root.Fd()), &fs) == nil {
		s.CacheFree = int64(fs.Bavail) * fs.Bsize
	}
	return s
}

func (c *Cache) unitStatus(u *Unit) UnitStatus {
	us := UnitStatus{
		Path: u.Path, Kind: u.Class.Kind.String(), State: u.state, Files: u.files,
		Bytes: c.unitBytes(u), BytesDone: u.done, Writers: u.writers, Since: u.since, Attempts: u.attempts, Permanent: u.permanent, Reason: u.reason,
	}
	switch {
	case us.Reason != "":
	case u.writers > 0:
		us.Reason = "open for writing"
	case u.empty():
		us.Reason = "nothing is in it yet"
	case u.state == StateDirty && u.seq == 0:
		us.Reason = "waits to be quiet"
	}
	return us
}

// StoreAnswered notes whether the store could be reached.
func (c *Cache) StoreAnswered(err error) {
	c.mu.Lock()
	c.mu.stats.storeErr = err
	c.mu.Unlock()
	if err != nil {
		c.names.suspect()
		return
	}
	c.names.back()
}

// BytesUploaded since the start.
func (c *Cache) BytesUploaded() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.stats.uploaded
}
