package faulty

import (
	"context"
	"sync"
)

// Hold stops one call before it does its work, so that a test can look at the moment.
type Hold struct {
	reached  chan struct{}
	released chan struct{}
	once     sync.Once
}

// Hold stops the n-th op from now until Release, or until the call's context ends.
func (f *Store) Hold(op string, n int) *Hold {
	h := &Hold{reached: make(chan struct{}), released: make(chan struct{})}
	f.add(&fault{op: op, skip: n - 1, hold: h})
	return h
}

// Reached is closed once the call has come.
func (h *Hold) Reached() <-chan struct{} { return h.reached }

// Release lets the call go on. It may be called more than once.
func (h *Hold) Release() { h.once.Do(func() { close(h.released) }) }

func (h *Hold) wait(ctx context.Context) error {
	close(h.reached)
	select {
	case <-h.released:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
