package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// shownUnits bounds the table; --json has more.
const shownUnits = 40

// writeStatus prints one mount for people.
func writeStatus(w io.Writer, st *mountStatus, now time.Time) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(tw, "%s on %s%s\n", st.Source, st.MountPoint, map[bool]string{true: ", read-only"}[st.ReadOnly])
	fmt.Fprintf(tw, "  daemon\tpid %d, trainfs %s, up %s, node %s\n", st.PID, st.Version, ageText(now.Sub(st.Started)), st.Node)
	fmt.Fprintf(tw, "  store\t%s\n", storeText(&st.Status))
	for _, limit := range st.StoreLimits {
		fmt.Fprintf(tw, "  \t%s\n", oneLine(limit))
	}
	fmt.Fprintf(tw, "  left\t%s\n", leftOf(&st.Status, now))
	fmt.Fprintf(tw, "  uploaded\t%s, now %s; fetched %s\n", bytesText(st.BytesUploaded), rateText(st.UploadRate), bytesText(st.BytesFetched))
	if st.LastCommitted != "" {
		fmt.Fprintf(tw, "  last committed\t%s\n", printable(st.LastCommitted))
	}
	fmt.Fprintf(tw, "  cache\t%s: %s, %s free on its disk\n", st.CacheDir, usedText(st.CacheBytes, st.CacheSize), bytesText(st.CacheFree))
	if st.CacheFull {
		fmt.Fprintf(tw, "  \t%s\n", cacheFullText)
	}
	fmt.Fprintf(tw, "  passthrough\t%s\n", passthroughText(&st.Status))
	if st.Metrics != "" {
		fmt.Fprintf(tw, "  metrics\t%s\n", oneLine(st.Metrics))
	}
	if st.LostFound > 0 {
		fmt.Fprintf(tw, "  set aside\t%s in %s/lost+found\n", countText(st.LostFound, "file"), st.CacheDir)
	}
	if st.HiddenKeys > 0 {
		fmt.Fprintf(tw, "  hidden\t%s that cannot be file names\n", countText(st.HiddenKeys, "remote key"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	return writeUnits(w, &st.Status, now)
}

func writeUnits(w io.Writer, st *cache.Status, now time.Time) error {
	if len(st.Units) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "  STATE\tDONE\tOF\tFILES\tAGE\tPATH\tWHY")
	for _, u := range st.Units[:min(len(st.Units), shownUnits)] {
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%d\t%s\t%s\t%s\n", u.State, percent(u), bytesText(u.Bytes), u.Files,
			ageText(now.Sub(u.Since)), oneLine(u.Path), oneLine(u.Reason))
	}
	if more := len(st.Units) - shownUnits; more > 0 {
		fmt.Fprintf(tw, "  … %s more (--json shows them)\n", countText(more, "unit"))
	}
	return tw.Flush()
}

func percent(u cache.UnitStatus) string {
	if u.Bytes <= 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", min(100, max(0, u.BytesDone)*100/u.Bytes))
}

func storeText(st *cache.Status) string {
	if st.StoreReachable {
		return "reachable"
	}
	return "NOT REACHABLE: " + oneLine(st.StoreError)
}

// leftOf says how much is not committed, by state.
func leftOf(st *cache.Status, now time.Time) string {
	var states []string
	for state, n := range st.UnitsByState {
		if n > 0 {
			states = append(states, fmt.Sprintf("%d %s", n, state))
		}
	}
	slices.Sort(states)
	if st.Deletions > 0 {
		states = append(states, countText(st.Deletions, "deletion"))
	}
	if len(states) == 0 {
		return "nothing: all is committed"
	}
	text := bytesText(st.BytesLeft) + " (" + strings.Join(states, ", ") + ")"
	if !st.OldestDirty.IsZero() {
		text += ", oldest since " + ageText(now.Sub(st.OldestDirty))
	}
	return text
}

func passthroughText(st *cache.Status) string {
	if st.Passthrough {
		return "on"
	}
	if st.PassthroughReason == "" {
		return "off"
	}
	return "off: " + oneLine(st.PassthroughReason)
}

// oneLine keeps names and errors from breaking the table, or the terminal.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
