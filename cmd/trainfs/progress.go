package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8"
	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache"
)

// progressView shows how a drain or a wait goes on.
type progressView interface {
	update(cache.Progress)
	// close ends the showing, and joins what the view has started.
	close()
}

// newProgressView draws a bar if out is a terminal, and plain lines otherwise.
func newProgressView(out *os.File) progressView {
	if isTerminal(out) {
		return newBarView(out)
	}
	return &lineView{out: out, now: time.Now}
}

// isTerminal tells whether a bar can be drawn. A terminal without a size, as some runners
// make them, has no room for one.
func isTerminal(out *os.File) bool {
	size, err := unix.IoctlGetWinsize(int(out.Fd()), unix.TIOCGWINSZ)
	return err == nil && size.Row > 0 && size.Col > 0
}

// meter turns what is left, which may grow while files are still being written, into a
// part of a whole.
type meter struct{ total, left int64 }

func (m *meter) update(left int64) {
	if left > m.left {
		m.total += left - m.left // new data came
	}
	m.left = left
}

func (m *meter) done() int64 { return m.total - m.left }

// leftText is what a progress line says is not yet committed.
func leftText(p cache.Progress) string {
	text := countText(p.Units, "unit")
	if p.Deletions > 0 {
		text += ", " + countText(p.Deletions, "deletion")
	}
	return text + " left"
}

// lineView prints a plain line about every second, and at the end.
type lineView struct {
	out    io.Writer
	now    func() time.Time
	meter  meter
	last   time.Time
	lastAt string
	told   trouble
}

func (v *lineView) update(p cache.Progress) {
	v.meter.update(p.BytesLeft)
	for _, line := range v.told.fresh(p) {
		fmt.Fprintln(v.out, line)
	}
	line := fmt.Sprintf("%s of %s uploaded, %s, %s",
		bytesText(v.meter.done()), bytesText(v.meter.total), rateText(p.Rate), leftText(p))
	if p.Done && p.Units+p.Deletions == 0 {
		line = "all committed, " + bytesText(v.meter.total) + " uploaded"
	}
	now := v.now()
	if !p.Done && now.Sub(v.last) < 950*time.Millisecond || line == v.lastAt && p.Done {
		return
	}
	v.last, v.lastAt = now, line
	fmt.Fprintln(v.out, line)
}

func (v *lineView) close() {}

// barView draws a bar on a terminal.
type barView struct {
	bars  *mpb.Progress
	bar   *mpb.Bar
	meter meter
	now   cache.Progress
	told  trouble
	texts chan string // what stands behind the bar; holds the newest
}

func newBarView(out io.Writer) *barView {
	v := &barView{bars: mpb.New(mpb.WithOutput(out), mpb.WithWidth(80)), texts: make(chan string, 1)}
	v.bar = addBytesBar(v.bars, v.texts)
	return v
}

func (v *barView) update(p cache.Progress) {
	v.meter.update(p.BytesLeft)
	for _, line := range v.told.fresh(p) {
		fmt.Fprintln(v.bars, line)
	}
	select {
	case <-v.texts:
	default:
	}
	v.texts <- rateText(p.Rate) + "  " + leftText(p)
	v.bar.SetTotal(v.meter.total, false)
	v.bar.SetCurrent(v.meter.done())
	v.now = p
}

func (v *barView) close() {
	if v.now.Done {
		v.bar.SetTotal(-1, true)
	} else {
		v.bar.Abort(false)
	}
	v.bars.Wait()
}

// trouble tells each torn and each stuck path once.
type trouble struct{ seen map[string]bool }

func (t *trouble) fresh(p cache.Progress) []string {
	if t.seen == nil {
		t.seen = map[string]bool{}
	}
	var lines []string
	for _, s := range p.Stuck {
		lines = append(lines, "needs help: "+s)
	}
	for _, s := range p.Torn {
		lines = append(lines, "torn, not uploaded: "+s)
	}
	return slices.DeleteFunc(lines, func(line string) bool {
		old := t.seen[line]
		t.seen[line] = true
		return old
	})
}

// leftReport says in one sentence, and the paths that need somebody, what is not durable.
func leftReport(p cache.Progress) string {
	text := leftText(p)
	if p.BytesLeft > 0 { // not known before the files are closed
		text += " (" + bytesText(p.BytesLeft) + ")"
	}
	for _, s := range p.Stuck {
		text += "\n  " + s
	}
	return strings.TrimSpace(text)
}
