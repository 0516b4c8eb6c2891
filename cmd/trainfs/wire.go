package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/azure"
	"github.com/trainfs/trainfs/backend/file"
	"github.com/trainfs/trainfs/backend/gcs"
	"github.com/trainfs/trainfs/backend/hdfs"
	"github.com/trainfs/trainfs/backend/plugin"
	"github.com/trainfs/trainfs/backend/s3"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cmd/trainfs/monitor"
	"github.com/trainfs/trainfs/fusefs"
	"github.com/trainfs/trainfs/layout"
	"github.com/trainfs/trainfs/uploader"
)

// This is the only file that knows all the other packages: it builds one of each, from the
// bottom up, and hands them to each other.

// buildParts opens store and cache. It fails within store_timeout if the store does not
// answer, and leaves nothing behind if it fails.
func buildParts(ctx context.Context, c *Config, log *slog.Logger) (*parts, error) {
	where, err := c.location()
	if err != nil {
		return nil, err
	}
	names, err := layout.New(layout.Options{Checkpoints: c.Checkpoints, NotCheckpoint: c.NotCheckpoint, Exclude: c.Exclude})
	if err != nil {
		return nil, &codedError{exitUsage, err}
	}
	store, err := openStore(ctx, c, where.location, where.identity, log)
	if err != nil {
		return nil, err
	}
	if c.ReadOnly {
		store = refuseWrites(store)
	}
	metrics := newMetrics(c)
	if metrics != nil {
		store = metrics.Store(store)
	}
	cached, err := cache.Open(ctx, cacheConfig(c, where.identity, store, names, log))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cache directory %s: %w%s", c.CacheDir, err, cacheHint(err)), store.Close())
	}
	up := uploader.New(cached, uploaderConfig(c, log))
	var work engine = &mountEngine{up, cached}
	if c.ReadOnly {
		work = readOnlyEngine{work}
	}
	return &parts{
		engine: work,
		limits: store.Capabilities().Limits(),
		mount:  func() (fileSystem, error) { return mountFS(cached, c, metrics, log) },
		monitor: func(status func() mountStatus) (*monitor.Server, error) {
			return openMonitor(c, metrics, up, cached, status, log)
		},
		close: func() error { return errors.Join(cached.Close(), store.Close()) },
	}, nil
}

// cacheHint says what to do about an error of the cache's disk; the cache's own errors say
// it themselves.
func cacheHint(err error) string {
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return " (free space on its disk, or choose another place with cache_dir=)"
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTDIR):
		return " (choose another place with cache_dir=)"
	}
	return ""
}

// openStore opens the storage path, which must answer within store_timeout. If it is out
// of reach and the cache directory has been used with it before, the mount goes on with
// what is there: a node that starts during an outage has work, and perhaps data that is
// not uploaded.
func openStore(ctx context.Context, c *Config, loc backend.Location, identity string, log *slog.Logger) (store backend.Store, err error) {
	open := openers[loc.Scheme]
	store, err = open(ctx, c, loc, false, log)
	if errors.Is(err, backend.ErrUnreachable) && cache.Belongs(c.CacheDir, identity) {
		log.Warn("the store cannot be reached: mounting with what the cache directory has", "err", err)
		store, err = open(ctx, c, loc, true, log)
	}
	if err != nil { // the store may be a nil pointer in its interface
		return nil, fmt.Errorf("storage path %s: %w", c.Source, err)
	}
	for _, limit := range store.Capabilities().Limits() {
		log.Warn("a limit of this store (docs/stores.md): " + limit)
	}
	return store, nil
}

// completed says of a location what only its store knows: in Azure's, the account may be
// left to the environment, and the same container of another account is another place.
func completed(loc backend.Location) backend.Location {
	if loc.Scheme == "abfs" {
		return azure.Complete(loc)
	}
	return loc
}

// openers opens each kind of store. unchecked is for a store that is out of reach.
var openers = map[string]func(ctx context.Context, c *Config, loc backend.Location, unchecked bool, log *slog.Logger) (backend.Store, error){
	"s3": func(ctx context.Context, c *Config, loc backend.Location, unchecked bool, _ *slog.Logger) (backend.Store, error) {
		return s3.Open(ctx, loc, s3.Options{CheckTimeout: c.StoreTimeout, SkipCheck: unchecked,
			Placement:    s3.Placement{StorageClass: c.StorageClass, ACL: c.ACL, SSE: c.SSE, KMSKey: c.KMSKey, Tags: c.Tags},
			RequestPayer: c.RequestPayer})
	},
	"gs": func(ctx context.Context, c *Config, loc backend.Location, unchecked bool, _ *slog.Logger) (backend.Store, error) {
		return gcs.Open(ctx, loc, gcs.Options{CheckTimeout: c.StoreTimeout, SkipCheck: unchecked,
			StorageClass: c.StorageClass, ACL: c.ACL, KMSKey: c.KMSKey, UserProject: c.UserProject})
	},
	"abfs": func(ctx context.Context, c *Config, loc backend.Location, unchecked bool, _ *slog.Logger) (backend.Store, error) {
		return azure.Open(ctx, loc, azure.Options{CheckTimeout: c.StoreTimeout, SkipCheck: unchecked,
			Placement: azure.Placement{AccessTier: c.StorageClass, EncryptionScope: c.KMSKey, Tags: c.Tags}})
	},
	"hdfs": func(ctx context.Context, c *Config, loc backend.Location, unchecked bool, _ *slog.Logger) (backend.Store, error) {
		return hdfs.Open(ctx, loc, hdfs.Options{CheckTimeout: c.StoreTimeout, SkipCheck: unchecked})
	},
	"plugin": func(ctx context.Context, c *Config, loc backend.Location, unchecked bool, log *slog.Logger) (backend.Store, error) {
		return plugin.Open(ctx, loc, plugin.Options{CheckTimeout: c.StoreTimeout, SkipCheck: unchecked, Logger: log})
	},
	"file": func(ctx context.Context, c *Config, loc backend.Location, _ bool, _ *slog.Logger) (backend.Store, error) {
		return file.Open(sweeping(ctx, c), loc)
	},
}

func cacheConfig(c *Config, identity string, store backend.Store, names *layout.Layout, log *slog.Logger) cache.Config {
	return cache.Config{
		Dir: c.CacheDir, Source: identity, Store: store, Layout: names, Logger: log,
		SyncArtifacts: c.SyncArtifacts, ReadOnly: c.ReadOnly,
		CommitOnClose: c.Commit == "close", FsyncRemote: c.Fsync == "remote",
		Settle: c.Settle, SyncPeriod: c.SyncPeriod, ControlTimeout: exactly(c.ControlTimeout),
		ListTTL: exactly(c.ListTTL), NegativeTTL: c.NegativeTTL, CreateTTL: exactly(c.CreateTTL),
		StoreTimeout: c.StoreTimeout,
		CacheSize:    c.CacheSizeBytes, MinFree: c.MinFreeBytes, FullTimeout: exactly(c.FullTimeout),
		Prefetch: map[string]cache.Prefetch{"file": cache.PrefetchFile, "off": cache.PrefetchOff}[c.Prefetch],
	}
}

// exactly tells a zero that the user meant from the zero that asks for the default.
func exactly(d time.Duration) time.Duration { return max(d, time.Nanosecond) }

func uploaderConfig(c *Config, log *slog.Logger) uploader.Config {
	return uploader.Config{Parallel: c.UploadParallel, PartSize: c.PartSizeBytes, Hold: exactly(c.Hold), Logger: log}
}

// mountFS mounts the cache, and finds out what the mount table says of it.
func mountFS(cached *cache.Cache, c *Config, metrics *monitor.Metrics, log *slog.Logger) (fileSystem, error) {
	var observe func(string, time.Duration)
	if metrics != nil {
		observe = metrics.ObserveFUSE
	}
	server, err := fusefs.Mount(cached, fusefs.Config{
		MountPoint: c.MountPoint, Source: c.Source,
		AllowOther: c.AllowOther, ReadOnly: c.ReadOnly, Passthrough: c.Passthrough == "auto",
		AttrTimeout: c.AttrTimeout, EntryTimeout: c.EntryTimeout, NegativeTimeout: c.NegativeTTL,
		Options: c.KernelOptions, Debug: c.Debug, Logger: log, Observe: observe,
	})
	if err != nil {
		return nil, err
	}
	where, err := findMounted(c.MountPoint)
	if err != nil {
		return nil, errors.Join(err, server.Unmount())
	}
	return &kernelMount{server, where}, nil
}

// kernelMount is the fileSystem of a real mount.
type kernelMount struct {
	*fusefs.Server
	where mounted
}

// Unmount implements fileSystem, by path: the server's own cannot be lazy.
func (k *kernelMount) Unmount(lazy bool) error {
	if !k.where.onTop() {
		return nil // somebody was faster
	}
	return unmountError(fusefs.Unmount(k.where.path, lazy), k.where)
}

// Answers implements fileSystem.
func (k *kernelMount) Answers(ctx context.Context) error { return k.where.answers(ctx) }

// Abort implements fileSystem.
func (k *kernelMount) Abort() { k.where.abort() }

// unmountStale takes away a mount whose daemon is gone. Lazily: whoever has files of it
// open gets nothing from it any more, and keeps nobody from mounting anew.
func unmountStale(path string) error { return fusefs.Unmount(path, true) }

// checkMountPoint says what is wrong with the mount point, cleans up what a dead daemon
// left there, and warns of what mount(8) warns of.
func checkMountPoint(c *Config) (warnings []string, err error) {
	path := c.MountPoint
	for {
		state, err := fusefs.CheckMountPoint(path)
		if err != nil {
			return warnings, fmt.Errorf("mount point %s: %w", path, err)
		}
		// For as long as attr_timeout, the kernel answers for a daemon that is dead.
		if state == fusefs.MountPointLive && isDead(path) {
			state = fusefs.MountPointStale
		}
		switch state {
		case fusefs.MountPointMissing:
			return warnings, fmt.Errorf("mount point %s does not exist: make it with mkdir -p %s", path, path)
		case fusefs.MountPointNotDirectory:
			return warnings, fmt.Errorf("mount point %s is not a directory", path)
		case fusefs.MountPointLive:
			return warnings, fmt.Errorf("%s is a trainfs mount already: trainfs umount %s first", path, path)
		case fusefs.MountPointNotEmpty:
			return append(warnings, fmt.Sprintf("mount point %s is not empty: what is in it is hidden until umount", path)), nil
		case fusefs.MountPointOther:
			return append(warnings, fmt.Sprintf("another file system is mounted at %s: it is hidden until umount", path)), nil
		case fusefs.MountPointStale:
			if err := unmountStale(path); err != nil {
				return warnings, fmt.Errorf("clean up the stale mount at %s: %w", path, err)
			}
			warnings = append(warnings, fmt.Sprintf("the mount at %s was stale (its daemon had died): cleaned up", path))
		default:
			return warnings, nil
		}
	}
}
