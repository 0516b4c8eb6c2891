package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/trainfs/trainfs/layout"
	"github.com/trainfs/trainfs/uploader"
)

// shownHarmless bounds the lines about files that are extra or unverified: in a bucket of
// other tools that may be all of them.
const shownHarmless = 20

// verification compares what the store has, and tells what it finds.
type verification struct {
	json    bool
	verbose bool // name files that are ok
	out     *os.File

	hold   bool // lines wait for the end: a bar is drawn on the same terminal
	held   []string
	shown  map[uploader.VerifyStatus]int
	result uploader.VerifyResult
}

func (v *verification) run(ctx context.Context, paths []string, o transferOptions) error {
	groups, err := sortByMount(paths, findPath) // what the store has lost does not show
	if err != nil {
		return err
	}
	v.shown = map[uploader.VerifyStatus]int{}
	if isTerminal(o.errs) && isTerminal(v.out) {
		o.quiet = o.quiet || v.json
		v.hold = !o.quiet
	}
	ctx, view, end := o.begin(ctx, "read")
	for _, g := range groups {
		before := v.result
		err = g.client.verify(ctx, g.inside, func(e uploader.VerifyEvent) {
			v.result = plus(before, e.Result)
			if e.File != nil {
				v.file(g, e.File)
			}
			view.update(transfer{v.result.BytesDone, v.result.Bytes})
		})
		if err != nil {
			break
		}
	}
	if err == nil {
		view.complete()
	}
	end() // before lines that would go into the bar
	v.finish(err == nil)
	switch {
	case err != nil:
		return o.ended(ctx, err, fmt.Sprintf("%s of %s verified, %s", bytesText(v.result.BytesDone), bytesText(v.result.Bytes), resultText(v.result)))
	case v.result.Bad() > 0:
		return fmt.Errorf("the store does not have what it should: of %s", resultText(v.result))
	}
	return nil
}

// file tells one result.
func (v *verification) file(g *mountPaths, f *uploader.VerifiedFile) {
	if !strings.HasPrefix(f.Path, layout.Prefix) { // manifests do not show in the mount
		f.Path = g.outside(f.Path)
	}
	if v.json {
		if b, err := json.Marshal(f); err == nil {
			v.line(string(b))
		}
		return
	}
	v.shown[f.Status]++
	switch f.Status {
	case uploader.VerifyOK:
		if !v.verbose {
			return
		}
	case uploader.VerifyExtra, uploader.VerifyUnverified:
		if !v.verbose && v.shown[f.Status] > shownHarmless {
			return
		}
	}
	v.line(verifiedText(f))
}

func verifiedText(f *uploader.VerifiedFile) string {
	text := fmt.Sprintf("%-10s  %s", f.Status, oneLine(f.Path))
	var more []string
	if f.Expected != "" {
		by := ""
		if f.Against != "" {
			by = " (" + f.Against + ")"
		}
		more = append(more, "expected "+f.Expected+by)
	}
	if f.Got != "" {
		more = append(more, "got "+f.Got)
	}
	if f.Reason != "" {
		more = append(more, f.Reason)
	}
	if len(more) > 0 {
		text += ": " + oneLine(strings.Join(more, ", "))
	}
	return text
}

func (v *verification) line(text string) {
	if v.hold {
		v.held = append(v.held, text)
		return
	}
	fmt.Fprintln(v.out, text)
}

// finish prints what was held back, and the sum; complete tells that it is of everything.
func (v *verification) finish(complete bool) {
	v.hold = false
	for _, text := range v.held {
		v.line(text)
	}
	if v.json {
		if b, err := json.Marshal(map[string]any{"result": v.result, "complete": complete}); err == nil {
			v.line(string(b))
		}
		return
	}
	for _, s := range []uploader.VerifyStatus{uploader.VerifyExtra, uploader.VerifyUnverified} {
		if more := v.shown[s] - shownHarmless; more > 0 && !v.verbose {
			v.line(fmt.Sprintf("… and %d more that are %s (--verbose names them)", more, s))
		}
	}
	v.line(resultText(v.result) + ", " + bytesText(v.result.BytesDone))
}

// resultText counts the files, those that are wrong last.
func resultText(r uploader.VerifyResult) string {
	text := countText(r.Files(), "file")
	sep := ": "
	for _, c := range []struct {
		n    int
		what uploader.VerifyStatus
	}{
		{r.OK, uploader.VerifyOK}, {r.Extra, uploader.VerifyExtra}, {r.Unverified, uploader.VerifyUnverified},
		{r.Unreadable, uploader.VerifyUnreadable}, {r.Missing, uploader.VerifyMissing}, {r.Mismatch, uploader.VerifyMismatch},
	} {
		if c.n > 0 {
			text += fmt.Sprintf("%s%d %s", sep, c.n, c.what)
			sep = ", "
		}
	}
	return text
}

func plus(a, b uploader.VerifyResult) uploader.VerifyResult {
	b.OK += a.OK
	b.Mismatch += a.Mismatch
	b.Missing += a.Missing
	b.Unreadable += a.Unreadable
	b.Extra += a.Extra
	b.Unverified += a.Unverified
	b.Bytes += a.Bytes
	b.BytesDone += a.BytesDone
	return b
}
