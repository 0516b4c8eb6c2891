package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache/killpoint"
	"github.com/trainfs/trainfs/layout"
)

// Config of Open.
type Config struct {
	Dir    string // cache directory
	Source string // storage path in its canonical form
	Store  backend.Store
	Layout *layout.Layout
	Logger *slog.Logger

	SyncArtifacts bool // off: artifacts and logs stay local
	ReadOnly      bool
	CommitOnClose bool // commit=close
	FsyncRemote   bool // fsync=remote

	Settle         time.Duration // a quiet checkpoint directory is closed after this
	SyncPeriod     time.Duration // files that stay open go up this often
	ControlTimeout time.Duration // a close of a control file waits at most this long

	ListTTL      time.Duration // remote names and attributes are kept this long
	NegativeTTL  time.Duration // missing remote names are
	CreateTTL    time.Duration // the same, where this node is creating files
	StoreTimeout time.Duration // a request that a program waits for gives up then

	CacheSize   int64         // bound on the disk space of the cache, bytes; 0: none but MinFree
	MinFree     int64         // to be left on its disk, bytes; 0: 1 GiB, at most a twentieth
	FullTimeout time.Duration // writers wait so long for a full cache, then ENOSPC

	Prefetch Prefetch // what an open of a remote file brings along

	// BootID stands in for the kernel's, in tests of power cuts.
	BootID string
}

func (c *Config) applyDefaults() error {
	if c.Store == nil || c.Layout == nil {
		return errors.New("cache: Store and Layout are needed")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{
		{&c.Settle, 3 * time.Second}, {&c.SyncPeriod, 30 * time.Second}, {&c.ControlTimeout, 30 * time.Second},
		{&c.ListTTL, 5 * time.Second}, {&c.CreateTTL, time.Second}, {&c.StoreTimeout, 10 * time.Second}, {&c.FullTimeout, time.Minute},
	} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	if c.BootID == "" {
		c.BootID = killpoint.BootID()
	}
	if c.BootID == "" {
		id, err := bootID()
		if err != nil {
			return fmt.Errorf("boot id: %w", err)
		}
		c.BootID = id
	}
	return nil
}

// Prefetch says what is fetched beyond what programs read.
type Prefetch uint8

const (
	PrefetchCheckpoint Prefetch = iota // the file, and the other files of its checkpoint directory
	PrefetchFile                       // the rest of the file while it is open
	PrefetchOff                        // nothing
)

// Committer commits single files on behalf of a program that waits for it. The
// uploader is one; until it is set, nobody waits.
type Committer interface {
	// CommitFile uploads the file as it is now and returns once it is durable in the
	// store: visible, or, for a member of a checkpoint directory, staged.
	CommitFile(ctx context.Context, path string) error
	// CommitUnit returns once the unit that path belongs to is committed.
	CommitUnit(ctx context.Context, path string) error
}

// Cache is an open cache directory.
type Cache struct {
	cfg      Config
	dir      string
	node     *nodeFile
	lock     *flock.Flock
	tree     *tree
	journal  *journal
	opens    *openTable
	names    *names
	fetches  *fetches
	unsynced *unsynced
	idents   idents
	flights  flights
	log      *slog.Logger

	committer Committer
	wake      chan struct{} // a unit may have become due
	squeeze   chan struct{} // somebody waits for room
	mappings  chan struct{} // a file that was closed is still mapped
	stop      chan struct{}
	endWatch  context.CancelFunc
	loops     sync.WaitGroup

	mappedLook sync.Mutex // one at a time; taken before mu

	// Names that go (going.go) and ends of commits keep apart by it: what a rename or a deletion
	// has written to the journal, and not to mu yet, is not taken back by the end of a commit that
	// has seen nothing of it. Taken before mu.
	planting sync.RWMutex

	mu struct {
		sync.Mutex
		units    map[string]*Unit
		handles  map[*Handle]struct{}       // open for writing
		mapped   map[*Handle]mapping        // of these, closed and still mapped
		unclosed map[uint64]int             // those not closed, counted by inode
		writers  map[string]int             // the same, counted by path
		opened   map[string]int             // by path, for reading too; a rename leaves those of readers behind
		tombs    map[string]tombstone       // by key
		torn     map[string]*tornRecord     // by unit
		unknown  map[string]struct{}        // dirty files whose history this node does not know (I6)
		unasked  map[string]struct{}        // names that counted as missing because nobody could look
		links    map[uint64]map[string]bool // inode -> its paths, for files with several
		closed   map[string]time.Time       // files of open units that could be staged early
		recent   map[string]recheck         // committed files that a forgotten mapping may still change
		strays   map[string]struct{}        // units whose open marker has to go
		leaving  map[*Unit]struct{}         // gone here, and still in the uploader's hands
		going    map[string]int             // names that are on their way out; see going.go
		deleting map[string]bool            // what the store is deleting, true with all below; see deleting.go
		moving   int                        // renames whose tombstones are there, and whose new units are not yet
		moved    map[string]movedRecord     // files renamed in the store only
		usage    usage
		seq      uint64
		changed  chan struct{} // closed and replaced whenever a unit's state changes
		stats    counters
	}
}

type counters struct {
	uploaded, fetched int64
	evicted, retries  int64
	hidden, lost      int
	lastCommitted     string
	storeErr          error
	started           time.Time
}

// Open claims the cache directory, recovers what the last daemon left and returns
// a cache that is ready for requests.
func Open(ctx context.Context, cfg Config) (_ *Cache, err error) {
	if err := cfg.applyDefaults(); err != nil {
		return nil, err
	}
	_, serr := os.Lstat(cfg.Dir)
	fresh := os.IsNotExist(serr)
	defer func() {
		if err != nil && fresh { // made by this call, and nothing of anybody's is in it
			os.RemoveAll(cfg.Dir)
		}
	}()
	node, lock, err := claimDir(cfg.Dir, cfg.Source)
	if err != nil {
		return nil, err
	}
	c := newCache(cfg, node, lock)
	defer func() {
		if err != nil {
			c.release()
		}
	}()
	for _, d := range []string{"tree", "fetch", "journal", "lost+found"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("make cache directory: %w", err)
		}
	}
	// The root of the mount has the mode of tree/; who gets in is the mount's business.
	if err := os.Chmod(filepath.Join(cfg.Dir, "tree"), 0o755); err != nil {
		return nil, err
	}
	if c.tree, err = openTree(filepath.Join(cfg.Dir, "tree")); err != nil {
		return nil, err
	}
	if c.journal, err = c.openJournal(); err != nil {
		return nil, err
	}
	if err := c.countLife(); err != nil {
		return nil, err
	}
	c.names = newNames(c)
	c.fetches = newFetches(c)
	c.unsynced = newUnsynced(c)
	c.idents.init(c.tree.dev)
	if err := c.recover(ctx); err != nil {
		return nil, fmt.Errorf("recover %s: %w", cfg.Dir, err)
	}
	watch, end := context.WithCancel(context.Background())
	c.endWatch = end
	c.loops.Add(6)
	go c.watchMapped()
	go c.unsynced.loop()
	go c.heartbeat()
	go c.evictLoop()
	go c.watchStore(watch)
	go c.watchFlights(watch)
	return c, nil
}

// newCache is a cache that knows nothing yet.
func newCache(cfg Config, node *nodeFile, lock *flock.Flock) *Cache {
	c := &Cache{
		cfg: cfg, dir: cfg.Dir, node: node, lock: lock, log: cfg.Logger,
		wake: make(chan struct{}, 1), squeeze: make(chan struct{}, 1), mappings: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	c.mu.units = map[string]*Unit{}
	c.mu.handles = map[*Handle]struct{}{}
	c.mu.mapped = map[*Handle]mapping{}
	c.mu.unclosed = map[uint64]int{}
	c.mu.writers = map[string]int{}
	c.mu.opened = map[string]int{}
	c.mu.tombs = map[string]tombstone{}
	c.mu.torn = map[string]*tornRecord{}
	c.mu.unknown = map[string]struct{}{}
	c.mu.unasked = map[string]struct{}{}
	c.mu.links = map[uint64]map[string]bool{}
	c.mu.closed = map[string]time.Time{}
	c.mu.recent = map[string]recheck{}
	c.mu.changed = make(chan struct{})
	c.mu.usage = newUsage()
	c.mu.moved = map[string]movedRecord{}
	c.mu.strays = map[string]struct{}{}
	c.mu.leaving = map[*Unit]struct{}{}
	c.mu.going = map[string]int{}
	c.mu.deleting = map[string]bool{}
	c.mu.stats.started = time.Now()
	c.flights.list = map[*flight]struct{}{}
	return c
}

// heartbeat lets the next process judge closes that were on their way (opens.go).
func (c *Cache) heartbeat() {
	defer c.loops.Done()
	t := time.NewTicker(heartbeatTime)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			c.opens.beat()
		}
	}
}

// Close stops background work and gives the directory back. Uploads must have been
// stopped before, and the mount must be gone.
func (c *Cache) Close() error {
	close(c.stop)
	c.endWatch()
	c.fetches.close()
	c.loops.Wait()
	return c.release()
}

func (c *Cache) release() error {
	var errs []error
	if c.opens != nil {
		errs = append(errs, c.opens.close())
	}
	if c.journal != nil {
		errs = append(errs, c.journal.close())
	}
	if c.tree != nil {
		errs = append(errs, c.tree.close())
	}
	return errors.Join(append(errs, c.lock.Close())...)
}

// Dir is the cache directory.
func (c *Cache) Dir() string { return c.dir }

// Node is the id of this cache directory.
func (c *Cache) Node() string { return c.node.Node }

// ReadOnly tells that nothing may be written to the store.
func (c *Cache) ReadOnly() bool { return c.cfg.ReadOnly }

// UploadStore is the remote side for work that no program waits for: see flights.go.
func (c *Cache) UploadStore() backend.Store { return c.watched() }

// Store is the remote side.
func (c *Cache) Store() backend.Store { return c.cfg.Store }

// Layout says what paths are.
func (c *Cache) Layout() *layout.Layout { return c.cfg.Layout }

// SetCommitter tells who commits for programs that wait. Call it before the mount.
func (c *Cache) SetCommitter(k Committer) { c.committer = k }

// Wake is sent to when a unit may have become due.
func (c *Cache) Wake() <-chan struct{} { return c.wake }

func (c *Cache) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
