package uploader

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
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
	tokens := backend.Tokens{}
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
		if tokens.Again(page.Token) {
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
