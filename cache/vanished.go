package cache

import (
	"context"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/layout"
)

// What others have deleted in the store goes here, too.

// hereStill leaves out the local names that the store no longer has, or not to show: those of
// checkpoints that are not ours and hidden, and copies of what somebody has deleted. These
// go along. shown tells which names are among the remote ones.
func (c *Cache) hereStill(ctx context.Context, dir string, local []DirEntry, shown map[string]bool) []DirEntry {
	gone := make([]bool, len(local))
	listed := c.names.listedAt(dir)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, e := range local {
		p := join(dir, e.Name)
		switch {
		case shown[e.Name]:
		case e.Type == syscall.S_IFDIR:
			gone[i] = c.isUnit(p) && !c.owns(p)
		case c.mayBeGone(p, e.Type, listed):
			g.Go(func() error {
				gone[i] = c.goneElsewhere(gctx, p)
				return nil
			})
		}
	}
	_ = g.Wait()
	out := local[:0]
	for i, e := range local {
		if !gone[i] {
			out = append(out, e)
		}
	}
	return out
}

// mayBeGone tells, of a file that a listing does not have, whether the store is to be asked
// for it: not if it goes up, or was known to be there since.
func (c *Cache) mayBeGone(path string, kind uint32, listed time.Time) bool {
	file := kind == syscall.S_IFREG || kind == syscall.S_IFLNK
	return file && !c.goingNow(path) && !c.fetches.sameAt(path).After(listed)
}

// goneElsewhere tells whether a file was a clean copy of what the store no longer has.
func (c *Cache) goneElsewhere(ctx context.Context, path string) bool {
	st, err := c.tree.lstat(path)
	if err != nil {
		return false
	}
	gone, err := c.stale(ctx, path, &st, true)
	return gone && err == nil && !c.tree.exists(path)
}

// listedAt tells how old what is known of the names in a directory is.
func (n *names) listedAt(dir string) (at time.Time) {
	class := n.c.cfg.Layout.Classify(dir, true)
	n.mu.Lock()
	defer n.mu.Unlock()
	if v := n.views[class.Unit]; v != nil && class.Kind == layout.Checkpoint {
		return v.at
	}
	if d := n.dirs[dir]; d != nil {
		return d.listed
	}
	return at
}

// vanished drops the clean local copy of a checkpoint directory that the store no
// longer has: another node has deleted or renamed it.
func (c *Cache) vanished(unit string, v *unitView) bool {
	c.names.mu.Lock()
	current := c.names.commits == v.commits
	c.names.mu.Unlock()
	if !current || !c.mayHoldRemote(unit) { // it is younger than what we know; or it has never been there
		return false
	}
	if _, why := c.evictUnit(unit, true); why != "" {
		return false
	}
	var dirs []string
	c.tree.walk(unit, func(p string, st *syscall.Stat_t) error {
		switch {
		case isDir(st):
			dirs = append(dirs, p)
		case isSymlink(st):
			c.tree.unlink(p)
		}
		return nil
	})
	ops := []op{del(tableOwn, unit)}
	for i := len(dirs) - 1; i >= 0; i-- {
		if c.tree.rmdir(dirs[i]) != nil {
			return false
		}
		ops = append(ops, del(tableDir, dirs[i]))
	}
	if err := c.journal.write(ops...); err != nil {
		c.log.Error("journal", "err", err)
	}
	c.names.forget(unit)
	return true
}

// dropShadows takes what other nodes have deleted or renamed of the checkpoint directories right
// in a local directory, which no listing shows: it would not be empty.
func (c *Cache) dropShadows(ctx context.Context, dir string) {
	local, err := c.tree.names(dir)
	if err != nil {
		return
	}
	for _, e := range local {
		if p := join(dir, e.Name); e.Type == syscall.S_IFDIR && c.isUnit(p) && !c.owns(p) {
			c.hiddenUnit(ctx, p)
		}
	}
}
