package uploader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// ErrTorn says that something asked for will not be committed: a crash found it half
// written.
var ErrTorn = errors.New("torn: a crash found it half written; it stays on the local disk and is not uploaded. Write it again, or delete it")

const reportEvery = 250 * time.Millisecond

// Wait returns once everything at and below paths is committed and every deletion
// there is carried out. progress, if not nil, is called now and then. Torn units are
// waited for by nobody: if there are any when the rest is done, the error is ErrTorn.
func (u *Uploader) Wait(ctx context.Context, paths []string, progress func(cache.Progress)) error {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		changed, start := u.c.Changed(), time.Now()
		p := u.pending(paths)
		if progress != nil {
			progress(p)
		}
		if p.Done {
			if len(p.Torn) > 0 {
				return fmt.Errorf("%s: %w", strings.Join(p.Torn, "; "), ErrTorn)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			if len(p.Stuck) > 0 {
				return fmt.Errorf("%w: %s", ctx.Err(), strings.Join(p.Stuck, "; "))
			}
			return ctx.Err()
		case <-changed:
			// Many change at once, and each look goes over all that is pending.
			sleep(ctx, min(reportEvery, max(minRound, 10*time.Since(start))))
		case <-tick.C:
		}
	}
}

func (u *Uploader) pending(paths []string) cache.Progress {
	var sum cache.Progress
	for _, path := range paths {
		p := u.c.Pending(path)
		sum.Units += p.Units
		sum.Deletions += p.Deletions
		sum.BytesLeft += p.BytesLeft
		sum.Torn = append(sum.Torn, p.Torn...)
		sum.Stuck = append(sum.Stuck, p.Stuck...)
	}
	slices.Sort(sum.Torn)
	sum.Torn = slices.Compact(sum.Torn)
	sum.Rate = u.rate.now()
	sum.Done = sum.Units == 0 && sum.Deletions == 0
	return sum
}

// Commit closes what is at and below paths now, as far as nobody is writing to it, and
// tries failed uploads again at once.
func (u *Uploader) Commit(ctx context.Context, paths []string) error {
	for _, p := range paths {
		if err := u.c.RequestCommit(ctx, p); err != nil {
			return fmt.Errorf("commit %s: %w", p, err)
		}
	}
	return nil
}

// Status is the cache's, with the rate of the last seconds.
func (u *Uploader) Status() cache.Status {
	s := u.c.Status()
	s.UploadRate = u.rate.now()
	return s
}

// rate is how fast bytes have reached the store lately.
type rate struct {
	mu    sync.Mutex
	at    time.Time
	bytes int64
	value float64
}

const rateWindow = time.Second

func (r *rate) sample(c *cache.Cache) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if d := now.Sub(r.at); d >= rateWindow {
		bytes := c.BytesUploaded()
		if !r.at.IsZero() {
			fresh := float64(bytes-r.bytes) / d.Seconds()
			r.value = (r.value + 2*fresh) / 3
		}
		r.at, r.bytes = now, bytes
	}
}

func (r *rate) now() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.value < 1 {
		return 0
	}
	return r.value
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func parent(p string) string {
	if i := strings.LastIndexByte(p, '/'); i >= 0 {
		return p[:i]
	}
	return ""
}
