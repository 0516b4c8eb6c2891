package cache

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// This file keeps an outage of the store out of programs' way (P7). The program that finds
// it out waits for store_timeout, once. From then on nobody asks the store on behalf of a
// program: what only the store can say is answered with errOffline, at once. watchStore
// finds out when it is back, and so does any upload that gets through.

// errOffline comes before the store's own words in an error, so that a program gets EIO
// and not the errno of some socket.
var errOffline = fmt.Errorf("the store cannot be reached: %w", syscall.EIO)

const offlinePause = 2 * time.Second // between two questions whether the store is back

// ask runs one request that a program waits for.
func (n *names) ask(ctx context.Context, f func(context.Context) error) error {
	n.mu.Lock()
	lost := n.lost
	n.mu.Unlock()
	if lost != nil {
		return fmt.Errorf("%w: %w", errOffline, lost)
	}
	tctx, cancel := context.WithTimeout(ctx, n.c.cfg.StoreTimeout)
	defer cancel()
	err := f(tctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if answered(err) {
		return err
	}
	n.mu.Lock()
	n.lost = err
	n.mu.Unlock()
	select {
	case n.down <- struct{}{}:
	default: // it is known
	}
	return fmt.Errorf("%w: %w", errOffline, err)
}

// answered tells that the store has said something, be it a refusal.
func answered(err error) bool {
	return err == nil || backend.Permanent(err) && !errors.Is(err, context.Canceled)
}

// offline tells that the store has not answered, and is not known to be back.
func (n *names) offline() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost != nil
}

// back notes that the store answers.
func (n *names) back() {
	n.mu.Lock()
	n.lost = nil
	n.mu.Unlock()
}

// watchStore asks a store that was lost until it answers, or ctx ends.
func (c *Cache) watchStore(ctx context.Context) {
	defer c.loops.Done()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.names.down:
		}
		for c.names.offline() {
			pause.Reset(offlinePause)
			select {
			case <-ctx.Done():
				return
			case <-pause.C:
			}
			c.askWhetherBack(ctx)
		}
	}
}

func (c *Cache) askWhetherBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StoreTimeout)
	defer cancel()
	if _, err := c.cfg.Store.List(ctx, backend.ListOptions{Prefix: layout.UnitsPrefix(""), Limit: 1}); answered(err) {
		c.names.back()
	}
}
