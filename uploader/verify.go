package uploader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// This file compares what the store has with what it should have. It reads the store
// directly: nothing goes through the cache, nothing is kept on the disk or written to the
// store.
//
// What is right for a file of a checkpoint directory is what the newest manifest that
// names it says; for any other, the checksum that this node remembers of just that
// version (if it still has the file), or the store's own.
//
// The store changes meanwhile. So nothing counts as wrong before a second look, after it
// was read, has found the same object and the same manifests; and while a node is writing
// in a directory (its open marker is there), a difference is no error.

// VerifyStatus is the result for one file.
type VerifyStatus string

const (
	VerifyOK         VerifyStatus = "ok"
	VerifyMismatch   VerifyStatus = "mismatch"
	VerifyMissing    VerifyStatus = "missing"    // a manifest names it, and the store has none
	VerifyUnreadable VerifyStatus = "unreadable" // the store has it, and does not give it
	VerifyExtra      VerifyStatus = "extra"      // in a checkpoint directory and in no manifest: no error
	VerifyUnverified VerifyStatus = "unverified" // nobody knows a checksum, or it is being written
)

// VerifiedFile is one file with its result.
type VerifiedFile struct {
	Path     string       `json:"path"`
	Status   VerifyStatus `json:"status"`
	Bytes    int64        `json:"bytes"`              // as the store has it
	Against  string       `json:"against,omitempty"`  // whose word it was compared with
	Expected string       `json:"expected,omitempty"` // of a mismatch, and of what is missing
	Got      string       `json:"got,omitempty"`
	Reason   string       `json:"reason,omitempty"`
}

// VerifyResult counts files by their result.
type VerifyResult struct {
	OK         int   `json:"ok"`
	Mismatch   int   `json:"mismatch"`
	Missing    int   `json:"missing"`
	Unreadable int   `json:"unreadable"`
	Extra      int   `json:"extra"`
	Unverified int   `json:"unverified"`
	Bytes      int64 `json:"bytes"`      // of the files found so far
	BytesDone  int64 `json:"bytes_done"` // of them, those of files and parts that are done with
}

// Bad is the number of files that are not what they should be.
func (r VerifyResult) Bad() int { return r.Mismatch + r.Missing + r.Unreadable }

func (r *VerifyResult) add(s VerifyStatus) {
	switch s {
	case VerifyOK:
		r.OK++
	case VerifyMismatch:
		r.Mismatch++
	case VerifyMissing:
		r.Missing++
	case VerifyUnreadable:
		r.Unreadable++
	case VerifyExtra:
		r.Extra++
	case VerifyUnverified:
		r.Unverified++
	}
}

// Files is the number of files looked at.
func (r VerifyResult) Files() int { return r.OK + r.Bad() + r.Extra + r.Unverified }

// VerifyEvent tells the result of one file, or, without File, that it goes forward.
type VerifyEvent struct {
	File   *VerifiedFile `json:"file,omitempty"`
	Result VerifyResult  `json:"result"` // so far
}

const (
	verifyParallel = 8        // files, and requests, at the same time
	verifyRange    = 32 << 20 // of one request, bytes
	verifyAhead    = 10_000   // files that are found before they are read
	verifyTries    = 3        // of a request that may heal
	verifyRounds   = 4        // looks at a file that keeps changing
	verifyStall    = 30 * time.Second
)

// Verify compares the remote content of everything at and below paths. report is called
// from one goroutine at a time. The error is about the looking: what is found wrong is in
// the result.
func (u *Uploader) Verify(ctx context.Context, paths []string, report func(VerifyEvent)) (VerifyResult, error) {
	v := &verifier{u: u, report: report, slots: make(chan struct{}, verifyParallel)}
	found := make(chan *check, verifyAhead)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(found)
		for _, p := range outermost(paths) {
			w := &verifyWalk{verifier: v, path: p, out: found, units: map[string]bool{}}
			if err := w.walk(gctx); err != nil {
				return fmt.Errorf("verify %s: %w", cmp.Or(p, "everything"), err)
			}
		}
		return nil
	})
	for range verifyParallel {
		g.Go(func() error {
			for c := range found {
				if err := v.examine(gctx, c); err != nil {
					return fmt.Errorf("verify %s: %w", c.key, err)
				}
			}
			return nil
		})
	}
	err := g.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mu.result, err
}

// outermost drops paths that lie below others.
func outermost(paths []string) []string {
	sorted := slices.Sorted(slices.Values(paths))
	var out []string
	for _, p := range sorted {
		if !slices.ContainsFunc(out, func(o string) bool { return isBelow(p, o) }) {
			out = append(out, p)
		}
	}
	return out
}

// isBelow tells whether p is dir or lies in it.
func isBelow(p, dir string) bool {
	return dir == "" || p == dir || strings.HasPrefix(p, dir+"/")
}

// verifier is one Verify.
type verifier struct {
	u      *Uploader
	report func(VerifyEvent)
	slots  chan struct{} // requests for content

	mu struct {
		sync.Mutex
		result VerifyResult
		told   time.Time
	}
}

// tell reports the result of a file.
func (v *verifier) tell(f VerifiedFile) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mu.result.add(f.Status)
	v.mu.told = time.Now()
	v.report(VerifyEvent{File: &f, Result: v.mu.result})
}

// count adds to the bytes that were found, and that are done with.
func (v *verifier) count(found, done int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mu.result.Bytes += found
	v.mu.result.BytesDone += done
	if now := time.Now(); now.Sub(v.mu.told) >= reportEvery {
		v.mu.told = now
		v.report(VerifyEvent{Result: v.mu.result})
	}
}

// try does one request again if it failed in a way that may heal. A store that does not
// answer fails it.
func (v *verifier) try(ctx context.Context, f func(context.Context) error) error {
	for attempt := 0; ; attempt++ {
		once, cancel := context.WithTimeout(ctx, verifyStall)
		err := f(once)
		cancel()
		if err == nil || ctx.Err() != nil || attempt == verifyTries-1 {
			return err
		}
		if backend.Permanent(err) && !errors.Is(err, context.Canceled) {
			return err
		}
		sleep(ctx, backoff(attempt, false))
	}
}

// pages calls f with every object below a prefix, in key order.
func (v *verifier) pages(ctx context.Context, prefix string, f func(backend.Object) error) error {
	for o := (backend.ListOptions{Prefix: prefix}); ; {
		var page backend.Page
		err := v.try(ctx, func(ctx context.Context) (err error) {
			page, err = v.u.store.List(ctx, o)
			return err
		})
		if err != nil {
			return err
		}
		for _, obj := range page.Objects {
			if err := f(obj); err != nil {
				return err
			}
		}
		if page.Token == "" {
			return nil
		}
		if page.Token == o.Token {
			return fmt.Errorf("list %q: the store repeats a page", prefix)
		}
		o.Token = page.Token
	}
}

// head describes an object; there is false if the store has none.
func (v *verifier) head(ctx context.Context, key string) (obj backend.Object, there bool, err error) {
	err = v.try(ctx, func(ctx context.Context) (err error) {
		obj, err = v.u.store.Head(ctx, key)
		return err
	})
	if errors.Is(err, backend.ErrNotExist) || errors.Is(err, backend.ErrInvalidKey) {
		return obj, false, nil
	}
	return obj, err == nil && obj.Attr.Type != backend.Directory, err
}

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

// examine finds the result of one file, and tells it.
func (v *verifier) examine(ctx context.Context, c *check) error {
	for round := 1; ; round++ {
		f, err := v.compare(ctx, c)
		changed := errors.Is(err, backend.ErrChanged)
		if err != nil && !changed {
			return err
		}
		if !changed && f.Status != VerifyMismatch && f.Status != VerifyMissing {
			v.finish(c, f)
			return nil
		}
		now, err := v.lookAgain(ctx, c)
		if err != nil {
			return err
		}
		same := now.there == c.there && now.obj.ETag == c.obj.ETag && now.unit == c.unit
		switch {
		case !now.there && (now.unit == nil || now.unit.named[c.key] == nil):
			v.count(-c.obj.Size, -c.done) // deleted meanwhile, as it seems on purpose
			return nil
		case same && !changed && (c.unit == nil || len(c.unit.open) == 0):
			v.finish(c, f)
			return nil
		case same && !changed:
			f.Status, f.Reason = VerifyUnverified, "node "+strings.Join(c.unit.open, ", ")+" is writing in "+c.unit.path+", or died while it was"
			v.finish(c, f)
			return nil
		case round == verifyRounds:
			v.finish(c, VerifiedFile{Path: c.key, Bytes: now.obj.Size, Status: VerifyUnverified, Reason: "it keeps changing"})
			return nil
		}
		v.count(now.obj.Size-c.obj.Size, -c.done)
		c = now
	}
}

// finish counts what was not read as done with.
func (v *verifier) finish(c *check, f VerifiedFile) {
	v.count(0, c.obj.Size-c.done)
	v.tell(f)
}

// lookAgain is the same check as things are now.
func (v *verifier) lookAgain(ctx context.Context, c *check) (*check, error) {
	now := &check{key: c.key}
	var err error
	if now.obj, now.there, err = v.head(ctx, c.key); err != nil {
		return nil, err
	}
	if c.unit != nil {
		now.unit, err = v.load(ctx, c.unit.path, c.unit)
	}
	return now, err
}

// expectation is what a file should be.
type expectation struct {
	against string
	size    int64
	crc     uint32
	known   bool
	link    bool
	typed   bool // link says something
}

func (e *expectation) String() string { return contentText(e.size, e.crc) }

func contentText(size int64, crc uint32) string {
	return fmt.Sprintf("%d bytes, crc32c %08x", size, crc)
}

func (s saidFile) expectation() expectation {
	e := expectation{against: "manifest of node " + s.node, size: s.Size, crc: s.CRC32C, known: true, typed: true}
	if s.Type == layout.TypeSymlink {
		e.link, e.size, e.crc = true, int64(len(s.Target)), crc32c.Checksum([]byte(s.Target))
	}
	return e
}

// expect finds out what a file should be. ErrChanged if it is no longer as listed.
func (v *verifier) expect(ctx context.Context, c *check) (expectation, error) {
	if c.unit != nil {
		if said := c.unit.named[c.key]; said != nil && said[0].Type != layout.TypeDir {
			return said[0].expectation(), nil
		}
	}
	obj, there, err := v.head(ctx, c.key)
	if err == nil && (!there || obj.ETag != c.obj.ETag) {
		err = backend.ErrChanged
	}
	if err != nil {
		return expectation{}, err
	}
	e := expectation{against: "store", size: obj.Size, crc: obj.CRC32C, known: obj.HasCRC32C}
	if crc, etag, known := v.u.record(c.key); known && etag == obj.ETag {
		e.against, e.crc, e.known = "record", crc, true
	}
	return e, nil
}

// compare reads a file and judges it. ErrChanged if it changed under way; another error
// if the store cannot be asked.
func (v *verifier) compare(ctx context.Context, c *check) (f VerifiedFile, err error) {
	f = VerifiedFile{Path: c.key, Bytes: c.obj.Size}
	want, err := v.expect(ctx, c)
	if err != nil {
		return v.unreadable(ctx, f, err)
	}
	f.Against = want.against
	extra := c.unit != nil && c.unit.named[c.key] == nil
	switch {
	case !c.there:
		f.Status, f.Expected, f.Reason = VerifyMissing, want.String(), c.newer()
		return f, nil
	case !want.known && extra:
		f.Status, f.Against, f.Reason = VerifyExtra, "", "no manifest names it"
		return f, nil
	case !want.known:
		f.Status, f.Against, f.Reason = VerifyUnverified, "", "neither the store nor this node knows a checksum"
		return f, nil
	case want.size != c.obj.Size:
		f.Status, f.Expected, f.Got = VerifyMismatch, want.String(), fmt.Sprintf("%d bytes", c.obj.Size)
		return f, nil
	}
	crc, typ, err := v.sum(ctx, c)
	if err != nil {
		return v.unreadable(ctx, f, err)
	}
	link := typ == backend.Symlink
	switch {
	case crc != want.crc:
		f.Status, f.Expected, f.Got = VerifyMismatch, want.String(), contentText(c.obj.Size, crc)
		f.Reason = c.older(crc)
	case want.typed && want.link != link:
		f.Status, f.Expected, f.Got = VerifyMismatch, typeText(want.link), typeText(link)
	case extra:
		f.Status, f.Reason = VerifyExtra, "no manifest names it"
	default:
		f.Status = VerifyOK
	}
	return f, nil
}

func typeText(link bool) string {
	if link {
		return "a symbolic link"
	}
	return "a file"
}

// older says that wrong content is what an older manifest speaks of.
func (c *check) older(crc uint32) string {
	if c.unit == nil || c.unit.named[c.key] == nil {
		return ""
	}
	for _, s := range c.unit.named[c.key][1:] {
		if e := s.expectation(); e.size == c.obj.Size && e.crc == crc {
			return fmt.Sprintf("it is what node %s published, sealed %s", s.node, s.sealed.Format(time.RFC3339))
		}
	}
	return ""
}

// newer says that another node has published in the directory since the one that names a
// missing file. It may have deleted the file: no manifest tells of a deletion.
func (c *check) newer() string {
	by := c.unit.named[c.key][0]
	for node, sealed := range c.unit.sealed {
		if node != by.node && sealed.After(by.sealed) {
			return fmt.Sprintf("node %s has published there since, and may have deleted it", node)
		}
	}
	return ""
}

// unreadable turns a failure into a result, if it is about this file and not about the
// store as a whole.
func (v *verifier) unreadable(ctx context.Context, f VerifiedFile, err error) (VerifiedFile, error) {
	switch {
	case ctx.Err() != nil:
		return f, ctx.Err()
	case errors.Is(err, backend.ErrChanged), errors.Is(err, backend.ErrNotExist):
		return f, backend.ErrChanged
	}
	once, cancel := context.WithTimeout(ctx, verifyStall)
	defer cancel()
	if _, lerr := v.u.store.List(once, backend.ListOptions{Limit: 1}); lerr != nil {
		return f, err
	}
	f.Status, f.Reason = VerifyUnreadable, err.Error()
	return f, nil
}

// sum reads a file in ranges, several at a time, and gives the checksum of the whole.
func (v *verifier) sum(ctx context.Context, c *check) (crc uint32, typ backend.FileType, err error) {
	ranges := backend.Stage{Size: c.obj.Size, PartSize: verifyRange}
	sums := make([]uint32, ranges.Parts())
	g, gctx := errgroup.WithContext(ctx)
	for n := range sums {
		select {
		case v.slots <- struct{}{}:
		case <-gctx.Done():
			return 0, typ, errors.Join(g.Wait(), ctx.Err())
		}
		g.Go(func() error {
			defer func() { <-v.slots }()
			off, size := ranges.Range(n + 1)
			for attempt := 0; ; attempt++ {
				sum, t, err := v.sumRange(gctx, c, off, size)
				if n == 0 && err == nil {
					typ = t
				}
				if sums[n] = sum; err == nil || gctx.Err() != nil || backend.Permanent(err) || attempt == verifyTries-1 {
					return err
				}
				sleep(gctx, backoff(attempt, false))
			}
		})
	}
	if err := g.Wait(); err != nil {
		return 0, typ, err
	}
	for n, sum := range sums {
		_, size := ranges.Range(n + 1)
		crc = crc32c.Combine(crc, sum, size)
	}
	return crc, typ, nil
}

var errVerifyStalled = errors.New("the store stopped sending")

// sumRange reads one range. What it counted as done, it takes back if it fails.
func (v *verifier) sumRange(ctx context.Context, c *check, off, size int64) (crc uint32, typ backend.FileType, err error) {
	rctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(verifyStall, func() { cancel(errVerifyStalled) })
	defer stall.Stop()
	var got int64
	defer func() {
		if err == nil {
			return
		}
		v.progress(c, -got)
		if ctx.Err() == nil && errors.Is(context.Cause(rctx), errVerifyStalled) {
			err = errVerifyStalled
		}
	}()
	body, obj, err := v.u.store.Get(rctx, c.key, backend.GetOptions{Offset: off, Length: size, ETag: c.obj.ETag})
	if err != nil {
		return 0, typ, err
	}
	defer body.Close()
	buf := make([]byte, min(256<<10, max(size, 1)))
	for got < size {
		n, err := io.ReadFull(body, buf[:min(int64(len(buf)), size-got)])
		crc = crc32c.Update(crc, buf[:n])
		got += int64(n)
		v.progress(c, int64(n))
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, typ, err
		}
		stall.Reset(verifyStall)
	}
	return crc, obj.Attr.Type, nil
}

// progress counts bytes of a file that is being read.
func (v *verifier) progress(c *check, n int64) {
	v.mu.Lock()
	c.done += n
	v.mu.Unlock()
	v.count(0, n)
}
