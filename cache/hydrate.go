package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/layout"
)

// fetches brings remote files into the tree, each once however many ask for it.
//
// Crash argument: a download is written under fetch/, checked, then recorded with
// the identity it will have, then renamed into the tree. What lies under fetch/ at a
// start is taken up again if it is of the same object and the machine has not gone
// down since; a record whose file is not in the tree is history only.
type fetches struct {
	c      *Cache
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	slots  chan struct{} // requests for content at the same time
	urgent chan struct{} // and those for readers that found all others busy

	mu      sync.Mutex
	byPath  map[string]*fetch
	checked map[string]time.Time // clean files: when last known to be what the store has
	ahead   map[string]bool      // checkpoint directories that are being prefetched
}

const fetchSlots = 16

func newFetches(c *Cache) *fetches {
	ctx, cancel := context.WithCancel(context.Background())
	return &fetches{
		c: c, ctx: ctx, cancel: cancel, slots: make(chan struct{}, fetchSlots), urgent: make(chan struct{}, fetchSlots),
		byPath: map[string]*fetch{}, checked: map[string]time.Time{}, ahead: map[string]bool{},
	}
}

func (f *fetches) close() {
	f.cancel()
	f.wg.Wait()
}

// ErrCorrupt is a remote file whose bytes are not those that its checksum speaks of.
var ErrCorrupt = fmt.Errorf("remote content does not have its checksum: %w", syscall.EIO)

// localize makes path a real file of the tree. With truncate its content is not
// wanted, and not fetched. A clean copy that the store has replaced is dropped first
// (close-to-open).
func (c *Cache) localize(ctx context.Context, path string, truncate bool) (err error) {
	for range leftTries {
		if err = c.localizeOnce(ctx, path, truncate); !errors.Is(err, errTakenAway) {
			break
		}
	}
	return err
}

func (c *Cache) localizeOnce(ctx context.Context, path string, truncate bool) error {
	st, err := c.tree.lstat(path)
	if err == nil {
		if !isRegular(&st) && !isSymlink(&st) || truncate {
			return nil
		}
		stale, err := c.stale(ctx, path, &st, true)
		if err != nil || !stale {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e, err := c.findAway(ctx, path)
	if err != nil {
		return err
	}
	switch {
	case e.dir:
		return c.makeShadow(ctx, path, e)
	case truncate:
		return c.emptyInstead(ctx, path, e)
	}
	return c.fetches.whole(ctx, path, e)
}

// leftTries is how often a file that was in the tree and has left it is looked for again.
const leftTries = 20

// onLocal calls f once path is in the tree; and again where it left the tree in between, because
// the cache needed room or somebody has found that the store has a newer one.
func (c *Cache) onLocal(ctx context.Context, path string, truncate bool, f func() error) error {
	for try := 0; ; try++ {
		if err := c.localize(ctx, path, truncate); err != nil {
			return err
		}
		if err := f(); !isNotExist(err) || try == leftTries {
			return err
		}
	}
}

// localizeAll does so for everything at and below path.
func (c *Cache) localizeAll(ctx context.Context, path string) error {
	if err := c.localize(ctx, path, false); err != nil {
		return err
	}
	st, err := c.tree.lstat(path)
	if err != nil || !isDir(&st) {
		return err
	}
	if !c.mayHoldRemote(path) {
		return nil
	}
	list, err := c.remoteNames(ctx, path)
	if err != nil && !errors.Is(err, errOffline) {
		return err
	}
	for _, e := range list {
		if err := c.localizeAll(ctx, join(path, e.Name)); err != nil {
			return err
		}
	}
	return nil
}

// mayHoldRemote tells whether the store may have names below a local directory: it
// knew the directory once, or files of it were committed.
func (c *Cache) mayHoldRemote(dir string) bool {
	errFound := errors.New("found")
	for _, table := range []string{tableDir, tableFile, tableOwn} {
		if below(c.journal, table, dir, func(string, struct{}) error { return errFound }) != nil {
			return true
		}
	}
	return false
}

// stale tells whether a clean local file is no longer what the store has; then the
// local copy is gone on return. Files that were written here are only asked for when
// mine is set.
func (c *Cache) stale(ctx context.Context, path string, st *syscall.Stat_t, mine bool) (bool, error) {
	kind := c.cfg.Layout.Classify(path, false).Kind
	exact := kind == layout.Tracker || kind == layout.Control
	fresh := !exact && time.Since(c.fetches.sameAt(path)) < c.cfg.ListTTL
	if fresh || c.Writing(path) {
		return false, nil
	}
	var r fileRecord
	if found, err := c.journal.get(tableFile, path, &r); err != nil || !found || !r.clean(st) || r.Mine && !mine {
		return false, err
	}
	if c.goingNow(path) {
		return false, nil
	}
	e, err := c.names.confirm(ctx, path)
	switch {
	case errors.Is(err, errOffline):
		return false, nil
	case errors.Is(err, fs.ErrNotExist): // gone from the store: the copy goes along
	case err != nil:
		return false, err
	case e.etag == r.ETag:
		c.fetches.isSame(path)
		return false, nil
	}
	return true, c.dropClean(path, r.ID)
}

// isSame notes that the local copy is at this moment what the store has.
func (f *fetches) isSame(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.checked) > maxKnownNames {
		clear(f.checked)
	}
	f.checked[path] = time.Now()
}

// sameAt tells when it was last known to be.
func (f *fetches) sameAt(path string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.checked[path]
}

// goingNow tells whether path is a file of its own that is dirty, or a commit of its unit is
// under way, which compares what it keeps with the store itself. In a unit that is only dirty,
// other members are still what the store has, and have to be compared like any clean file: a chmod
// of the copy of an old version would otherwise bring it back.
func (c *Cache) goingNow(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.mu.units[c.unitPath(path)]
	return u != nil && (u.inHand() || !u.Dir)
}

// dropClean removes the local copy of a file if it is the one meant, still clean, and nobody
// writes to it. Readers that have it open keep what they opened. It may be gone already: others
// have found the same, or the cache needed room.
func (c *Cache) dropClean(path string, id Identity) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.writers[path] > 0 {
		return nil
	}
	st, err := c.tree.lstat(path)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var r fileRecord
	if found, err := c.journal.get(tableFile, path, &r); err != nil || !found || r.ID != id || !r.clean(&st) {
		return err
	}
	if err := c.tree.unlink(path); err != nil {
		return err
	}
	c.idents.drop(path, &st)
	c.unaccount(path)
	return nil
}

// Overtaken gives up a member of a unit that was clean, or evicted, with that identity: another
// node has replaced or deleted its object. What this node has of it goes, but for the
// knowledge that it was there.
func (c *Cache) Overtaken(path string, id Identity) error {
	if st, err := c.tree.lstat(path); err == nil && identityOf(&st) == id {
		if err := c.dropClean(path, id); err != nil {
			return err
		}
	}
	var r fileRecord
	if found, err := c.journal.get(tableFile, path, &r); err != nil || !found || r.ID != id {
		return err
	}
	c.names.forget(path)
	return c.journal.write(put(tableFile, path, fileRecord{}))
}

// emptyInstead makes an empty local file in place of a remote one that is about to
// be truncated. The record says that this node knew what it replaces.
func (c *Cache) emptyInstead(ctx context.Context, path string, e remoteEntry) error {
	if err := c.shadow(ctx, parent(path)); err != nil {
		return err
	}
	c.mu.Lock()
	ops := append(c.unmoved(path), put(tableFile, path, fileRecord{ETag: e.etag}))
	c.mu.Unlock()
	// Durably: what the program writes and syncs must not look like an unknown file later.
	if err := c.journal.durably(ops...); err != nil {
		return err
	}
	a := e.attr()
	f, err := c.tree.create(path, unix.O_WRONLY|unix.O_EXCL, a.Mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if os.Geteuid() == 0 {
		err = unix.Fchown(int(f.Fd()), int(a.UID), int(a.GID))
	}
	if st, serr := c.tree.lstat(path); serr == nil {
		c.idents.fetched(path, st.Ino)
	}
	return err
}
