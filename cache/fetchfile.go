package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache/killpoint"
)

// fetchState is the side file of a download: which blocks of which object are here. It
// counts only until the machine goes down: the blocks are not synced.
type fetchState struct {
	Path  string   `json:"path"`
	ETag  string   `json:"etag"`
	Size  int64    `json:"size"`
	Block int64    `json:"block"`
	Boot  string   `json:"boot"`
	Done  []bool   `json:"done"`
	Sums  []uint32 `json:"crc32c"`
}

const stateExt = ".json"

// maxFetchBytes is the largest file that is fetched, as on ext4: a store may claim anything
// of a size, and a download takes five bytes of memory for each of its blocks.
const maxFetchBytes = 16 << 40

// begin makes a download, or takes up one that was broken off.
func (f *fetches) begin(path string, e remoteEntry) (*fetch, error) {
	if e.size > maxFetchBytes {
		return nil, fmt.Errorf("%s has %d bytes in the store: %w", path, e.size, syscall.EFBIG)
	}
	name := sha256.Sum256([]byte(path))
	d := &fetch{c: f.c, path: path, key: e.key(path), size: e.size, part: hex.EncodeToString(name[:16]), done: make(chan struct{})}
	d.ctx, d.cancel = context.WithCancel(f.ctx)
	d.mu.entry = e
	d.mu.changed = make(chan struct{})
	d.mu.runs = map[*run]struct{}{}
	blocks := max(1, int((d.size+fetchBlock-1)/fetchBlock))
	d.mu.blocks, d.mu.sums, d.mu.left = make([]blockState, blocks), make([]uint32, blocks), blocks
	if !d.resume() {
		// Never over what is there: a reader may have it open, and it is another object.
		if err := os.Remove(d.name()); err != nil && !isNotExist(err) {
			d.cancel()
			return nil, err
		}
	}
	file, err := os.OpenFile(d.name(), os.O_RDWR|os.O_CREATE, 0o600)
	if isNoSpace(err) { // not even for a name, or a quota counts those
		d.readPast()
		file, err = nameless()
	}
	if err != nil {
		d.cancel()
		return nil, err
	}
	if err := file.Truncate(d.size); err != nil {
		d.cancel()
		return nil, errors.Join(err, file.Close())
	}
	d.file = file
	return d, nil
}

// nameless is a file that is on no disk: one that is read past the cache has nothing in it.
func nameless() (*os.File, error) {
	fd, err := unix.MemfdCreate("trainfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "memfd"), nil
}

// resume takes over the blocks that are here already.
func (d *fetch) resume() bool {
	b, err := os.ReadFile(d.name() + stateExt)
	if err != nil {
		return false
	}
	if st, err := os.Lstat(d.name()); err != nil || st.Size() != d.size {
		return false
	}
	var s fetchState
	if json.Unmarshal(b, &s) != nil || s.Path != d.path || s.ETag == "" || s.ETag != d.mu.entry.etag || s.Size != d.size ||
		s.Block != fetchBlock || s.Boot != d.c.cfg.BootID || len(s.Done) != len(d.mu.blocks) || len(s.Sums) != len(s.Done) {
		return false
	}
	for i, done := range s.Done {
		if done {
			d.mu.blocks[i], d.mu.sums[i] = blockDone, s.Sums[i]
			d.mu.left--
		}
	}
	return true
}

// save notes what is here. If it fails, that is fetched again.
func (d *fetch) save() {
	d.mu.Lock()
	s := fetchState{Path: d.path, ETag: d.mu.entry.etag, Size: d.size, Block: fetchBlock, Boot: d.c.cfg.BootID, Sums: append([]uint32(nil), d.mu.sums...)}
	for _, b := range d.mu.blocks {
		s.Done = append(s.Done, b == blockDone)
	}
	d.mu.Unlock()
	b, err := json.Marshal(s)
	if err != nil {
		return
	}
	tmp := d.name() + ".tmp"
	if os.WriteFile(tmp, b, 0o600) == nil {
		os.Rename(tmp, d.name()+stateExt)
	}
}

func (d *fetch) saveNew() {
	d.mu.Lock()
	unsaved := d.mu.unsaved
	d.mu.unsaved = false
	d.mu.Unlock()
	if unsaved {
		d.save()
	}
}

func (d *fetch) discard() {
	os.Remove(d.name())
	os.Remove(d.name() + stateExt)
}

// moveIn gives a checked download its attributes, records it and renames it into the
// tree, unless a file has appeared there meanwhile.
func (d *fetch) moveIn(a backend.Attr, etag string, crc uint32) error {
	c, fd := d.c, int(d.file.Fd())
	if os.Geteuid() == 0 {
		if err := unix.Fchown(fd, int(a.UID), int(a.GID)); err != nil {
			return err
		}
	}
	// No set-user-id from a store: whoever can write there could make one for root.
	if err := unix.Fchmod(fd, a.Mode&0o1777); err != nil {
		return err
	}
	ts := unix.Timespec(syscall.NsecToTimespec(a.Mtime.UnixNano()))
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, procFD(fd), []unix.Timespec{ts, ts}, 0); err != nil {
		return err
	}
	var u unix.Stat_t
	if err := unix.Fstat(fd, &u); err != nil {
		return err
	}
	st := fromUnix(&u)
	if err := c.shadow(d.ctx, parent(d.path)); err != nil {
		return err
	}
	records := []op{
		put(tableUnsynced, inodeKey(st.Ino), fetchedRecord{d.path, identityOf(&st)}),
		put(tableFile, d.path, fileRecord{ID: identityOf(&st), Attrs: attrsOf(&st), CRC32C: crc, ETag: etag}),
	}
	renamed := d.key != d.path
	if renamed { // the store does not have it under this name yet: the bytes here count
		if err := d.file.Sync(); err != nil {
			return err
		}
		records = []op{put(tableHint, d.path, copyHint{identityOf(&st), d.key, etag, crc})}
	}
	killpoint.At(killpoint.HydrateChecked)
	if err := c.journal.write(records...); err != nil {
		return err
	}
	killpoint.At(killpoint.HydrateRecord)
	c.planting.Lock() // what is being renamed to here is seen, and not forgotten with what was before
	defer c.planting.Unlock()
	var ops []op
	err := d.place(func() error {
		c.idents.fetched(d.path, st.Ino)
		err := c.tree.at(d.path, func(dirfd int, name string) error {
			return unix.Renameat2(unix.AT_FDCWD, d.name(), dirfd, name, unix.RENAME_NOREPLACE)
		})
		if err != nil {
			return err
		}
		c.account(d.path, &st, time.Now())
		if renamed {
			ops = c.unmoved(d.path)
			c.lookAgain(d.path)
		}
		return nil
	})
	killpoint.At(killpoint.HydrateMoved)
	if err != nil {
		d.discard()
		switch {
		case errors.Is(err, fs.ErrExist):
			return nil
		case replaced(err):
			err = errors.Join(err, c.retract(d.path, identityOf(&st)))
		}
		return err
	}
	os.Remove(d.name() + stateExt)
	if !renamed {
		c.unsynced.add(d.path, st.Ino)
	}
	c.fetches.isSame(d.path)
	return c.journal.write(ops...)
}

// place puts what was fetched into the tree, unless it has been deleted or renamed here
// meanwhile: whoever does that plants the tombstone first and then looks what is in the
// tree, so one of the two sees the other. put is called under mu. Callers hold planting.
func (d *fetch) place(put func() error) error {
	c, e := d.c, d.entry()
	c.mu.Lock()
	gone := c.takenAway(d.path, &e)
	var err error
	if !gone {
		err = put()
	}
	c.mu.Unlock()
	if gone {
		return errTakenAway
	}
	return err
}

func (d *fetch) entry() remoteEntry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mu.entry
}

// isTakenAway tells the same of a download that has found nothing any more.
func (d *fetch) isTakenAway() bool {
	c, e := d.c, d.entry()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takenAway(d.path, &e)
}

// takenAway tells whether a name was deleted or renamed here, or another file renamed to it, since e
// was found. Callers hold mu.
func (c *Cache) takenAway(path string, e *remoteEntry) bool {
	r, moved := c.mu.moved[path]
	if e.more == nil || e.more.key == "" {
		return moved || c.hasTomb(path) || c.names.isGone(path, e)
	}
	// Renamed to here: what was deleted under that name before is none of its business.
	return !moved || r.Key != e.more.key || c.lastTomb(path) > r.Seq
}

var errTakenAway = fmt.Errorf("deleted or renamed here while it was fetched: %w", backend.ErrNotExist)

// retract takes back the records of a fetched file that is not to be in the tree: they may have
// come after what its deletion has written.
func (c *Cache) retract(path string, id Identity) error {
	ops := []op{del(tableUnsynced, inodeKey(id.Ino))}
	var r fileRecord
	found, err := c.journal.get(tableFile, path, &r)
	if found && r.ID == id {
		ops = append(ops, del(tableFile, path))
	}
	var hint copyHint
	found, herr := c.journal.get(tableHint, path, &hint)
	if found && hint.ID == id {
		ops = append(ops, del(tableHint, path))
	}
	return errors.Join(err, herr, c.journal.write(ops...))
}

// takeBack drops what a download has put at path, which was only in the store, just before
// its tombstone was planted. What a program has made there meanwhile stays.
func (c *Cache) takeBack(path string) error {
	st, err := c.tree.lstat(path)
	if isNotExist(err) {
		return nil
	}
	if err == nil {
		err = c.dropClean(path, identityOf(&st))
	}
	return errors.Join(err, c.retract(path, identityOf(&st)))
}

// moveInLink makes a symbolic link of a download that is one.
func (d *fetch) moveInLink(a backend.Attr, e remoteEntry, crc uint32) error {
	defer d.discard()
	target, err := io.ReadAll(io.NewSectionReader(d.file, 0, min(d.size, unix.PathMax)))
	if err != nil {
		return err
	}
	c := d.c
	if err := c.shadow(d.ctx, parent(d.path)); err != nil {
		return err
	}
	c.planting.Lock()
	err = d.place(func() error { return c.tree.symlink(string(target), d.path) })
	c.planting.Unlock()
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if os.Geteuid() == 0 {
		if err := c.tree.chown(d.path, int(a.UID), int(a.GID)); err != nil {
			return err
		}
	}
	if err := c.tree.utimes(d.path, nil, &a.Mtime); err != nil {
		return err
	}
	st, err := c.tree.lstat(d.path)
	if err != nil {
		return err
	}
	c.idents.fetched(d.path, st.Ino)
	c.fetches.isSame(d.path)
	return c.journal.write(put(tableFile, d.path, fileRecord{ID: identityOf(&st), Attrs: attrsOf(&st), ETag: e.etag, CRC32C: crc}))
}

// keepFetches throws away what a start cannot take up: downloads without a side file, or
// from before the machine went down.
func (c *Cache) keepFetches() error {
	dir := filepath.Join(c.dir, "fetch")
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, e := range list {
		name, ok := strings.CutSuffix(e.Name(), stateExt)
		if !ok {
			continue
		}
		var s fetchState
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err == nil && json.Unmarshal(b, &s) == nil && s.Boot == c.cfg.BootID {
			keep[name], keep[e.Name()] = true, true
		}
	}
	for _, e := range list {
		if !keep[e.Name()] {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
