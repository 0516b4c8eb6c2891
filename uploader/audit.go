package uploader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// This file looks at a storage path without a mount: what in it is not complete, and whose
// that is. It reads listings, markers and manifests; contents are what Verify reads.

// AuditedUnit is one checkpoint directory, or other unit, that trainfs has published or begun.
type AuditedUnit struct {
	Unit     string          `json:"unit"`
	Open     []AuditedMarker `json:"open,omitempty"`      // nodes that are at work there
	Nodes    []string        `json:"published,omitempty"` // nodes with a manifest
	Files    int             `json:"files"`               // that manifests name
	Missing  []string        `json:"missing,omitempty"`   // of them, keys that the store does not have, or not with this size
	Problems []string        `json:"problems,omitempty"`  // manifests and markers that cannot be read

	present int // files that are there
	newest  time.Time
}

// AuditedMarker is an open marker.
type AuditedMarker struct {
	Node  string    `json:"node"`
	Host  string    `json:"host,omitempty"`
	State string    `json:"state,omitempty"`
	Since time.Time `json:"since,omitzero"`
	key   string
}

// Complete tells that other mounts show the unit, and that nothing of it is missing.
func (a *AuditedUnit) Complete() bool {
	return len(a.Open) == 0 && len(a.Missing) == 0 && len(a.Problems) == 0
}

// auditParallel is how many manifests are read at a time.
const auditParallel = 16

// Audit reports every unit at and below path of which the store has a marker or a manifest,
// in the order of their names.
func Audit(ctx context.Context, store backend.Store, path string) ([]*AuditedUnit, error) {
	units := map[string]*AuditedUnit{}
	keys := map[string][]backend.Object{}
	err := listAll(ctx, store, layout.UnitsPrefix(path), func(o backend.Object) {
		unit, node, open, ok := layout.ParseUnitKey(o.Key)
		if !ok {
			return
		}
		a := units[unit]
		if a == nil {
			a = &AuditedUnit{Unit: unit}
			units[unit] = a
		}
		if o.Modified.After(a.newest) {
			a.newest = o.Modified
		}
		if open {
			a.Open = append(a.Open, AuditedMarker{Node: node, Since: o.Modified, key: o.Key})
			return
		}
		a.Nodes = append(a.Nodes, node)
		keys[unit] = append(keys[unit], o)
	})
	if err != nil {
		return nil, err
	}
	out := make([]*AuditedUnit, 0, len(units))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(auditParallel)
	for unit, a := range units {
		out = append(out, a)
		g.Go(func() error { return a.audit(gctx, store, keys[unit]) })
	}
	slices.SortFunc(out, func(a, b *AuditedUnit) int { return strings.Compare(a.Unit, b.Unit) })
	return out, g.Wait()
}

// audit reads the markers and manifests of one unit, and compares them with the listing.
func (a *AuditedUnit) audit(ctx context.Context, store backend.Store, objects []backend.Object) error {
	for i := range a.Open {
		b, err := readSmall(ctx, store, a.Open[i].key)
		if errors.Is(err, backend.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		m, err := layout.DecodeOpenMarker(b)
		if err != nil {
			a.Problems = append(a.Problems, fmt.Sprintf("%s: %v", a.Open[i].key, err))
			continue
		}
		a.Open[i].Host, a.Open[i].State, a.Open[i].Since = m.Host, m.State, m.Since
	}
	var manifests []*layout.Manifest
	var put []time.Time
	for _, o := range objects {
		b, err := readSmall(ctx, store, o.Key)
		if errors.Is(err, backend.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		m, err := layout.DecodeManifest(b)
		if err != nil {
			a.Problems = append(a.Problems, fmt.Sprintf("%s: %v", o.Key, err))
			continue
		}
		manifests, put = append(manifests, m), append(put, o.Modified)
	}
	if len(manifests) == 0 {
		return nil
	}
	return a.compare(ctx, store, layout.Said(manifests, put))
}

func (a *AuditedUnit) compare(ctx context.Context, store backend.Store, said map[string]*layout.File) error {
	have := map[string]int64{}
	note := func(o backend.Object) { have[o.Key] = o.Size }
	if err := listAll(ctx, store, a.Unit+"/", note); err != nil {
		return err
	}
	if o, err := store.Head(ctx, a.Unit); err == nil { // a one-file unit
		note(o)
	} else if !errors.Is(err, backend.ErrNotExist) {
		return err
	}
	for path, f := range said {
		if f.Type == layout.TypeDir {
			continue
		}
		a.Files++
		key := a.Unit
		if path != "" {
			key += "/" + path
		}
		size, ok := have[key]
		switch {
		case !ok:
			a.Missing = append(a.Missing, key)
		case f.Type == layout.TypeFile && size != f.Size:
			a.Missing = append(a.Missing, fmt.Sprintf("%s (%d bytes, the manifest says %d)", key, size, f.Size))
		default:
			a.present++
		}
	}
	slices.Sort(a.Missing)
	return nil
}

// listAll calls f with every object below a prefix.
func listAll(ctx context.Context, store backend.Store, prefix string, f func(backend.Object)) error {
	tokens := backend.Tokens{}
	for o := (backend.ListOptions{Prefix: prefix}); ; {
		page, err := store.List(ctx, o)
		if err != nil {
			return err
		}
		for _, obj := range page.Objects {
			f(obj)
		}
		if o.Token = page.Token; o.Token == "" {
			return nil
		}
		if tokens.Again(o.Token) {
			return fmt.Errorf("list %q: the store repeats a page", prefix)
		}
	}
}

// readSmall reads a marker or a manifest; the decoders bound what they take.
func readSmall(ctx context.Context, store backend.Store, key string) ([]byte, error) {
	body, _, err := store.Get(ctx, key, backend.GetOptions{})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, 64<<20+1))
}
