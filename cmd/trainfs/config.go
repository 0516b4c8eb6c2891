package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Config is everything that one mount is told. Command line, fstab and environment all
// end here: the option table gives defaults, ranges and texts, [Config.resolve] the rest.
type Config struct {
	Source     string // storage path as the user wrote it; resolve fills it from the environment
	MountPoint string // absolute
	CacheDir   string // absolute

	AllowOther    bool
	ReadOnly      bool
	Passthrough   string   // auto, off
	KernelOptions []string // nodev, noatime, … as mount(8) spells them
	AttrTimeout   time.Duration
	EntryTimeout  time.Duration
	MountTimeout  time.Duration

	CacheSizeBytes int64 // 0: no bound
	MinFreeBytes   int64 // 0: automatic
	FullTimeout    time.Duration
	Prefetch       string // checkpoint, file, off

	Checkpoints    []string // globs
	NotCheckpoint  []string // globs
	Exclude        []string // globs
	Commit         string   // async, close
	Fsync          string   // local, remote
	SyncArtifacts  bool
	SyncPeriod     time.Duration
	Settle         time.Duration
	Hold           time.Duration
	ControlTimeout time.Duration
	StopTimeout    time.Duration

	ListTTL     time.Duration
	NegativeTTL time.Duration
	CreateTTL   time.Duration

	StoreTimeout   time.Duration
	UploadParallel int
	PartSizeBytes  int64

	Endpoint  string // S3: of these four, "" says that the storage path or the SDK decides
	Region    string
	Scheme    string
	PathStyle string // on, off

	StorageClass string // S3, GCS, Azure: of new objects
	ACL          string // S3, GCS: predefined
	KMSKey       string // S3, GCS, Azure
	SSE          string // S3
	RequestPayer bool   // S3
	Tags         string // S3: as in a query
	UserProject  string // GCS

	LogFile   string // absolute; "" is stderr in the foreground, CACHE/trainfs.log otherwise
	LogLevel  string
	LogFormat string
	Debug     bool

	Metrics string // where metrics are served; "" and off: nowhere

	ConfigFile string // absolute; "" if there is none

	given        map[string]bool   // options that flags or fstab set, by name
	origins      map[string]origin // where each value came from, by option
	sourceFrom   string            // the same of Source
	cacheDirFrom string            // and of a CacheDir that no option gave
}

// environ is what of a process's surroundings decides about a mount; tests make their own.
type environ struct {
	getenv func(string) string
	uid    int
	home   string

	configFiles []string // where one may be that nobody has named
}

// newConfig gives a Config in which every option has its default.
func newConfig() *Config {
	c := &Config{given: map[string]bool{}, origins: map[string]origin{}}
	for i := range optionTable {
		o := &optionTable[i]
		if o.def == "" {
			continue
		}
		if err := o.set(c, o.def); err != nil {
			panic(fmt.Sprintf("default of option %s: %v", o.name, err)) // a test walks the table
		}
	}
	return c
}

// resolve takes from the environment what was not given, makes paths absolute, and
// refuses what does not go together. It touches no network, and creates nothing.
func (c *Config) resolve(env environ) error {
	if c.Source == "" {
		c.Source, c.sourceFrom = env.getenv("RAY_STORAGE"), "environment RAY_STORAGE"
	}
	if c.Source == "" {
		return usagef("no storage path: give one before the mount point (s3://bucket/path or a directory), or set RAY_STORAGE")
	}
	loc, err := c.location()
	if err != nil {
		return err
	}
	if c.MountPoint, err = filepath.Abs(c.MountPoint); err != nil {
		return err
	}
	c.MountPoint = resolved(c.MountPoint) // as the mount table will have it
	if c.LogFile != "" {
		if c.LogFile, err = filepath.Abs(c.LogFile); err != nil {
			return err
		}
	}
	if _, _, err := c.metricsAddress(); err != nil {
		return err
	}
	if c.CacheDir, c.cacheDirFrom, err = chooseCacheDir(c.CacheDir, loc.identity, env); err != nil {
		return err
	}
	return errors.Join(c.checkContradictions(), c.checkOverlap(loc.dir))
}

// checkContradictions finds options that cannot both be meant.
func (c *Config) checkContradictions() error {
	if c.given["ro"] && c.given["rw"] {
		return usagef("options ro and rw contradict each other: leave one out")
	}
	if c.ReadOnly {
		switch {
		case c.Commit == "close":
			return usagef("options ro and commit=close contradict each other: a read-only mount commits nothing")
		case c.Fsync == "remote":
			return usagef("options ro and fsync=remote contradict each other: a read-only mount uploads nothing")
		}
	}
	if !c.SyncArtifacts && c.given["sync_period"] {
		return usagef("options sync_artifacts=off and sync_period contradict each other: without artifacts there is nothing to sync")
	}
	return nil
}

// checkOverlap refuses places that lie in each other: the mount would cover its own
// cache, or upload itself. store is the directory of a file store, or "".
func (c *Config) checkOverlap(store string) error {
	if c.LogFile != "" && within(c.LogFile, c.MountPoint) {
		return usagef("log_file %s lies in the mount %s, which it is to tell about", c.LogFile, c.MountPoint)
	}
	places := []struct{ what, path string }{
		{"mount point", c.MountPoint},
		{"cache directory", c.CacheDir},
		{"storage path", store},
	}
	for i, a := range places {
		for _, b := range places[i+1:] {
			if a.path == "" || b.path == "" {
				continue
			}
			if within(a.path, b.path) || within(b.path, a.path) {
				return usagef("%s %s and %s %s overlap: neither may lie inside the other", a.what, a.path, b.what, b.path)
			}
		}
	}
	return nil
}

// within tells whether path is dir or lies below it, symlinks resolved as far as they exist.
func within(path, dir string) bool {
	path, dir = resolved(path), resolved(dir)
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// resolved follows the symlinks of the longest part of path that exists.
func resolved(path string) string {
	rest := ""
	for p := filepath.Clean(path); ; p = filepath.Dir(p) {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(real, rest)
		}
		if p == filepath.Dir(p) {
			return filepath.Clean(path)
		}
		rest = filepath.Join(filepath.Base(p), rest)
	}
}

// processEnviron is the environ of this process. mount(8) may run without HOME; where the
// user lives is then looked up, and told to the SDKs, which look for credentials there.
func processEnviron() environ {
	env := environ{getenv: os.Getenv, uid: os.Geteuid()}
	env.home = completeEnvironment(env.uid)
	env.configFiles = usualConfigFiles(env)
	return env
}
