package backend

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestRetryGoesOnUntilItHeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, notified := 0, 0
		r := Retry{Notify: func(op string, attempt int, wait time.Duration, err error) {
			notified++
			if op != "put" || attempt != notified || wait <= 0 || wait > time.Minute || err == nil {
				t.Errorf("Notify(%q, %d, %v, %v)", op, attempt, wait, err)
			}
		}}
		start := time.Now()
		err := r.Do(t.Context(), "put", func() error {
			if calls++; calls < 100 {
				return errors.New("503")
			}
			return nil
		})
		if err != nil || calls != 100 || notified != 99 {
			t.Errorf("%v after %d calls and %d notices", err, calls, notified)
		}
		if d := time.Since(start); d < 10*time.Minute {
			t.Errorf("100 attempts in %v: does not back off", d)
		}
	})
}

func TestRetryReturnsWhatCannotHealAtOnce(t *testing.T) {
	for _, kind := range []error{ErrDenied, ErrNoBucket, ErrExist, ErrChecksum, context.Canceled} {
		calls := 0
		want := &Error{Op: "put", Key: "a", Kind: kind}
		err := Retry{}.Do(t.Context(), "put", func() error { calls++; return want })
		if calls != 1 || err != error(want) {
			t.Errorf("%v: %v after %d calls", kind, err, calls)
		}
	}
}

func TestRetryEndsWithItsContextAndTellsTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		boom := errors.New("boom")
		err := Retry{}.Do(ctx, "put", func() error { return boom })
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, boom) {
			t.Errorf("error %v", err)
		}
		if err := (Retry{}).Do(ctx, "put", func() error { t.Error("called"); return nil }); err == nil {
			t.Error("no error from a context that has ended")
		}
	})
}

func TestRetryOutlastsTheTimeoutOfOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		err := Retry{}.Do(t.Context(), "get", func() error {
			if calls++; calls < 3 {
				return &Error{Op: "get", Err: context.DeadlineExceeded}
			}
			return nil
		})
		if err != nil || calls != 3 {
			t.Errorf("%v after %d calls", err, calls)
		}
	})
}
