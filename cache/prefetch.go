package cache

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/trainfs/trainfs/layout"
)

// prefetchUnit fetches the other files of a checkpoint directory, of which one was just
// opened: whoever loads a checkpoint wants all of it.
func (c *Cache) prefetchUnit(path string) {
	unit := c.cfg.Layout.Classify(path, false).Unit
	if c.cfg.Prefetch != PrefetchCheckpoint || unit == path || c.cfg.Layout.Classify(unit, true).Kind != layout.Checkpoint {
		return
	}
	f := c.fetches
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ahead[unit] || f.ctx.Err() != nil {
		return
	}
	f.ahead[unit] = true
	f.wg.Add(1)
	go func() {
		defer f.wg.Done()
		if err := c.fetchUnit(f.ctx, unit); err != nil && f.ctx.Err() == nil {
			c.log.Warn("prefetch stopped", "unit", unit, "err", err)
		}
		f.mu.Lock()
		delete(f.ahead, unit)
		f.mu.Unlock()
	}()
}

// fetchUnit brings everything at and below path into the tree, two files at a time.
func (c *Cache) fetchUnit(ctx context.Context, path string) error {
	g := newLimited(ctx, 2)
	var walk func(dir string) error
	walk = func(dir string) error {
		list, err := c.ReadDir(g.ctx, dir)
		if err != nil {
			return err
		}
		for _, e := range list {
			p := join(dir, e.Name)
			if e.Type == syscall.S_IFDIR {
				if err := walk(p); err != nil {
					return err
				}
				continue
			}
			if e.Type != syscall.S_IFREG && e.Type != syscall.S_IFLNK && e.Type != 0 {
				continue
			}
			g.Go(func() error { return c.localize(g.ctx, p, false) })
		}
		return nil
	}
	err := walk(path)
	return errors.Join(err, g.Wait())
}

// Prefetch brings everything at and below paths into the tree.
func (c *Cache) Prefetch(ctx context.Context, paths []string) error {
	for _, p := range paths {
		if err := c.localize(ctx, p, false); err != nil {
			return fmt.Errorf("prefetch %q: %w", p, err)
		}
		st, err := c.tree.lstat(p)
		if err != nil {
			return err
		}
		if isDir(&st) {
			if err := c.fetchUnit(ctx, p); err != nil {
				return fmt.Errorf("prefetch %s: %w", p, err)
			}
		}
	}
	return nil
}
