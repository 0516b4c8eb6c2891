package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/trainfs/trainfs/cache"
)

const (
	maxCacheUnits = 10_000 // in an answer; a cache may hold a million one-file units
	cacheFullText = "FULL, and nothing can be evicted: writers wait for uploads (trainfs cache says what is pinned)"
)

// cacheAnswer is what is in the cache of a mount; the largest units come first.
type cacheAnswer struct {
	Source     string `json:"source"`
	MountPoint string `json:"mount_point"`
	cache.CacheReport
	UnitsTotal int         `json:"units_total"` // of which units may be the largest only
	Pinned     []pinnedSum `json:"pinned"`
}

// pinnedSum is how much cannot go for one reason.
type pinnedSum struct {
	Why   string `json:"why"`
	Units int    `json:"units"`
	Bytes int64  `json:"bytes"`
}

// newCacheAnswer sorts and bounds a report.
func newCacheAnswer(r cache.CacheReport) cacheAnswer {
	a := cacheAnswer{CacheReport: r, UnitsTotal: len(r.Units), Pinned: []pinnedSum{}}
	at := map[string]int{}
	for _, u := range r.Units {
		if u.Pinned == "" {
			continue
		}
		why, _, _ := strings.Cut(u.Pinned, ":") // what follows is about this one
		i, ok := at[why]
		if !ok {
			i = len(a.Pinned)
			at[why] = i
			a.Pinned = append(a.Pinned, pinnedSum{Why: why})
		}
		a.Pinned[i].Units++
		a.Pinned[i].Bytes += u.Bytes
	}
	slices.SortStableFunc(a.Pinned, func(x, y pinnedSum) int { return cmp.Compare(y.Bytes, x.Bytes) })
	// The report has them by use; among equals the one that would go first stays first.
	slices.SortStableFunc(a.Units, func(x, y cache.CacheUnit) int { return cmp.Compare(y.Bytes, x.Bytes) })
	a.Units = a.Units[:min(len(a.Units), maxCacheUnits)]
	return a
}

// writeCache prints a cache for people.
func writeCache(w io.Writer, a *cacheAnswer, now time.Time) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(tw, "%s on %s\n", a.Source, a.MountPoint)
	fmt.Fprintf(tw, "  cache\t%s\n", a.CacheDir)
	fmt.Fprintf(tw, "  used\t%s, in %s\n", usedText(a.Used+a.Partial, a.Limit), countText(a.UnitsTotal, "unit"))
	if a.Partial > 0 {
		fmt.Fprintf(tw, "  \t%s of it for downloads under way\n", bytesText(a.Partial))
	}
	if a.Full {
		fmt.Fprintf(tw, "  \t%s\n", cacheFullText)
	}
	fmt.Fprintf(tw, "  disk\t%s free; %s are left free (min_free)\n", bytesText(a.DiskFree), bytesText(a.MinFree))
	fmt.Fprintf(tw, "  pinned\t%s\n", pinnedText(a.Pinned))
	fmt.Fprintf(tw, "  evicted\t%s since the start\n", countText(int(a.Evicted), "file"))
	if err := tw.Flush(); err != nil || len(a.Units) == 0 {
		return err
	}
	return writeCacheUnits(w, a, now)
}

func writeCacheUnits(w io.Writer, a *cacheAnswer, now time.Time) error {
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "  SIZE\tFILES\tUSED\tPATH\tPINNED")
	shown := a.Units[:min(len(a.Units), shownUnits)]
	rest := a.Used
	for _, u := range shown {
		rest -= u.Bytes
		fmt.Fprintf(tw, "  %s\t%d\t%s ago\t%s\t%s\n", bytesText(u.Bytes), u.Files, ageText(max(0, now.Sub(u.LastUsed))), oneLine(u.Path), oneLine(u.Pinned))
	}
	if more := a.UnitsTotal - len(shown); more > 0 {
		fmt.Fprintf(tw, "  … and %s more, %s (--json shows the largest %d)\n", countText(more, "smaller unit"), bytesText(max(0, rest)), maxCacheUnits)
	}
	return tw.Flush()
}

func pinnedText(sums []pinnedSum) string {
	if len(sums) == 0 {
		return "nothing: all of it can be evicted"
	}
	var parts []string
	for _, p := range sums {
		parts = append(parts, fmt.Sprintf("%s in %s: %s", bytesText(p.Bytes), countText(p.Units, "unit"), oneLine(p.Why)))
	}
	return strings.Join(parts, "; ")
}

// usedText is how much of a bound is used; 0 is no bound.
func usedText(used, bound int64) string {
	if bound <= 0 {
		return bytesText(used) + " used"
	}
	return fmt.Sprintf("%s of %s used (%d%%)", bytesText(used), bytesText(bound), int64(float64(used)*100/float64(bound)))
}
