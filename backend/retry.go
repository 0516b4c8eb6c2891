package backend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Retry says how to go on trying what may heal. The zero value is good.
type Retry struct {
	First time.Duration // longest wait after the first failure; 200 ms
	Max   time.Duration // longest wait ever; 1 min

	// Notify, if set, is told of each failure that is tried again after wait. attempt counts
	// from 1.
	Notify func(op string, attempt int, wait time.Duration, err error)
}

// Do calls f until it succeeds, for as long as its errors may heal: an error that
// [Permanent] knows is returned at once, and when ctx ends the last error is, together
// with why ctx ended. Waits double, and each is drawn from zero up ("full jitter"), so
// that nodes which failed together do not come back together.
func (r Retry) Do(ctx context.Context, op string, f func() error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var (
		attempt = 0
		last    error
	)
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		attempt++
		last = f()
		if last != nil && Permanent(last) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	},
		backoff.WithBackOff(newJitter(r.First, r.Max)),
		backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, wait time.Duration) {
			if r.Notify != nil {
				r.Notify(op, attempt, wait, err)
			}
		}))
	if err != nil && last != nil && !errors.Is(last, err) { // ctx ended while waiting
		return fmt.Errorf("%s: %w, after: %w", op, err, last)
	}
	return err
}

// jitter is a backoff.BackOff that never stops.
type jitter struct{ first, limit, next time.Duration }

func newJitter(first, limit time.Duration) *jitter {
	if first <= 0 {
		first = 200 * time.Millisecond
	}
	if limit <= 0 {
		limit = time.Minute
	}
	return &jitter{first: first, limit: max(first, limit), next: first}
}

func (j *jitter) Reset() { j.next = j.first }

func (j *jitter) NextBackOff() time.Duration {
	wait := rand.N(j.next) + 1 // zero would be no wait at all
	j.next = min(2*j.next, j.limit)
	return wait
}
