package layout

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Removed says, in the manifest of the node that removed it, that a path is void in one
// manifest of another node: the one of that node that was sealed at that time, by that
// node's own clock. It needs no order between clocks. When the other node publishes again,
// and still has the path, that is a newer word, and the path is there again.
//
// Without it a removed directory, which is nothing but its entry in a manifest, would come
// back with the commit of its removal, and a removed file would seem to be missing.
type Removed struct {
	Path   string    `json:"path"` // relative to the unit
	Node   string    `json:"node"`
	Sealed time.Time `json:"sealed"`
}

func (r *Removed) check() error {
	if err := CheckPath(r.Path); err != nil {
		return err
	}
	return checkNode(r.Node)
}

func checkRemoved(list []Removed) error {
	for i := range list {
		if err := list[i].check(); err != nil {
			return fmt.Errorf("%w: removed: %w", ErrFormat, err)
		}
	}
	slices.SortFunc(list, func(a, b Removed) int {
		return cmp.Or(comparePaths(a.Path, b.Path), cmp.Compare(a.Node, b.Node), a.Sealed.Compare(b.Sealed))
	})
	return nil
}

// Removals is what the manifests of a unit say together of what is void in them.
type Removals map[removal]struct{}

type removal struct {
	path, node string
	sealed     int64 // ns
}

// RemovalsOf collects them; a nil manifest says nothing.
func RemovalsOf(manifests ...*Manifest) Removals {
	out := Removals{}
	for _, m := range manifests {
		if m == nil {
			continue
		}
		for _, r := range m.Removed {
			out[removal{r.Path, r.Node, r.Sealed.UnixNano()}] = struct{}{}
		}
	}
	return out
}

// Void tells whether what m says of a path does not count any more.
func (r Removals) Void(m *Manifest, path string) bool {
	_, void := r[removal{path, m.Node, m.Sealed.UnixNano()}]
	return void
}

// CompareAge orders two manifests of a unit, the older first: by when the store has put
// them, as nodes' clocks may differ by more than the time between two commits. Within one
// moment of the store's clock the nodes' own clocks decide, then their names.
func CompareAge(putA time.Time, a *Manifest, putB time.Time, b *Manifest) int {
	return cmp.Or(putA.Compare(putB), a.Sealed.Compare(b.Sealed), cmp.Compare(a.Node, b.Node))
}

// Said is what the manifests of a unit say together of each path: the newest that names it.
// put is when the store got each, by its own clock, for those of the nodes need not agree; a
// store that counts whole seconds may have got two in one, and then the nodes' clocks decide.
// A nil manifest says nothing.
func Said(manifests []*Manifest, put []time.Time) map[string]*File {
	var order []int
	for i, m := range manifests {
		if m != nil {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int { return CompareAge(put[i], manifests[i], put[j], manifests[j]) })
	removals := RemovalsOf(manifests...)
	said := map[string]*File{}
	for _, i := range order {
		m := manifests[i]
		for k := range m.Files {
			if f := &m.Files[k]; !removals.Void(m, f.Path) {
				said[f.Path] = f
			}
		}
	}
	return said
}
