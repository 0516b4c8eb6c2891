package monitor

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/trainfs/trainfs/cache"
)

const (
	shownTrials      = 50
	shownCheckpoints = 20 // of a trial
	shownErrors      = 50
)

// Page is what the status page shows.
type Page struct {
	Source     string    `json:"source"`
	MountPoint string    `json:"mount_point"`
	Node       string    `json:"node"`
	Version    string    `json:"version"`
	ReadOnly   bool      `json:"read_only"`
	Started    time.Time `json:"started"`
	Now        time.Time `json:"now"` // by the daemon's clock, which all times are

	Reachable  bool    `json:"store_reachable"`
	StoreError string  `json:"store_error,omitempty"`
	Left       int64   `json:"bytes_left"`
	Rate       float64 `json:"bytes_per_second"`
	Uploaded   int64   `json:"bytes_uploaded"`
	Fetched    int64   `json:"bytes_fetched"`
	Deletions  int     `json:"deletions"`

	Units  map[cache.State]int `json:"units_by_state"`
	Oldest time.Time           `json:"oldest_uncommitted,omitzero"`

	Cache PageCache `json:"cache"`

	Trials     []Trial   `json:"trials"`
	MoreTrials int       `json:"more_trials,omitempty"`
	Errors     []Problem `json:"errors"`
	MoreErrors int       `json:"more_errors,omitempty"`
}

// PageCache is how full the cache is.
type PageCache struct {
	Used     int64 `json:"used"`
	Limit    int64 `json:"limit"` // 0: none
	DiskFree int64 `json:"disk_free"`
	Full     bool  `json:"full"`
}

// Trial is a directory that holds checkpoints, and what else of it is on its way.
type Trial struct {
	Path  string `json:"path"`
	Units []Unit `json:"units"` // newest first
	More  int    `json:"more,omitempty"`

	newest time.Time
}

// Unit is one row of a trial.
type Unit struct {
	Name  string      `json:"name"`
	State cache.State `json:"state"`
	Files int         `json:"files"`
	Bytes int64       `json:"bytes"`
	Done  int64       `json:"done"`
	When  time.Time   `json:"when,omitzero"` // since when it is not committed, or when it was last used
	Why   string      `json:"why,omitempty"`
}

// Problem is what somebody should know of.
type Problem struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// NewPage puts a page together: what is not committed, and the checkpoints of which this
// node has the files. limit and full are of the cache.
func NewPage(st cache.Status, here []cache.CacheUnit, g cache.Gauges, now time.Time) Page {
	p := Page{
		Source: clean(st.Source), MountPoint: clean(st.MountPoint), Node: clean(st.Node), Version: st.Version,
		Started: st.Started, Now: now,
		Reachable: st.StoreReachable, StoreError: clean(st.StoreError),
		Left: st.BytesLeft, Rate: st.UploadRate, Uploaded: st.BytesUploaded, Fetched: st.BytesFetched,
		Deletions: st.Deletions, Units: st.UnitsByState, Oldest: st.OldestDirty,
		Cache:  PageCache{Used: g.CacheBytes, Limit: g.CacheLimit, DiskFree: g.DiskFree, Full: g.Full},
		Trials: []Trial{}, Errors: []Problem{},
	}
	for _, u := range st.Units {
		if u.State == cache.StateTorn || u.Attempts > 0 {
			p.Errors = append(p.Errors, Problem{clean(u.Path), clean(u.Reason)})
		}
	}
	p.MoreErrors = max(0, len(p.Errors)-shownErrors)
	p.Errors = p.Errors[:len(p.Errors)-p.MoreErrors]
	p.Trials = trials(st.Units, here)
	p.MoreTrials = max(0, len(p.Trials)-shownTrials)
	p.Trials = p.Trials[:len(p.Trials)-p.MoreTrials]
	return p
}

// trials sorts units by the directory that they are in, the latest first.
func trials(going []cache.UnitStatus, here []cache.CacheUnit) []Trial {
	byPath := map[string]*Trial{}
	add := func(full string, u Unit) {
		dir, name := path.Split(full)
		dir = strings.TrimSuffix(dir, "/")
		t := byPath[dir]
		if t == nil {
			t = &Trial{Path: clean(cmp.Or(dir, "/"))}
			byPath[dir] = t
		}
		u.Name = clean(name)
		t.Units = append(t.Units, u)
		if u.When.After(t.newest) {
			t.newest = u.When
		}
	}
	seen := map[string]bool{}
	for _, u := range going {
		seen[u.Path] = true
		add(u.Path, Unit{State: u.State, Files: u.Files, Bytes: u.Bytes, Done: u.BytesDone, When: u.Since, Why: clean(u.Reason)})
	}
	for _, u := range here {
		if !seen[u.Path] {
			add(u.Path, Unit{State: cache.StateCommitted, Files: u.Files, Bytes: u.Bytes, Done: u.Bytes, When: u.LastUsed})
		}
	}
	out := make([]Trial, 0, len(byPath))
	for _, t := range byPath {
		slices.SortFunc(t.Units, func(a, b Unit) int {
			return cmp.Or(cmp.Compare(rank(a.State), rank(b.State)), b.When.Compare(a.When), cmp.Compare(b.Name, a.Name))
		})
		t.More = max(0, len(t.Units)-shownCheckpoints)
		t.Units = t.Units[:len(t.Units)-t.More]
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b Trial) int { return cmp.Or(b.newest.Compare(a.newest), cmp.Compare(a.Path, b.Path)) })
	return out
}

// rank puts what is going on before what is done.
func rank(s cache.State) int {
	if s == cache.StateCommitted {
		return 1
	}
	return 0
}

// clean takes out of a name or an error what would change how the rest is shown: control
// characters, and those that turn the direction of writing round.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == unicode.ReplacementChar {
			return '\uFFFD'
		}
		return r
	}, text)
}
