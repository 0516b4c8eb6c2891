package cache

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// fetches brings remote files into the tree, each once however many ask for it.
//
// Crash argument: a download is written under fetch/, checked, then recorded with
// the identity it will have, then renamed into the tree. What lies under fetch/ at
// a start is thrown away; a record whose file is not in the tree is history only.
type fetches struct {
	c      *Cache
	flight singleflight.Group
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	seq    atomic.Uint64

	mu      sync.Mutex
	checked map[string]time.Time // clean files: when last compared with the store
}

func newFetches(c *Cache) *fetches {
	ctx, cancel := context.WithCancel(context.Background())
	return &fetches{c: c, ctx: ctx, cancel: cancel, checked: map[string]time.Time{}}
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
func (c *Cache) localize(ctx context.Context, path string, truncate bool) error {
	st, err := c.tree.lstat(path)
	if err == nil {
		if !isRegular(&st) || truncate {
			return nil
		}
		stale, err := c.stale(ctx, path, &st, true)
		if err != nil || !stale {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e, err := c.names.find(ctx, path)
	if err != nil {
		return err
	}
	switch {
	case e.dir:
		return c.makeShadow(ctx, path, e)
	case truncate:
		return c.emptyInstead(ctx, path, e)
	}
	return c.fetches.fetch(ctx, path)
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
	c.fetches.mu.Lock()
	fresh := time.Since(c.fetches.checked[path]) < c.cfg.ListTTL
	c.fetches.mu.Unlock()
	if fresh || c.Writing(path) {
		return false, nil
	}
	var r fileRecord
	if found, err := c.journal.get(tableFile, path, &r); err != nil || !found || !r.clean(st) || r.Mine && !mine {
		return false, err
	}
	if c.unitBusyOrDirty(path) {
		return false, nil
	}
	e, err := c.names.confirm(ctx, path)
	switch {
	case errors.Is(err, errOffline):
		return false, nil
	case errors.Is(err, fs.ErrNotExist): // gone from the store: the copy goes along
	case err != nil:
		return false, err
	case e.obj.ETag == r.ETag:
		c.fetches.mu.Lock()
		if len(c.fetches.checked) > maxKnownNames {
			clear(c.fetches.checked)
		}
		c.fetches.checked[path] = time.Now()
		c.fetches.mu.Unlock()
		return false, nil
	}
	return true, c.dropClean(path)
}

func (c *Cache) unitBusyOrDirty(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.units[c.cfg.Layout.Classify(path, false).Unit] != nil
}

// dropClean removes the local copy of a file if it is still clean and nobody writes
// to it. Readers that have it open keep what they opened.
func (c *Cache) dropClean(path string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.writers[path] > 0 {
		return nil
	}
	st, err := c.tree.lstat(path)
	if err != nil {
		return err
	}
	var r fileRecord
	if found, err := c.journal.get(tableFile, path, &r); err != nil || !found || !r.clean(&st) {
		return err
	}
	if err := c.tree.unlink(path); err != nil {
		return err
	}
	c.idents.drop(path, &st)
	return nil
}

// emptyInstead makes an empty local file in place of a remote one that is about to
// be truncated. The record says that this node knew what it replaces.
func (c *Cache) emptyInstead(ctx context.Context, path string, e remoteEntry) error {
	if err := c.shadow(ctx, parent(path)); err != nil {
		return err
	}
	if err := c.journal.write(put(tableFile, path, fileRecord{ETag: e.obj.ETag})); err != nil {
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

// fetch brings path into the tree. The download goes on for the others if one
// program gives up.
func (f *fetches) fetch(ctx context.Context, path string) error {
	ch := f.flight.DoChan(path, func() (any, error) {
		f.wg.Add(1)
		defer f.wg.Done()
		return nil, f.run(path)
	})
	select {
	case r := <-ch:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fetches) run(path string) error {
	c := f.c
	for try := 0; ; try++ {
		if c.tree.exists(path) {
			return nil
		}
		e, err := c.names.find(f.ctx, path)
		if err != nil {
			return err
		}
		err = f.once(path, e)
		switch {
		case err == nil:
			return nil
		case try < 1 && errors.Is(err, ErrCorrupt), try < 3 && errors.Is(err, backend.ErrChanged):
			// What we were told of the file may be older than the file.
			c.names.refresh(c.cfg.Layout.Classify(path, false).Unit)
			c.names.forget(path)
		case backend.Permanent(err) || errors.Is(err, ErrCorrupt) || isNoSpace(err) || try >= 5:
			c.log.Error("cannot fetch", "path", path, "err", err)
			return err
		default:
			select {
			case <-f.ctx.Done():
				return f.ctx.Err()
			case <-time.After(time.Duration(try+1) * 200 * time.Millisecond):
			}
		}
	}
}

// once downloads, checks and moves in.
func (f *fetches) once(path string, e remoteEntry) error {
	c := f.c
	body, obj, err := c.cfg.Store.Get(f.ctx, path, backend.GetOptions{ETag: e.obj.ETag})
	if err != nil {
		return err
	}
	defer body.Close()
	if e.file == nil {
		e.obj = obj
	}
	a := e.attr()
	if a.Type == backend.Symlink {
		return f.link(path, body, e)
	}
	tmp := filepath.Join(c.dir, "fetch", fmt.Sprintf("%d-%d", os.Getpid(), f.seq.Add(1)))
	out, err := os.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	defer os.Remove(tmp)
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	n, err := io.CopyBuffer(io.MultiWriter(out, sum), body, make([]byte, 1<<20))
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.mu.stats.fetched += n
	c.mu.Unlock()
	if err := checkFetched(path, e, obj, n, sum.Sum32()); err != nil {
		c.log.Error("fetched content is wrong", "key", path, "err", err)
		return err
	}
	return f.moveIn(tmp, out, path, a, obj.ETag, sum.Sum32())
}

func checkFetched(path string, e remoteEntry, obj backend.Object, n int64, crc uint32) error {
	size, want, known := obj.Size, obj.CRC32C, obj.HasCRC32C
	if e.file != nil && e.file.Type == layout.TypeFile {
		size, want, known = e.file.Size, e.file.CRC32C, true
	}
	if n != size {
		return fmt.Errorf("%s: %d bytes expected, got %d: %w", path, size, n, ErrCorrupt)
	}
	if known && crc != want {
		return fmt.Errorf("%s: crc32c %08x expected, got %08x: %w", path, want, crc, ErrCorrupt)
	}
	return nil
}

// moveIn gives a checked download its attributes, records it and renames it into the
// tree, unless a file has appeared there meanwhile.
func (f *fetches) moveIn(tmp string, out *os.File, path string, a backend.Attr, etag string, crc uint32) error {
	c := f.c
	fd := int(out.Fd())
	if os.Geteuid() == 0 {
		if err := unix.Fchown(fd, int(a.UID), int(a.GID)); err != nil {
			return err
		}
	}
	if err := unix.Fchmod(fd, a.Mode&0o7777); err != nil {
		return err
	}
	ts := syscall.NsecToTimespec(a.Mtime.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, procFD(fd), []unix.Timespec{unix.Timespec(ts), unix.Timespec(ts)}, 0); err != nil {
		return err
	}
	var u unix.Stat_t
	if err := unix.Fstat(fd, &u); err != nil {
		return err
	}
	st := fromUnix(&u)
	if err := c.shadow(f.ctx, parent(path)); err != nil {
		return err
	}
	rec := fileRecord{ID: identityOf(&st), Attrs: attrsOf(&st), CRC32C: crc, ETag: etag}
	if err := c.journal.write(put(tableFile, path, rec)); err != nil {
		return err
	}
	c.idents.fetched(path, st.Ino)
	err := c.tree.at(path, func(dirfd int, name string) error {
		return unix.Renameat2(unix.AT_FDCWD, tmp, dirfd, name, unix.RENAME_NOREPLACE)
	})
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	f.mu.Lock()
	f.checked[path] = time.Now()
	f.mu.Unlock()
	return err
}

func (f *fetches) link(path string, body io.Reader, e remoteEntry) error {
	target, err := io.ReadAll(io.LimitReader(body, unix.PathMax))
	if err != nil {
		return err
	}
	c := f.c
	if err := c.shadow(f.ctx, parent(path)); err != nil {
		return err
	}
	if err := c.tree.symlink(string(target), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	a := e.attr()
	if os.Geteuid() == 0 {
		c.tree.chown(path, int(a.UID), int(a.GID))
	}
	c.tree.utimes(path, nil, &a.Mtime)
	st, err := c.tree.lstat(path)
	if err != nil {
		return err
	}
	c.idents.fetched(path, st.Ino)
	return c.journal.write(put(tableFile, path, fileRecord{
		ID: identityOf(&st), Attrs: attrsOf(&st), ETag: e.obj.ETag,
		CRC32C: crc32.Checksum(target, crc32.MakeTable(crc32.Castagnoli)),
	}))
}
