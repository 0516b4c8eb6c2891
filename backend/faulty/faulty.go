// Package faulty wraps a [backend.Store] for tests: it counts calls, makes chosen ones
// fail before or after they did their work, holds them up, and plays a store that is out
// of reach. All of it may be used while calls are under way.
//
// faulty imports backend only.
package faulty

import (
	"context"
	"errors"
	"sync"

	"github.com/trainfs/trainfs/backend"
)

// Any stands for every operation, in place of one of backend's Op names.
const Any = ""

// ErrOffline is what calls fail with while the store is offline; it may heal.
var ErrOffline = errors.New("faulty: store out of reach")

// Store is the wrapper.
type Store struct {
	backend.Store

	mu struct {
		sync.Mutex
		calls  map[string]int
		faults []*fault
		online chan struct{} // closed while online
		hang   bool          // offline calls wait for online instead of failing
	}
}

type fault struct {
	op     string
	skip   int // matching calls to let pass first
	always bool
	after  bool // the call does its work, and then fails: nobody knows
	err    error
	hold   *Hold
}

// New wraps s, which does as it always did until told otherwise.
func New(s backend.Store) *Store {
	f := &Store{}
	f.mu.calls = make(map[string]int)
	f.mu.online = make(chan struct{})
	close(f.mu.online)
	f.Store = backend.Intercept(s, f.around)
	return f
}

// Calls tells how often op (or Any) was called, failures included.
func (f *Store) Calls(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op != Any {
		return f.mu.calls[op]
	}
	total := 0
	for _, n := range f.mu.calls {
		total += n
	}
	return total
}

// Fail makes the n-th op from now (1 is the next) fail with err and do nothing.
func (f *Store) Fail(op string, n int, err error) { f.add(&fault{op: op, skip: n - 1, err: err}) }

// FailAfter makes the n-th op from now do its work and then fail with err.
func (f *Store) FailAfter(op string, n int, err error) {
	f.add(&fault{op: op, skip: n - 1, err: err, after: true})
}

// FailAlways makes every op fail with err and do nothing, until Clear.
func (f *Store) FailAlways(op string, err error) { f.add(&fault{op: op, always: true, err: err}) }

// Clear forgets all faults that have not happened yet. It releases nothing that is held.
func (f *Store) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.faults = nil
}

// Offline makes every call fail with ErrOffline, or, if hang, wait until its context
// ends or Online is called.
func (f *Store) Offline(hang bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onlineLocked() {
		f.mu.online = make(chan struct{})
	}
	f.mu.hang = hang
}

// Online ends Offline.
func (f *Store) Online() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.onlineLocked() {
		close(f.mu.online)
	}
}

func (f *Store) onlineLocked() bool {
	select {
	case <-f.mu.online:
		return true
	default:
		return false
	}
}

func (f *Store) add(x *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.faults = append(f.mu.faults, x)
}

func (f *Store) around(ctx context.Context, op, key string, next func(context.Context) error) error {
	x, online, hang := f.arrive(op)
	if x != nil && x.hold != nil {
		if err := x.hold.wait(ctx); err != nil {
			return &backend.Error{Op: op, Key: key, Err: err}
		}
		x = nil
	}
	if err := reach(ctx, online, hang); err != nil {
		return &backend.Error{Op: op, Key: key, Err: err}
	}
	if x == nil {
		return next(ctx)
	}
	if x.after {
		if err := next(ctx); err != nil {
			return err
		}
	}
	return x.err
}

// arrive counts a call and picks the first fault that is due.
func (f *Store) arrive(op string) (due *fault, online <-chan struct{}, hang bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.calls[op]++
	left := f.mu.faults[:0:0]
	for _, x := range f.mu.faults {
		mine := x.op == op || x.op == Any
		if mine && x.skip > 0 {
			x.skip--
			mine = false
		}
		if mine && due == nil {
			due = x
			if !x.always {
				continue
			}
		}
		left = append(left, x)
	}
	f.mu.faults = left
	return due, f.mu.online, f.mu.hang
}

func reach(ctx context.Context, online <-chan struct{}, hang bool) error {
	select {
	case <-online:
		return nil
	default:
	}
	if !hang {
		return ErrOffline
	}
	select {
	case <-online:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
