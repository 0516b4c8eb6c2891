package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cmd/trainfs/monitor"
	"github.com/trainfs/trainfs/uploader"
)

// everything is the root of a mount, as a path.
var everything = []string{""}

// engine is the uploader and the cache, as this package needs them. No path is nothing; ""
// is everything.
type engine interface {
	Run(ctx context.Context) error
	Status() cache.Status
	Wait(ctx context.Context, paths []string, progress func(cache.Progress)) error
	Commit(ctx context.Context, paths []string) error
	CacheReport() cache.CacheReport
	Prefetch(ctx context.Context, paths []string, progress func(prefetchProgress)) error
	Evict(ctx context.Context, paths []string) (freed int64, kept []string, err error)
	Verify(ctx context.Context, paths []string, report func(uploader.VerifyEvent)) (uploader.VerifyResult, error)
}

// fileSystem is a mount.
type fileSystem interface {
	// Wait returns once the kernel has let go of the mount.
	Wait()
	// Unmount says errBusy if files are open; lazy takes it out of the tree all the same.
	Unmount(lazy bool) error
	// Answers makes sure that requests come through.
	Answers(ctx context.Context) error
	// Abort cuts off whoever still holds files of a lazily unmounted file system.
	Abort()
	// Passthrough tells whether the kernel reads and writes files itself, and if not why.
	Passthrough() (on bool, why string)
}

// parts are the pieces of one mount as wire.go puts them together.
type parts struct {
	engine engine
	limits []string // of the store
	mount  func() (fileSystem, error)
	// monitor listens for whoever looks at the mount from outside; nil without metrics=.
	monitor func(status func() mountStatus) (*monitor.Server, error)
	close   func() error // gives the cache directory back and closes the store
}

// errStopping ends the requests that are under way when the daemon stops.
var errStopping = errors.New("the daemon is stopping; what is not uploaded goes up at the next mount")

const (
	goneGrace  = 10 * time.Second // for the kernel to let go of a mount that nobody uses
	abortGrace = time.Second      // and of one that was aborted
)

// session is one mount from start to end. Order at the start: log, store, cache,
// uploader, control socket, mount; at the end the other way round, with time for uploads
// once nobody can write any more.
type session struct {
	cfg     *Config
	log     *slog.Logger
	level   *logLevel
	parts   *parts
	fs      fileSystem
	service *service        // nil in the background
	watched *monitor.Server // nil without metrics=
	started time.Time

	gone      chan struct{} // closed once the kernel has let go of the mount
	asked     chan struct{} // closed once a Shutdown has unmounted and seen the uploads through
	askOnce   sync.Once
	shutdowns sync.RWMutex // held for reading by every Shutdown under way
	noWait    atomic.Bool  // the user does not want to wait for uploads
}

// run mounts, calls ready once the mount answers, and serves until it is unmounted, or ctx
// ends, or a shutdown is asked for. It returns when all that it started has ended.
func (s *session) run(ctx context.Context, ready func() error) (err error) {
	defer func() {
		if s.fs == nil || s.isGone() {
			err = errors.Join(err, s.parts.close())
			return
		}
		// Requests may still come: the cache must stay as it is until the process ends, and
		// the next start takes it for what it is, the end of a daemon that was killed.
		s.log.Warn("programs still hold files of the mount, and lose them now", "path", s.cfg.MountPoint)
	}()
	s.started = time.Now()
	s.gone, s.asked = make(chan struct{}), make(chan struct{})

	uploads, endUploads := context.WithCancel(context.WithoutCancel(ctx))
	defer endUploads()
	group, failed := errgroup.WithContext(ctx)
	requests, endRequests := context.WithCancel(failed)
	defer endRequests()
	control, err := listenControl(requests, s.cfg.CacheDir, s, s.log)
	if err != nil {
		return err
	}
	giveUp := func(err error) error {
		return errors.Join(err, control.listener.Close(), os.Remove(filepath.Join(s.cfg.CacheDir, controlSocket)))
	}
	if s.parts.monitor != nil {
		if s.watched, err = s.parts.monitor(s.Status); err != nil {
			return giveUp(err)
		}
	}
	if s.fs, err = s.parts.mount(); err != nil {
		return giveUp(errors.Join(err, s.stopWatching()))
	}

	// Not of the group: nothing ends this one if programs hold files and the kernel cannot
	// be told to cut them off. Then it is the end of the process that does both.
	go func() { s.fs.Wait(); close(s.gone) }()
	group.Go(control.Serve)
	group.Go(func() error { return s.runEngine(uploads) })
	if s.watched != nil {
		s.log.Info("metrics and status page", "at", s.watched.Address().String())
		group.Go(s.watched.Serve)
	}

	if err = s.answer(ctx, ready); err == nil {
		s.service.ready(s.cfg.MountPoint)
		group.Go(func() error { s.service.watch(requests, s.fs.Answers); return nil })
		s.log.Info("mounted", "path", s.cfg.MountPoint, "source", s.cfg.Source, "version", version, "pid", os.Getpid())
		s.serve(failed)
	}
	s.stop(err == nil)
	endRequests()
	err = errors.Join(err, control.Close(s.cfg.CacheDir), s.stopWatching())
	endUploads()
	err = errors.Join(err, group.Wait())
	s.log.Info("uploads stopped")
	return err
}

// runEngine uploads until its context ends; that it ended is then no error.
func (s *session) runEngine(ctx context.Context) error {
	err := s.parts.engine.Run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return wrapf(err, "uploader")
}

// answer reports ready once the mount answers a stat.
func (s *session) answer(ctx context.Context, ready func() error) error {
	probe, cancel := context.WithTimeout(ctx, s.cfg.MountTimeout)
	defer cancel()
	if err := s.fs.Answers(probe); err != nil {
		return fmt.Errorf("the mount at %s does not answer: %w", s.cfg.MountPoint, err)
	}
	return ready()
}

// serve returns when it is time to stop: the context ended (a signal, or a part failed),
// or the mount is gone, and whoever asked for that has seen the uploads through.
func (s *session) serve(ctx context.Context) {
	select {
	case <-ctx.Done():
		s.log.Info("stopping")
	case <-s.gone:
		s.log.Info("unmounted", "path", s.cfg.MountPoint)
	case <-s.asked: // the kernel may keep the mount for another mount namespace
	}
	s.shutdowns.Lock()
	defer s.shutdowns.Unlock()
}

// stop unmounts, lazily if need be, and gives uploads stop_timeout to finish; what they do
// not reach is in the journal.
func (s *session) stop(mayWait bool) {
	s.service.stopping(s.cfg.StopTimeout + goneGrace + abortGrace)
	clean := s.unmount()
	if mayWait && !s.noWait.Load() && s.cfg.StopTimeout > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StopTimeout)
		defer cancel()
		var left cache.Progress
		err := s.parts.engine.Wait(ctx, everything, cutShort(cancel, func(p cache.Progress) { left = p }))
		if err != nil {
			s.log.Warn("stopping with uploads to do: they go on at the next mount", "units", left.Units, "bytes", left.BytesLeft, "err", err)
		}
	}
	grace := time.After(0)
	if clean {
		grace = time.After(goneGrace) // requests that are being answered
	}
	select {
	case <-s.gone:
		return
	case <-grace:
	}
	s.fs.Abort()
	select {
	case <-s.gone:
	case <-time.After(abortGrace):
	}
}

func (s *session) isGone() bool {
	select {
	case <-s.gone:
		return true
	default:
		return false
	}
}

// unmount takes the mount out of the tree, and tells whether nobody holds files of it.
func (s *session) unmount() (clean bool) {
	if s.isGone() {
		return true
	}
	err := s.fs.Unmount(false)
	if err == nil {
		s.log.Info("unmounted", "path", s.cfg.MountPoint)
		return true
	}
	s.log.Warn("mount is in use: unmounting lazily", "err", err)
	if err := s.fs.Unmount(true); err != nil {
		s.log.Error("unmount", "err", err)
	}
	return false
}

// cutShort ends a wait early when nothing is left that waiting could help.
func cutShort(cancel func(), progress func(cache.Progress)) func(cache.Progress) {
	return func(p cache.Progress) {
		progress(p)
		if p.Units > 0 && p.Units <= len(p.Stuck) && p.Deletions == 0 {
			cancel()
		}
	}
}

// onlyTorn tells that all that can become durable is: torn units, which are not counted
// in Units, never will.
func onlyTorn(p cache.Progress) bool {
	return p.Units == 0 && p.Deletions == 0 && len(p.Torn) > 0
}

// untilDurable runs a wait, and ends it well when only torn units are left.
func untilDurable(ctx context.Context, wait func(context.Context, func(cache.Progress)) error, progress func(cache.Progress)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last cache.Progress
	err := wait(ctx, func(p cache.Progress) {
		last = p
		progress(p)
		if onlyTorn(p) {
			cancel()
		}
	})
	if err != nil && onlyTorn(last) {
		return nil
	}
	return err
}

// mountStatus is what status shows of a mount.
type mountStatus struct {
	cache.Status
	ReadOnly  bool  `json:"read_only"`
	CacheSize int64 `json:"cache_size"` // bound on cache_bytes; 0: none
	CacheFull bool  `json:"cache_full"` // and nothing can be evicted: writers wait

	StoreLimits []string `json:"store_limits,omitempty"` // what this store cannot do, and what follows
	Metrics     string   `json:"metrics,omitempty"`      // where metrics and the status page are
}

// Status is the engine's, with what only the mount knows.
func (s *session) Status() mountStatus {
	st := mountStatus{Status: s.parts.engine.Status(), ReadOnly: s.cfg.ReadOnly, CacheSize: s.cfg.CacheSizeBytes}
	st.Source, st.MountPoint, st.CacheDir = s.cfg.Source, s.cfg.MountPoint, s.cfg.CacheDir
	st.Version, st.PID, st.Started = version, os.Getpid(), s.started
	st.Passthrough, st.PassthroughReason = s.fs.Passthrough()
	st.StoreLimits = s.parts.limits
	if s.watched != nil {
		st.Metrics = s.watched.Address().String()
	}
	// The report looks at every unit: not each second, unless it may well be full.
	const mostFree = 1 << 30 // that min_free is by itself
	if st.CacheSize > 0 && st.CacheBytes >= st.CacheSize || st.CacheFree < max(s.cfg.MinFreeBytes, mostFree) {
		st.CacheFull = s.parts.engine.CacheReport().Full
	}
	return st
}

// Cache tells what is in the cache.
func (s *session) Cache() cacheAnswer {
	a := newCacheAnswer(s.parts.engine.CacheReport())
	a.Source, a.MountPoint = s.cfg.Source, s.cfg.MountPoint
	return a
}

// Prefetch passes on to the engine.
func (s *session) Prefetch(ctx context.Context, paths []string, progress func(prefetchProgress)) error {
	return s.parts.engine.Prefetch(ctx, paths, progress)
}

// Evict passes on to the engine.
func (s *session) Evict(ctx context.Context, paths []string) (evictAnswer, error) {
	freed, kept, err := s.parts.engine.Evict(ctx, paths)
	a := evictAnswer{Freed: freed, Kept: kept[:min(len(kept), maxCacheUnits)]}
	a.MoreKept = len(kept) - len(a.Kept)
	return a, err
}

// Verify passes on to the engine.
func (s *session) Verify(ctx context.Context, paths []string, report func(uploader.VerifyEvent)) (uploader.VerifyResult, error) {
	return s.parts.engine.Verify(ctx, paths, report)
}

// Wait passes on to the engine.
func (s *session) Wait(ctx context.Context, paths []string, progress func(cache.Progress)) error {
	return s.parts.engine.Wait(ctx, paths, progress)
}

// Commit passes on to the engine.
func (s *session) Commit(ctx context.Context, paths []string) error {
	return s.parts.engine.Commit(ctx, paths)
}

// Shutdown implements controlled. Between a drain and the unmount something may have been
// written, so the waiting comes after it.
func (s *session) Shutdown(ctx context.Context, wait bool, progress func(cache.Progress)) error {
	s.shutdowns.RLock()
	defer s.shutdowns.RUnlock()
	if err := s.fs.Unmount(false); err != nil {
		return err
	}
	s.noWait.Store(true) // what the client waits for happens here
	defer s.askOnce.Do(func() { close(s.asked) })
	if !wait {
		now, end := context.WithCancel(ctx)
		end()
		_ = s.parts.engine.Wait(now, everything, progress) // reports once what is left, and ends
		return nil
	}
	return untilDurable(ctx, func(ctx context.Context, progress func(cache.Progress)) error {
		return s.parts.engine.Wait(ctx, everything, progress)
	}, progress)
}
