package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/uploader"
)

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

// fakeEngine is an uploader whose uploads end when the test says so.
type fakeEngine struct {
	report    cache.Progress // what every wait reports first
	committed chan struct{}  // closed: all is committed
	runErr    error          // of Run, which otherwise ends with its context
	commitErr error

	mu      sync.Mutex
	waits   [][]string
	commits [][]string
	running bool
	calls   []string

	cache    cache.CacheReport
	evicted  [][]string
	kept     []string
	verified []uploader.VerifiedFile
}

func newFakeEngine() *fakeEngine { return &fakeEngine{committed: make(chan struct{})} }

func (e *fakeEngine) Run(ctx context.Context) error {
	if e.runErr != nil {
		return e.runErr
	}
	e.setRunning(true)
	defer e.setRunning(false)
	<-ctx.Done()
	return ctx.Err()
}

func (e *fakeEngine) setRunning(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.running = on
}

func (e *fakeEngine) Status() cache.Status {
	return cache.Status{Node: "n1", BytesLeft: 42, UnitsByState: map[cache.State]int{cache.StateDirty: 1}}
}

func (e *fakeEngine) Wait(ctx context.Context, paths []string, progress func(cache.Progress)) error {
	e.mu.Lock()
	e.waits = append(e.waits, paths)
	e.mu.Unlock()
	select {
	case <-e.committed:
		progress(cache.Progress{Done: true})
		return nil
	default:
	}
	progress(e.report)
	select {
	case <-e.committed:
		progress(cache.Progress{Done: true})
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *fakeEngine) Commit(_ context.Context, paths []string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.commits = append(e.commits, paths)
	return e.commitErr
}

func (e *fakeEngine) CacheReport() cache.CacheReport { return e.cache }

func (e *fakeEngine) Evict(_ context.Context, paths []string) (int64, []string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.evicted = append(e.evicted, paths)
	return 7, e.kept, nil
}

// Prefetch ends when the uploads do.
func (e *fakeEngine) Prefetch(ctx context.Context, paths []string, progress func(prefetchProgress)) error {
	progress(prefetchProgress{Bytes: 1, Total: 9})
	select {
	case <-e.committed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *fakeEngine) Verify(_ context.Context, paths []string, report func(uploader.VerifyEvent)) (r uploader.VerifyResult, err error) {
	for _, f := range e.verified {
		if r.OK++; f.Status == uploader.VerifyMismatch {
			r.OK, r.Mismatch = r.OK-1, r.Mismatch+1
		}
		report(uploader.VerifyEvent{File: &f, Result: r})
	}
	return r, nil
}

// fakeFS is a mount that is gone once unmounted, or once abort is called.
type fakeFS struct {
	busy      bool
	deaf      bool // to abort
	answerErr error

	once sync.Once
	gone chan struct{}
	mu   sync.Mutex
	log  []string
}

func newFakeFS() *fakeFS { return &fakeFS{gone: make(chan struct{})} }

func (f *fakeFS) note(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, what)
}

func (f *fakeFS) Wait() { <-f.gone }

func (f *fakeFS) Unmount(lazy bool) error {
	if lazy {
		f.note("unmount lazily")
		return nil // gone once its users are
	}
	f.note("unmount")
	if f.busy {
		return errBusy
	}
	f.vanish()
	return nil
}

func (f *fakeFS) vanish() { f.once.Do(func() { close(f.gone) }) }

func (f *fakeFS) Answers(context.Context) error { return f.answerErr }
func (f *fakeFS) Passthrough() (bool, string)   { return false, "test" }

func (f *fakeFS) Abort() {
	f.note("abort")
	if !f.deaf {
		f.vanish()
	}
}

var errTest = errors.New("as the test wants")
