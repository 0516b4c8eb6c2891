package uploader

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// Config of New. Zero values take the defaults.
type Config struct {
	Parallel int           // requests that upload at the same time; 8
	PartSize int64         // bytes, of files small enough for it; 16 MiB
	Hold     time.Duration // a tracker waits at most so long for what it names; 15 min
	Logger   *slog.Logger
}

const (
	smallFile   = 1 << 20     // up to this a file is put whole at publish, bytes
	smallBudget = 64 << 20    // of them a checkpoint keeps at most so much in memory, bytes
	earlyQuiet  = time.Second // so long a file was closed before it goes ahead of its directory
	unitsAtOnce = 64
	marksAtOnce = 16 // open markers on their way
	// While the store does not answer, so many units are tried at once, the others wait until it
	// does: an outage is no reason for more requests, or for more memory, the longer it lasts.
	unitsInOutage = 4
	sealersMax    = 2 // checksums are bound by the processor
	recheckTime   = 5 * time.Second
	sweepTime     = 30 * time.Second
	maxIdle       = time.Second // the loop looks at least this often
	minRound      = 5 * time.Millisecond
)

// Uploader commits what the cache has that the store has not.
type Uploader struct {
	c     *cache.Cache
	store backend.Store
	cfg   Config
	log   *slog.Logger

	ctx   context.Context // of the work in the background; ends with Run
	work  sync.WaitGroup
	parts *semaphore.Weighted // requests with data
	files *semaphore.Weighted // of which they are parts, of all units
	seals *semaphore.Weighted
	paths pathLocks
	jobs  jobs
	rate  rate

	deleting, rechecking, sweeping, straying, claiming flag
	taken                                              taken
	holds                                              holds

	attempting, marking atomic.Int64 // units taken from Due; open markers on their way
}

// New makes an uploader and gives the cache somebody who commits for programs that
// wait.
func New(c *cache.Cache, cfg Config) *Uploader {
	if cfg.Parallel <= 0 {
		cfg.Parallel = 8
	}
	if cfg.PartSize <= 0 {
		cfg.PartSize = 16 << 20
	}
	if cfg.Hold <= 0 {
		cfg.Hold = 15 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	u := &Uploader{
		c: c, store: c.UploadStore(), cfg: cfg, log: cfg.Logger,
		parts: semaphore.NewWeighted(int64(cfg.Parallel)),
		files: semaphore.NewWeighted(int64(4 * cfg.Parallel)),
		seals: semaphore.NewWeighted(sealersMax),
	}
	u.jobs.byPath = map[string]*job{}
	u.ctx = context.Background()
	c.SetCommitter(u)
	return u
}

// Run uploads until ctx ends, and returns once everything it started has ended. What
// is half done then is in the journal. It is called once.
func (u *Uploader) Run(ctx context.Context) error {
	u.ctx = ctx
	if u.c.ReadOnly() { // what an earlier mount has left to do stays to be done
		<-ctx.Done()
		return ctx.Err()
	}
	defer u.work.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-u.c.Wake():
		case <-timer.C:
		}
		u.rate.sample(u.c)
		start := time.Now()
		next := u.round()
		// A round looks at every unit. Thousands of files closed in a second are looked at
		// together, and the looking takes a tenth of the time at most.
		sleep(ctx, max(minRound, 10*time.Since(start)))
		timer.Reset(max(0, time.Until(next)))
	}
}

// round starts whatever is due and tells when to look again.
func (u *Uploader) round() time.Time {
	most, nextFile := unitsInOutage, time.Time{}
	if !u.c.Offline() {
		most = unitsAtOnce
		u.mark()
		nextFile = u.stageClosed()
	}
	due, nextUnit := u.c.Due(time.Now(), max(0, most-int(u.attempting.Load())))
	for _, unit := range due {
		u.attempting.Add(1)
		u.start(func() { u.attempt(unit) })
	}
	u.deleting.start(u, 0, u.deleteSome)
	u.straying.start(u, 0, u.dropStrays)
	u.rechecking.start(u, recheckTime, u.c.Recheck)
	u.claiming.start(u, claimEvery, u.claim)
	u.sweeping.start(u, sweepTime, u.sweepStages)
	return earliest(time.Now().Add(maxIdle), nextFile, nextUnit)
}

func (u *Uploader) start(f func()) {
	u.work.Add(1)
	go func() {
		defer u.work.Done()
		f()
	}()
}

func earliest(t time.Time, others ...time.Time) time.Time {
	for _, o := range others {
		if !o.IsZero() && o.Before(t) {
			t = o
		}
	}
	return t
}

// errWait says that a unit is ready and waits for others (P4).
type errWait struct{ reason string }

func (e errWait) Error() string { return e.reason }

// attempt takes a unit as far as it goes, and gives it back.
func (u *Uploader) attempt(unit *cache.Unit) {
	err := u.commit(u.ctx, unit)
	u.attempting.Add(-1)
	var wait errWait
	switch {
	case err == nil, errors.Is(err, cache.ErrReopened), errors.Is(err, cache.ErrGone), u.ctx.Err() != nil:
		u.c.Release(unit, nil, 0)
	case errors.As(err, &wait):
		u.c.Postpone(unit, wait.reason, 50*time.Millisecond)
	default:
		n := u.c.Attempts(unit)
		delay := backoff(n, backend.Permanent(err))
		if n == 0 || n%10 == 9 {
			u.log.Warn("cannot commit, will try again", "unit", unit.Path, "attempt", n+1, "in", delay.Round(time.Millisecond), "err", err)
		}
		u.c.StoreAnswered(reachable(err))
		u.c.Release(unit, err, delay)
		return
	}
	if err == nil {
		u.c.StoreAnswered(nil)
	}
}

// reachable turns an answer of the store, be it a refusal, into nil.
func reachable(err error) error {
	if backend.Permanent(err) && !errors.Is(err, backend.ErrDenied) && !errors.Is(err, backend.ErrNoBucket) && !errors.Is(err, backend.ErrConfig) {
		return nil
	}
	return err
}

// backoff is the time until the next attempt: doubling, with full jitter, up to half
// a minute for what may heal, ten minutes for what somebody has to mend.
func backoff(attempt int, permanent bool) time.Duration {
	base, most := 500*time.Millisecond, 30*time.Second
	if permanent {
		base, most = 5*time.Second, 10*time.Minute
	}
	d := min(most, base<<min(attempt, 16))
	return d/4 + rand.N(d*3/4)
}

// flag runs one thing in the background at a time, and not more often than every.
type flag struct {
	mu   sync.Mutex
	busy bool
	last time.Time
}

func (f *flag) start(u *Uploader, every time.Duration, do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy || time.Since(f.last) < every {
		return
	}
	f.busy = true
	u.start(func() {
		do()
		f.mu.Lock()
		f.busy, f.last = false, time.Now()
		f.mu.Unlock()
	})
}

// pathLocks keeps two uploads of the same path apart.
type pathLocks struct {
	mu   sync.Mutex
	held map[string]*pathLock
}

type pathLock struct {
	ch   chan struct{}
	refs int
}

// lock waits for path; the caller calls the func it returns.
func (l *pathLocks) lock(ctx context.Context, path string) (func(), error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[string]*pathLock{}
	}
	p := l.held[path]
	if p == nil {
		p = &pathLock{ch: make(chan struct{}, 1)}
		l.held[path] = p
	}
	p.refs++
	l.mu.Unlock()
	done := func() {
		l.mu.Lock()
		if p.refs--; p.refs == 0 {
			delete(l.held, path)
		}
		l.mu.Unlock()
	}
	select {
	case p.ch <- struct{}{}:
		return func() { <-p.ch; done() }, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}

func isMarker(c *cache.Cache, path string) bool {
	return c.Layout().Classify(path, false).Marker
}
