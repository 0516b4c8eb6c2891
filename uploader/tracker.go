package uploader

import (
	"context"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// commitTracker publishes the newest version of a tracker that names nothing which is
// still to come. Older ones are passed over: what they said is no longer asked for.
func (u *Uploader) commitTracker(ctx context.Context, unit *cache.Unit) error {
	versions, coming := u.c.Versions(unit)
	if len(versions) == 0 && coming {
		return cache.ErrReopened
	}
	if len(versions) == 0 {
		if first := u.c.Blockers(unit, u.c.Seq(unit), nil); len(first) > 0 {
			return waitFor(first)
		}
		return u.commitUnversioned(ctx, unit)
	}
	var first []string
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		if i < len(versions)-1 {
			if lost, err := u.namesLost(ctx, unit, v); err != nil || lost {
				if err != nil {
					return err
				}
				continue
			}
		}
		if first = u.c.Blockers(unit, v.Seq, v.Named); len(first) > 0 {
			continue // on this node: never before them
		}
		var err error
		if first, err = u.missing(ctx, unit, v); err != nil {
			return err
		}
		if len(first) > 0 && u.holds.since(unit.Path) < u.cfg.Hold {
			continue
		}
		if len(first) > 0 {
			u.log.Warn("published after waiting for hold, though it names what is not complete", "unit", unit.Path, "waits_for", first)
		}
		return u.putVersion(ctx, unit, v)
	}
	return waitFor(first)
}

// commitUnversioned commits a tracker that has changed without a close that was seen (its
// attributes, a mapping), or that is too large for versions. What goes up has been read
// while nobody was writing: a program rewrites a tracker in place.
func (u *Uploader) commitUnversioned(ctx context.Context, unit *cache.Unit) error {
	snap, err := u.c.Snapshot(unit)
	if err != nil {
		return err
	}
	if len(snap.Files) == 0 || snap.Files[0].Clean {
		return u.c.Committed(snap, nil)
	}
	p := &plan{FileState: snap.Files[0]}
	if p.Type != layout.TypeFile || p.ID.Size > smallBudget {
		return u.commitPlain(ctx, unit)
	}
	unlock, err := u.paths.lock(ctx, unit.Path)
	if err != nil {
		return err
	}
	defer unlock()
	sleep(ctx, racyTime-time.Since(p.Attr.Mtime))
	p.how, p.job = onPut, u.job(p.Path, p.ID)
	defer u.dropJob(p.job)
	if err := p.job.seal(ctx); err != nil {
		return err
	}
	p.crc = p.job.crc
	if err := p.job.sync(); err != nil {
		return err
	}
	if err := u.keepBody(p); err != nil {
		return err
	}
	if err := u.c.Same(snap); err != nil {
		return err
	}
	s := &sealedUnit{Snapshot: snap, plans: []*plan{p}}
	if aside, err := u.clashes(ctx, s); aside || err != nil {
		return err
	}
	if err := u.sending(s); err != nil {
		return err
	}
	obj, err := u.show(ctx, p)
	if err != nil {
		return err
	}
	return u.c.Committed(snap, []cache.Done{{Path: p.Path, ID: p.ID, Attr: p.Attr, CRC32C: p.crc, ETag: obj.ETag}})
}

// missing names the checkpoint directories that a version names and that cannot be
// waited for for ever: other nodes are still writing there, or they are torn here.
func (u *Uploader) missing(ctx context.Context, unit *cache.Unit, v cache.TrackerVersion) ([]string, error) {
	if len(v.Named) == 0 {
		return nil, nil
	}
	out := u.c.Torn(unit, v.Named)
	dir := parent(unit.Path)
	open, err := u.openUnits(ctx, dir)
	if err != nil {
		return nil, err
	}
	for unit := range open {
		// Beside the tracker, or deeper: Tune's experiment state lies above the trials.
		beside := join(dir, path.Base(unit))
		if slices.Contains(v.Named, path.Base(unit)) && (unit == beside || !u.c.HereOrCommitted(beside)) {
			out = append(out, unit)
		}
	}
	slices.Sort(out)
	return out, nil
}

// namesLost tells whether an older version names a checkpoint that was deleted before it
// ever arrived: the store must not say that the run was there.
func (u *Uploader) namesLost(ctx context.Context, unit *cache.Unit, v cache.TrackerVersion) (bool, error) {
	for _, name := range v.Named {
		if u.c.HasNamed(parent(unit.Path), name) {
			continue
		}
		path := join(parent(unit.Path), name)
		page, err := u.store.List(ctx, backend.ListOptions{Prefix: path, Limit: 1})
		if err != nil {
			return false, err
		}
		if len(page.Objects) == 0 {
			return true, nil
		}
	}
	return false, nil
}

// holds remembers since when trackers wait for what this node cannot bring
// about.
type holds struct {
	mu    sync.Mutex
	first map[string]time.Time // by tracker
}

// since is how long a tracker has been waiting.
func (h *holds) since(path string) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.first == nil {
		h.first = map[string]time.Time{}
	}
	if _, ok := h.first[path]; !ok {
		h.first[path] = time.Now()
	}
	return time.Since(h.first[path])
}

func (h *holds) done(path string) {
	h.mu.Lock()
	delete(h.first, path)
	h.mu.Unlock()
}

// openUnits are the checkpoint directories below dir that another node is writing in.
func (u *Uploader) openUnits(ctx context.Context, dir string) (map[string]bool, error) {
	out := map[string]bool{}
	return out, listAll(ctx, u.store, layout.UnitsPrefix(dir), func(o backend.Object) {
		if unit, node, open, ok := layout.ParseUnitKey(o.Key); ok && open && node != u.c.Node() {
			out[unit] = true
		}
	})
}

func (u *Uploader) putVersion(ctx context.Context, unit *cache.Unit, v cache.TrackerVersion) error {
	unlock, err := u.paths.lock(ctx, unit.Path)
	if err != nil {
		return err
	}
	defer unlock()
	sleep(ctx, racyTime-time.Since(v.Attr().Mtime))
	p := &plan{FileState: cache.FileState{Path: unit.Path, Type: layout.TypeFile, Attr: v.Attr()}, how: onPut, body: v.Content}
	p.ID.Size = int64(len(v.Content))
	p.crc = crc32c.Checksum(v.Content)
	if _, f, err := u.c.Look(unit.Path); err == nil && f != nil {
		p.Unseen, p.Known = f.Unseen, f.Known
	}
	if p.Unseen {
		snap, err := u.c.Snapshot(unit)
		if err != nil {
			return err
		}
		if aside, err := u.clashes(ctx, &sealedUnit{Snapshot: snap, plans: []*plan{p}}); aside || err != nil {
			return err
		}
	}
	if !p.Known {
		if err := u.c.SendingVersion(v, cache.Sent{Path: p.Path, Size: p.ID.Size, CRC32C: p.crc, Unseen: p.Unseen}); err != nil {
			return err
		}
	}
	obj, err := u.show(ctx, p)
	if err != nil {
		return err
	}
	killpoint.At(killpoint.TrackerPut)
	if err := u.c.CommittedVersion(unit, v, obj.ETag, p.crc); err != nil {
		return err
	}
	killpoint.At(killpoint.TrackerRecords)
	u.holds.done(unit.Path)
	u.log.Info("committed", "unit", unit.Path, "names", v.Named)
	return nil
}

// Held tells how many trackers wait for what this node cannot bring about, and how long
// the first of them has.
func (u *Uploader) Held() (n int, longest time.Duration) {
	u.holds.mu.Lock()
	defer u.holds.mu.Unlock()
	for _, since := range u.holds.first {
		longest = max(longest, time.Since(since))
	}
	return len(u.holds.first), longest
}
