package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// transfer is how much of something that is read has been.
type transfer struct{ done, total int64 }

// transferView shows how reading goes on.
type transferView interface {
	update(transfer)
	// complete says that it was the whole.
	complete()
	// close ends the showing, and joins what the view has started.
	close()
}

// transferOptions are those of commands that read much.
type transferOptions struct {
	timeout time.Duration // 0: as long as it takes
	quiet   bool
	errs    *os.File // where the progress goes
}

// begin gives the context and the view of one such command. The caller calls end.
func (o *transferOptions) begin(ctx context.Context, verb string) (_ context.Context, view transferView, end func()) {
	cancel := func() {}
	if o.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
	}
	switch {
	case o.quiet:
		view = noTransfer{}
	case isTerminal(o.errs):
		view = newTransferBar(o.errs)
	default:
		view = &transferLines{out: o.errs, verb: verb, now: time.Now}
	}
	return ctx, view, func() { view.close(); cancel() }
}

// ended is the error of such a command; how far it came is said if it was broken off.
func (o *transferOptions) ended(ctx context.Context, err error, far string) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return timeoutf("%s after %s", far, o.timeout)
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %s", far)
	}
	return err
}

// speed is a rate, smoothed over some seconds.
type speed struct {
	at    time.Time
	done  int64
	value float64
}

func (s *speed) sample(done int64, now time.Time) float64 {
	switch since := now.Sub(s.at); {
	case s.at.IsZero():
		s.at, s.done = now, done
	case since >= 500*time.Millisecond:
		fresh := float64(done-s.done) / since.Seconds()
		if s.value == 0 {
			s.value = fresh
		}
		s.value += (fresh - s.value) / 3
		s.at, s.done = now, done
	}
	return max(s.value, 0)
}

// transferLines prints a plain line about every second, and at the end.
type transferLines struct {
	out   io.Writer
	verb  string
	now   func() time.Time
	speed speed
	last  time.Time
	state transfer
}

func (v *transferLines) update(t transfer) {
	v.state = t
	now := v.now()
	rate := v.speed.sample(t.done, now)
	if now.Sub(v.last) < 950*time.Millisecond {
		return
	}
	v.last = now
	fmt.Fprintf(v.out, "%s of %s %s, %s\n", bytesText(t.done), bytesText(t.total), v.verb, rateText(rate))
}

func (v *transferLines) complete() {
	fmt.Fprintf(v.out, "all %s, %s\n", v.verb, bytesText(v.state.total))
}

func (v *transferLines) close() {}

// transferBar draws a bar on a terminal.
type transferBar struct {
	bars  *mpb.Progress
	bar   *mpb.Bar
	speed speed
	whole bool
	texts chan string // what stands behind the bar; holds the newest
}

func newTransferBar(out io.Writer) *transferBar {
	v := &transferBar{bars: mpb.New(mpb.WithOutput(out), mpb.WithWidth(80)), texts: make(chan string, 1)}
	v.bar = addBytesBar(v.bars, v.texts)
	return v
}

func (v *transferBar) update(t transfer) {
	select {
	case <-v.texts:
	default:
	}
	v.texts <- rateText(v.speed.sample(t.done, time.Now()))
	v.bar.SetTotal(t.total, false)
	v.bar.SetCurrent(t.done)
}

func (v *transferBar) complete() { v.whole = true }

func (v *transferBar) close() {
	if v.whole {
		v.bar.SetTotal(-1, true)
	} else {
		v.bar.Abort(false)
	}
	v.bars.Wait()
}

// addBytesBar makes a bar of bytes, with the newest text behind it.
func addBytesBar(bars *mpb.Progress, texts <-chan string) *mpb.Bar {
	text := ""
	return bars.AddBar(0,
		mpb.PrependDecorators(decor.CountersKibiByte("% .1f / % .1f")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string {
			select {
			case text = <-texts:
			default:
			}
			return text
		})))
}

// noTransfer shows nothing.
type noTransfer struct{}

func (noTransfer) update(transfer) {}
func (noTransfer) complete()       {}
func (noTransfer) close()          {}
