package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
	"github.com/trainfs/trainfs/uploader"
)

// mountEngine is the engine of a mount that writes: the uploader, and what the cache does
// when it is asked.
type mountEngine struct {
	*uploader.Uploader
	cache *cache.Cache
}

var _ engine = (*mountEngine)(nil)

// Evict passes on to the cache.
func (e *mountEngine) Evict(ctx context.Context, paths []string) (freed int64, kept []string, err error) {
	return e.cache.Evict(ctx, paths)
}

// CacheReport passes on to the cache.
func (e *mountEngine) CacheReport() cache.CacheReport { return e.cache.CacheReport() }

const (
	prefetchEvery = 250 * time.Millisecond
	// A full cache has room again when what was just used may go.
	prefetchTries = 3
	prefetchPause = 2500 * time.Millisecond
)

// Prefetch brings everything at and below paths into the cache. That it was brought there
// does not say that it stays: where the cache is too small for all of it, what came first
// has gone again, and that is an error.
func (e *mountEngine) Prefetch(ctx context.Context, paths []string, progress func(prefetchProgress)) error {
	total, err := e.absent(ctx, paths)
	if err != nil {
		return err
	}
	if bound := e.CacheReport().Limit; bound > 0 && total > bound {
		return fmt.Errorf("%s would have to come, and cache_size is %s: nothing was fetched", bytesText(total), bytesText(bound))
	}
	before := e.Status().BytesFetched
	now := func() prefetchProgress {
		// Of all that is fetched, for whomever; so it may come to more than was asked for.
		return prefetchProgress{Bytes: min(e.Status().BytesFetched-before, total), Total: total}
	}
	progress(now())
	running, stop := context.WithCancel(ctx)
	defer stop()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer stop()
		return e.fetchAll(gctx, paths)
	})
	tick := time.NewTicker(prefetchEvery)
	defer tick.Stop()
	for running.Err() == nil {
		select {
		case <-running.Done():
		case <-tick.C:
			progress(now())
		}
	}
	if err := g.Wait(); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	progress(prefetchProgress{Bytes: total, Total: total})
	return nil
}

// fetchAll fetches, looks at what is not there after all (it may have gone again, or, in a
// directory that was made a moment ago, not have been seen), and fetches just that.
func (e *mountEngine) fetchAll(ctx context.Context, paths []string) error {
	if err := e.fetch(ctx, paths); err != nil {
		return err
	}
	gone, err := e.remoteOnly(ctx, paths)
	if err != nil || len(gone) == 0 {
		return err
	}
	if err := e.fetch(ctx, gone); err != nil {
		return err
	}
	if gone, err = e.remoteOnly(ctx, paths); len(gone) > 0 {
		return e.tooMuch(gone)
	}
	return err
}

func (e *mountEngine) fetch(ctx context.Context, paths []string) error {
	for try := 1; ; try++ {
		err := e.cache.Prefetch(ctx, paths)
		if !errors.Is(err, syscall.ENOSPC) || try == prefetchTries {
			return err
		}
		select {
		case <-time.After(prefetchPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// absent is how many bytes below paths are only in the store, as far as a listing tells.
func (e *mountEngine) absent(ctx context.Context, paths []string) (sum int64, err error) {
	add := func(o backend.Object) {
		if strings.HasPrefix(o.Key, layout.Prefix) || backend.IsMarker(o.Key) || layout.CheckPath(o.Key) != nil {
			return
		}
		if !e.isLocal(o.Key) {
			sum += o.Size
		}
	}
	for _, path := range paths {
		prefix := ""
		if path != "" {
			prefix = path + "/"
			if o, err := e.cache.Store().Head(ctx, path); err == nil {
				add(o)
			}
		}
		for o := (backend.ListOptions{Prefix: prefix}); ; {
			page, err := e.cache.Store().List(ctx, o)
			if err != nil {
				return 0, err
			}
			for _, obj := range page.Objects {
				add(obj)
			}
			if page.Token == "" || page.Token == o.Token {
				break
			}
			o.Token = page.Token
		}
	}
	return sum, nil
}

func (e *mountEngine) isLocal(path string) bool {
	f, _, err := e.cache.OpenFile(path)
	if err == nil {
		f.Close()
	}
	return err == nil || !errors.Is(err, fs.ErrNotExist)
}

// remoteOnly lists the files below paths that the mount shows and the cache does not have.
func (e *mountEngine) remoteOnly(ctx context.Context, paths []string) (list []string, err error) {
	var walk func(path string, dir bool) error
	walk = func(path string, dir bool) error {
		if !dir {
			if !e.isLocal(path) {
				list = append(list, path)
			}
			return ctx.Err()
		}
		entries, err := e.cache.ReadDir(ctx, path)
		for _, entry := range entries {
			if err == nil {
				err = walk(strings.TrimPrefix(path+"/"+entry.Name, "/"), entry.Type == syscall.S_IFDIR)
			}
		}
		return err
	}
	for _, path := range paths {
		info, err := e.cache.Stat(ctx, path)
		if err == nil {
			err = walk(path, info.Mode&syscall.S_IFMT == syscall.S_IFDIR)
		}
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// tooMuch says that not all of what was prefetched fits into the cache.
func (e *mountEngine) tooMuch(gone []string) error {
	r := e.cache.CacheReport()
	bound := "min_free is " + bytesText(r.MinFree)
	if r.Limit > 0 {
		bound = "cache_size is " + bytesText(r.Limit) + ", " + bound
	}
	return fmt.Errorf("not all of it fits into the cache: %s, %s for one, had to go again (%s; trainfs cache shows what takes the space)",
		countText(len(gone), "file"), printable(gone[0]), bound)
}

// readOnlyEngine is that of a mount that writes nothing. What an earlier mount has left to
// upload or to delete waits for a later one that may write, so nothing here waits for it.
type readOnlyEngine struct{ engine }

// Run uploads nothing.
func (readOnlyEngine) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Wait has nothing to wait for.
func (readOnlyEngine) Wait(_ context.Context, _ []string, progress func(cache.Progress)) error {
	progress(cache.Progress{Done: true})
	return nil
}

var errReadOnly = errors.New("the mount is read-only")

// refuseWrites lets reading through, and nothing else.
func refuseWrites(s backend.Store) backend.Store {
	return backend.Intercept(s, func(ctx context.Context, op, key string, next func(context.Context) error) error {
		switch op {
		case backend.OpHead, backend.OpList, backend.OpGet, backend.OpStagedParts, backend.OpListStages:
			return next(ctx)
		}
		return &backend.Error{Op: op, Key: key, Kind: backend.ErrDenied, Err: errReadOnly}
	})
}

// sweeping is the context that a file store is opened with. It ends nothing but the
// removal of what dead uploads have left, which a read-only mount has no business with.
func sweeping(ctx context.Context, c *Config) context.Context {
	if !c.ReadOnly {
		return ctx
	}
	ended, end := context.WithCancel(ctx)
	end()
	return ended
}
