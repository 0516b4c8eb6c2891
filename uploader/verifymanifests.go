package uploader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// What the manifests of a checkpoint directory say, for verify.go.

// saidFile is what a manifest says of a file.
type saidFile struct {
	layout.File
	node   string
	sealed time.Time
}

// unitSums is what the manifests of a checkpoint directory say.
type unitSums struct {
	path      string
	marks     string               // changes with every publish, begin and end of writing
	open      []string             // nodes that are writing there
	sealed    map[string]time.Time // by node: when its manifest was
	manifests []readManifest
	objects   int                   // manifests in the store, those that cannot be read included
	named     map[string][]saidFile // by key, the newest first
	broken    []VerifiedFile        // manifests that say nothing
}

// load reads the manifests of a directory; old, if nothing has changed since.
func (v *verifier) load(ctx context.Context, unit string, old *unitSums) (*unitSums, error) {
	s := &unitSums{path: unit, named: map[string][]saidFile{}, sealed: map[string]time.Time{}}
	var manifests []backend.Object
	err := v.pages(ctx, layout.UnitsPrefix(unit), func(o backend.Object) error {
		of, node, open, ok := layout.ParseUnitKey(o.Key)
		if !ok || of != unit {
			return nil
		}
		s.marks += o.Key + "\x00" + o.ETag + "\x00"
		if open {
			s.open = append(s.open, node)
		} else {
			manifests = append(manifests, o)
		}
		return nil
	})
	if err != nil || old != nil && old.marks == s.marks {
		return old, err
	}
	s.objects = len(manifests)
	for _, o := range manifests {
		if err := v.loadManifest(ctx, s, o); err != nil {
			return nil, err
		}
	}
	s.collect()
	return s, nil
}

// readManifest is a manifest and when the store has put it.
type readManifest struct {
	*layout.Manifest
	put time.Time
}

// collect sorts out who says what of each file; the newest word comes first, and what
// another node has removed since is left out.
func (s *unitSums) collect() {
	slices.SortFunc(s.manifests, func(a, b readManifest) int { return layout.CompareAge(b.put, b.Manifest, a.put, a.Manifest) })
	var all []*layout.Manifest
	for _, m := range s.manifests {
		all = append(all, m.Manifest)
	}
	removals := layout.RemovalsOf(all...)
	for _, m := range all {
		for _, f := range m.Files {
			if removals.Void(m, f.Path) {
				continue
			}
			p := s.path
			if f.Path != "" {
				p = join(s.path, f.Path)
			}
			s.named[p] = append(s.named[p], saidFile{f, m.Node, m.Sealed})
		}
	}
}

func (v *verifier) loadManifest(ctx context.Context, s *unitSums, o backend.Object) error {
	key := o.Key
	var b []byte
	err := v.try(ctx, func(ctx context.Context) error {
		body, obj, err := v.u.store.Get(ctx, key, backend.GetOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		b, err = io.ReadAll(io.LimitReader(body, min(obj.Size, 64<<20)+1)) // layout refuses what is longer
		return err
	})
	if errors.Is(err, backend.ErrNotExist) {
		return nil // gone since; the next look finds other marks
	}
	if err != nil {
		return err
	}
	m, err := layout.DecodeManifest(b)
	if err == nil && layout.ManifestKey(s.path, m.Node) != key || err == nil && m.Unit != s.path {
		err = fmt.Errorf("it is the manifest of %q, node %q: %w", m.Unit, m.Node, layout.ErrFormat)
	}
	if err != nil {
		f := VerifiedFile{Path: key, Status: VerifyMismatch, Bytes: int64(len(b)), Reason: err.Error()}
		if errors.Is(err, layout.ErrVersion) {
			f.Status = VerifyUnverified
		}
		s.broken = append(s.broken, f)
		return nil
	}
	s.sealed[m.Node] = m.Sealed
	s.manifests = append(s.manifests, readManifest{m, o.Modified})
	return nil
}
