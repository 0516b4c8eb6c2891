package cache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// This file keeps an outage of the store out of programs' way (P7). The program that finds
// it out waits for store_timeout, once. From then on nobody asks the store on behalf of a
// program: what only the store can say is answered with errOffline, at once. watchStore
// finds out when it is back, and so does any upload that gets through. Uploads that failed in
// an outage do not wait for the end of their pauses, of up to half a minute, once it is over.

// errOffline comes before the store's own words in an error, so that a program gets EIO
// and not the errno of some socket.
var errOffline = fmt.Errorf("the store cannot be reached: %w", syscall.EIO)

const (
	offlinePause = 2 * time.Second // between two questions whether the store is back
	wakeSpread   = time.Second     // in which units are tried again when it is: not all nodes and units at once
)

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
	n.lose(err)
	n.suspect()
	return fmt.Errorf("%w: %w", errOffline, err)
}

// answered tells that the store has said something, be it a refusal.
func answered(err error) bool {
	return err == nil || backend.Permanent(err) && !errors.Is(err, context.Canceled)
}

// Offline tells that the store is not known to answer.
func (c *Cache) Offline() bool { return c.names.offline() }

// offline tells that the store has not answered, and is not known to be back.
func (n *names) offline() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost != nil
}

// lose notes that the store does not answer, and why.
func (n *names) lose(err error) {
	n.mu.Lock()
	n.lost = err
	n.mu.Unlock()
}

// suspect has watchStore ask.
func (n *names) suspect() {
	select {
	case n.down <- struct{}{}:
	default: // it will
	}
}

// back notes that the store answers.
func (n *names) back() {
	n.mu.Lock()
	n.lost = nil
	n.mu.Unlock()
}

// watchStore asks a store that was lost, or to which an upload failed, until it answers, or
// ctx ends.
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
		missed := false
		for asked := false; !asked || c.names.offline(); asked = true {
			pause.Reset(offlinePause)
			select {
			case <-ctx.Done():
				return
			case <-pause.C:
			}
			missed = !c.askWhetherBack(ctx) || missed
		}
		// Where no question failed there was no outage: what failed goes on waiting, or what
		// fails for good would be tried without pause.
		if missed {
			c.outageOver()
			c.tryAgain()
		}
	}
}

func (c *Cache) askWhetherBack(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.StoreTimeout)
	defer cancel()
	_, err := c.cfg.Store.List(ctx, backend.ListOptions{Prefix: layout.UnitsPrefix(""), Limit: 1})
	if !answered(err) {
		c.names.lose(err)
		return false
	}
	c.names.back()
	return true
}

// tryAgain makes the units that wait after a failure due.
func (c *Cache) tryAgain() {
	c.mu.Lock()
	now := time.Now()
	for _, u := range c.mu.units {
		if u.attempts == 0 {
			continue
		}
		u.attempts = 1 // what fails on a connection of the outage is soon tried again
		if at := now.Add(rand.N(wakeSpread)); u.nextTry.After(at) {
			u.nextTry = at
		}
	}
	c.mu.Unlock()
	c.poke()
}
