package uploader

import (
	"context"
	"fmt"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// GarbageOptions of CollectGarbage.
type GarbageOptions struct {
	OlderThan time.Duration // what is younger may be somebody's work
	DeadNodes []string      // ids of nodes that will never come back: their open markers go
	DryRun    bool
	Now       time.Time
}

// Garbage is one thing that nobody needs any more.
type Garbage struct {
	Kind  string    `json:"kind"` // upload, marker, deletion, manifest
	Key   string    `json:"key"`
	Node  string    `json:"node,omitempty"`
	Since time.Time `json:"since,omitzero"`
	Why   string    `json:"why"`
	Err   string    `json:"error,omitempty"` // it is still there
	Gone  bool      `json:"removed"`

	remove func(ctx context.Context) error
}

// CollectGarbage removes, or with DryRun only names, what dead nodes have left in the store:
//
//   - unfinished uploads. A node that lives and finds its own gone begins it anew, so the
//     worst that a too short OlderThan does is to send bytes twice;
//   - open markers of the nodes named in DeadNodes, and of no others: whether a node is dead
//     the store cannot tell. The marker stays where it hides half a checkpoint (P3): one that
//     the node died deleting, or in the middle of a publish;
//   - what nodes were told of deletions (giveup.go) and have not heeded in that time;
//   - manifests of which no file is left, where nobody is at work.
//
// It calls report with each. Objects under their own names it never touches.
func CollectGarbage(ctx context.Context, store backend.Store, o GarbageOptions, report func(Garbage)) (failed int, err error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	found, err := findUploads(ctx, store, &o)
	if err != nil {
		return 0, err
	}
	words, err := findWords(ctx, store, &o)
	if err != nil {
		return 0, err
	}
	found = append(found, words...)
	units, err := Audit(ctx, store, "")
	if err != nil {
		return 0, err
	}
	for _, a := range units {
		found = append(found, garbageOf(store, a, &o)...)
	}
	for _, g := range found {
		if !o.DryRun && g.Err == "" {
			if err := g.remove(ctx); err != nil {
				g.Err = err.Error()
			}
			g.Gone = g.Err == ""
		}
		if g.Err != "" {
			failed++
		}
		report(g)
		if ctx.Err() != nil {
			return failed, ctx.Err()
		}
	}
	return failed, nil
}

func findUploads(ctx context.Context, store backend.Store, o *GarbageOptions) (found []Garbage, err error) {
	stages, err := store.ListStages(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, s := range stages {
		if s.Started.IsZero() || o.Now.Sub(s.Started) < o.OlderThan {
			continue
		}
		found = append(found, Garbage{
			Kind: "upload", Key: s.Key, Since: s.Started, Why: "begun, and never finished",
			remove: func(ctx context.Context) error { return store.AbortStage(ctx, s) },
		})
	}
	return found, nil
}

func findWords(ctx context.Context, store backend.Store, o *GarbageOptions) (found []Garbage, err error) {
	err = listAll(ctx, store, layout.UnitsPrefix(""), func(obj backend.Object) {
		unit, node, ok := layout.ParseDeletedKey(obj.Key)
		if !ok || o.Now.Sub(obj.Modified) < o.OlderThan {
			return
		}
		found = append(found, Garbage{
			Kind: "deletion", Key: obj.Key, Node: node, Since: obj.Modified,
			Why:    fmt.Sprintf("tells a node that %s was deleted, and it has not come", unit),
			remove: func(ctx context.Context) error { return store.Delete(ctx, obj.Key) },
		})
	})
	return found, err
}

func garbageOf(store backend.Store, a *AuditedUnit, o *GarbageOptions) (found []Garbage) {
	dead := map[string]bool{}
	for _, n := range o.DeadNodes {
		dead[n] = true
	}
	deleting := func(key string) func(context.Context) error {
		return func(ctx context.Context) error { return store.Delete(ctx, key) }
	}
	atWork := 0
	for _, m := range a.Open {
		if !dead[m.Node] {
			atWork++
			continue
		}
		found = append(found, Garbage{
			Kind: "marker", Key: m.key, Node: m.Node, Since: m.Since, remove: deleting(m.key),
			Why: fmt.Sprintf("keeps %s from being shown, and its node is said to be dead", a.Unit),
			Err: a.half(m),
		})
	}
	if atWork > 0 || a.Files == 0 || a.present > 0 || len(a.Problems) > 0 || o.Now.Sub(a.newest) < o.OlderThan {
		return found
	}
	for _, node := range a.Nodes {
		key := layout.ManifestKey(a.Unit, node)
		found = append(found, Garbage{
			Kind: "manifest", Key: key, Node: node, Since: a.newest, remove: deleting(key),
			Why: "none of the files that it names is there",
		})
	}
	return found
}

// half says why a marker hides half a checkpoint, "" if what would show is whole.
func (a *AuditedUnit) half(m AuditedMarker) string {
	switch {
	case a.present == 0:
		return ""
	case m.State == layout.StateDeleting:
		return "the node died deleting it, and a part is still there: delete the rest with the store's own tools, then run gc again"
	case len(a.Missing) > 0 || len(a.Problems) > 0:
		return "the node died publishing it, and a part is missing (trainfs fsck names it): mount its cache directory again, or delete the rest with the store's own tools"
	}
	return ""
}
