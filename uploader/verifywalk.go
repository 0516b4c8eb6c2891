package uploader

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// Which files verify.go looks at.

// check is one file to compare.
type check struct {
	key   string
	there bool
	obj   backend.Object // as listed
	unit  *unitSums      // the checkpoint directory it is in, if that has manifests
	done  int64          // bytes counted as done; guarded by verifier.mu while it is read
}

// verifyWalk finds the files at and below one path.
type verifyWalk struct {
	*verifier
	path  string
	out   chan<- *check
	units map[string]bool // those with manifests: whether they are still to be visited
	stack []*visit        // directories that the listing is in, each in the one before
	found bool
}

// visit is a checkpoint directory while its objects are listed.
type visit struct {
	*unitSums
	seen map[string]bool
}

func (w *verifyWalk) walk(ctx context.Context) error {
	err := w.pages(ctx, layout.UnitsPrefix(w.path), func(o backend.Object) error {
		if unit, _, open, ok := layout.ParseUnitKey(o.Key); ok && !open && isBelow(unit, w.path) {
			w.units[unit] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	prefix := ""
	if w.path != "" {
		prefix = w.path + "/"
		class := w.u.c.Layout().Classify(w.path, true)
		if class.Kind == layout.Checkpoint && class.Unit != w.path {
			if err := w.enter(ctx, class.Unit); err != nil {
				return err
			}
		}
		obj, there, err := w.head(ctx, w.path)
		if err != nil {
			return err
		}
		if there {
			obj.Key = w.path
			if err := w.object(ctx, obj); err != nil {
				return err
			}
		}
	}
	if err := w.pages(ctx, prefix, func(o backend.Object) error { return w.object(ctx, o) }); err != nil {
		return err
	}
	if err := w.leave(ctx, 0); err != nil {
		return err
	}
	for _, unit := range slices.Sorted(maps.Keys(w.units)) { // those with no object at all
		if w.units[unit] {
			if err := errors.Join(w.enter(ctx, unit), w.leave(ctx, 0)); err != nil {
				return err
			}
		}
	}
	if !w.found {
		return w.nothing(ctx)
	}
	return nil
}

// enter begins with a checkpoint directory.
func (w *verifyWalk) enter(ctx context.Context, unit string) error {
	s, err := w.load(ctx, unit, nil)
	if err != nil {
		return err
	}
	w.units[unit] = false
	w.stack = append(w.stack, &visit{s, map[string]bool{}})
	for _, f := range s.broken {
		w.found = true
		w.tell(f)
	}
	return nil
}

// leave ends with all but the outermost n directories: what their manifests name and the
// listing has not shown is missing.
func (w *verifyWalk) leave(ctx context.Context, n int) error {
	for len(w.stack) > n {
		last := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		for _, key := range slices.Sorted(maps.Keys(last.named)) {
			if last.seen[key] || last.named[key][0].Type == layout.TypeDir || !isBelow(key, w.path) {
				continue
			}
			if err := w.send(ctx, &check{key: key, unit: last.unitSums}); err != nil {
				return err
			}
		}
	}
	return nil
}

// object takes one object of the listing, which is in key order, so that all of a
// directory comes in one run.
func (w *verifyWalk) object(ctx context.Context, obj backend.Object) error {
	if strings.HasPrefix(obj.Key, layout.Prefix) {
		return nil
	}
	w.found = true
	if backend.IsMarker(obj.Key) || layout.CheckPath(obj.Key) != nil {
		return nil
	}
	in := len(w.stack)
	for in > 0 && !isBelow(obj.Key, w.stack[in-1].path) {
		in--
	}
	if err := w.leave(ctx, in); err != nil {
		return err
	}
	for i, c := range obj.Key {
		if dir := obj.Key[:i]; c == '/' && w.units[dir] {
			if err := w.enter(ctx, dir); err != nil {
				return err
			}
		}
	}
	c := &check{key: obj.Key, there: true, obj: obj}
	for _, s := range w.stack { // the one that names it, else the innermost
		if s.objects == 0 {
			continue
		}
		if c.unit == nil || c.unit.named[obj.Key] == nil {
			c.unit = s.unitSums
		}
		s.seen[obj.Key] = true
	}
	w.count(obj.Size, 0)
	return w.send(ctx, c)
}

func (w *verifyWalk) send(ctx context.Context, c *check) error {
	w.found = true
	select {
	case w.out <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// nothing says why the store has nothing under a path that was named.
func (w *verifyWalk) nothing(ctx context.Context) error {
	if w.path == "" {
		return nil
	}
	state, err := w.u.c.State(ctx, w.path)
	if err != nil {
		return err
	}
	crc, _, known := w.u.record(w.path)
	switch {
	case state != cache.StateCommitted:
		w.tell(VerifiedFile{Path: w.path, Status: VerifyUnverified, Reason: fmt.Sprintf("not in the store: it is %s", state)})
	case known:
		w.tell(VerifiedFile{Path: w.path, Status: VerifyMissing, Against: "record", Expected: fmt.Sprintf("crc32c %08x", crc),
			Reason: "it was committed, or fetched, and somebody else has deleted it since"})
	}
	return nil
}

// record is what this node knows of the version of a file that the store had last. It
// does so while it has the file: of what is evicted the cache tells nobody.
func (u *Uploader) record(key string) (crc uint32, etag string, known bool) {
	s, err := u.c.Snapshot(&cache.Unit{Path: key, Class: u.c.Layout().Classify(key, false)})
	if err != nil || len(s.Files) != 1 {
		return 0, "", false
	}
	f := s.Files[0]
	return f.CRC32C, f.ETag, f.Known && f.ETag != ""
}
