package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// Lookup finds a path: in the tree, unless a checkpoint that is not complete hides
// it, then among the remote names.
func (c *Cache) Lookup(ctx context.Context, path string) (Info, error) {
	st, born, err := c.tree.info(path)
	if err == nil {
		if isDir(&st) && c.hiddenUnit(ctx, path) {
			return Info{}, fs.ErrNotExist
		}
		if isRegular(&st) || isSymlink(&st) {
			if old, err := c.stale(ctx, path, &st, false); err == nil && old {
				return c.remoteInfo(ctx, path)
			}
		}
		return c.info(st, born), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Info{}, err
	}
	return c.remoteInfo(ctx, path)
}

// Stat is Lookup of a path that has been looked up before.
func (c *Cache) Stat(ctx context.Context, path string) (Info, error) {
	st, born, err := c.tree.info(path)
	if err == nil {
		return c.info(st, born), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return Info{}, err
	}
	return c.remoteInfo(ctx, path)
}

func (c *Cache) info(st syscall.Stat_t, born uint64) Info {
	if id := c.idents.of(&st); id != st.Ino {
		return Info{Stat_t: st, Ident: id, Gen: 1} // as it was shown before it was fetched
	}
	return Info{Stat_t: st, Ident: st.Ino, Gen: max(born, 2)}
}

// remoteInfo describes a path that is not in the tree. A directory gets its shadow
// there first; where the disk has no room for that, readers go on without.
func (c *Cache) remoteInfo(ctx context.Context, path string) (Info, error) {
	e, err := c.names.find(ctx, path)
	if isNotExist(err) { // a download of a file that was renamed here may have put it there meanwhile
		if st, born, err := c.tree.info(path); err == nil {
			return c.info(st, born), nil
		}
	}
	if err != nil {
		return Info{}, err
	}
	if e.dir {
		err := c.makeShadow(ctx, path, e)
		if err == nil {
			st, born, err := c.tree.info(path)
			return c.info(st, born), err
		}
		if !isNoSpace(err) {
			return Info{}, err
		}
	} else if !e.hasAttr() && !e.asked() {
		e = c.withAttr(ctx, path, e)
	}
	a := e.attr()
	st := syscall.Stat_t{
		Dev: c.idents.dev, Nlink: 1, Mode: a.Mode | typeMode(a.Type), Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid()),
		Size: e.size, Blksize: 4096, Blocks: (e.size + 511) / 512,
	}
	if os.Geteuid() == 0 {
		st.Uid, st.Gid = a.UID, a.GID
	}
	ts := syscall.NsecToTimespec(a.Mtime.UnixNano())
	st.Atim, st.Mtim, st.Ctim = ts, ts, ts
	id := c.idents.ofRemote(path)
	st.Ino = id
	return Info{Stat_t: st, Ident: id, Gen: 1}, nil
}

// findAway finds a path that was not in the tree a moment ago. errTakenAway: it is there now.
func (c *Cache) findAway(ctx context.Context, path string) (remoteEntry, error) {
	e, err := c.names.find(ctx, path)
	if isNotExist(err) && c.tree.exists(path) {
		err = errTakenAway
	}
	return e, err
}

// withAttr asks for what a listing does not tell.
func (c *Cache) withAttr(ctx context.Context, path string, e remoteEntry) remoteEntry {
	start := time.Now()
	var obj backend.Object
	err := c.names.ask(ctx, func(ctx context.Context) (err error) {
		obj, err = c.cfg.Store.Head(ctx, path)
		return err
	})
	if err != nil || obj.ETag != e.etag {
		return e
	}
	if obj.Attr.IsZero() { // another tool's: remember that there is nothing to ask for
		obj.Attr = backend.Attr{Mode: 0o644, Mtime: obj.Modified}
	}
	e.more = entryOf(obj, start).more
	e.more.asked = true
	c.names.mu.Lock()
	c.names.dir(parent(path)).entries.set(base(path), e)
	c.names.mu.Unlock()
	return e
}

// hiddenUnit tells whether a local directory is the shadow of a checkpoint that
// another node is writing at this moment.
func (c *Cache) hiddenUnit(ctx context.Context, path string) bool {
	if !c.isUnit(path) || c.writing(path) {
		return false
	}
	v, err := c.names.view(ctx, path)
	if err != nil { // the store cannot say
		return false
	}
	if _, there := v.entries[""]; !there && v.visible {
		return c.vanished(path, v)
	}
	return !v.visible
}

// writing tells whether this node has something of a checkpoint directory that is not
// committed.
func (c *Cache) writing(unit string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, dirty := c.mu.units[unit]
	_, torn := c.mu.torn[unit]
	return dirty || torn || len(c.movedBelow(unit)) > 0
}

// madeHere tells whether this node has made a directory, and not merely seen it.
func (c *Cache) madeHere(dir string) bool {
	if dir == "" {
		return true
	}
	var r dirRecord
	found, err := c.journal.get(tableDir, dir, &r)
	return err == nil && (r.Mine || !found && c.tree.exists(dir))
}

// isUnit tells whether a directory is a checkpoint, not merely in one.
func (c *Cache) isUnit(dir string) bool {
	class := c.cfg.Layout.Classify(dir, true)
	return class.Kind == layout.Checkpoint && class.Unit == dir
}

// owns tells whether this node has something of its own in a checkpoint directory.
func (c *Cache) owns(unit string) bool {
	if c.writing(unit) {
		return true
	}
	for _, table := range []string{tableOpen, tableOwn} {
		var any struct{}
		if found, err := c.journal.get(table, unit, &any); found || err != nil {
			return true
		}
	}
	return false
}

// buried tells whether path, or a checkpoint directory that it is in, waits for its
// deletion in the store.
func (c *Cache) buried(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hasTomb(path)
}

// hasTomb is buried for those who hold mu.
func (c *Cache) hasTomb(path string) bool {
	if len(c.mu.tombs) == 0 {
		return false
	}
	if _, ok := c.mu.tombs[path]; ok {
		return true
	}
	if _, ok := c.mu.tombs[path+"/"]; ok {
		return true
	}
	for p := path; p != ""; p = parent(p) {
		if t, ok := c.mu.tombs[p]; ok && t.Unit {
			return true
		}
	}
	return false
}

// lastTomb is when the youngest tombstone of a path, or of a checkpoint directory that it is in,
// was planted; 0 if there is none. Callers hold mu.
func (c *Cache) lastTomb(path string) (seq uint64) {
	for _, key := range []string{path, path + "/"} {
		seq = max(seq, c.mu.tombs[key].Seq)
	}
	for p := path; p != ""; p = parent(p) {
		if t := c.mu.tombs[p]; t.Unit {
			seq = max(seq, t.Seq)
		}
	}
	return seq
}

// buriedIn are the names in a directory that wait for their deletion in the store.
func (c *Cache) buriedIn(dir string) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]bool{}
	for key := range c.mu.tombs {
		if p := strings.TrimSuffix(key, "/"); p != "" && parent(p) == dir {
			out[base(p)] = true
		}
	}
	return out
}

// ReadDir lists a directory: what is in the tree, and the remote names beside it.
func (c *Cache) ReadDir(ctx context.Context, path string) ([]DirEntry, error) {
	local, err := c.tree.names(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := c.shadow(ctx, path); err != nil && !isNoSpace(err) {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	remote, hidden, err := c.remoteListing(ctx, path)
	if err != nil && !errors.Is(err, errOffline) {
		return nil, err
	}
	if hidden { // nothing of it, not even what is here: the other node may be done with it at any moment
		return nil, nil
	}
	shown := make(map[string]bool, len(local)) // of the local names: whether the listing has them
	for _, e := range local {
		shown[e.Name] = false
	}
	out := remote[:0] // in its place: there may be a million
	for _, e := range remote {
		if _, here := shown[e.Name]; here {
			shown[e.Name] = true
		} else {
			out = append(out, e)
		}
	}
	if err == nil { // else the store could not say
		local = c.hereStill(ctx, path, local, shown)
	}
	out = append(out, local...)
	slices.SortFunc(out, func(a, b DirEntry) int { return strings.Compare(a.Name, b.Name) })
	if path != "" && c.cfg.Layout.Classify(path, true).Kind == layout.Checkpoint {
		c.names.listed(path, out)
	}
	return out, nil
}

// remoteNames lists the remote names of a directory that may be shown.
func (c *Cache) remoteNames(ctx context.Context, path string) ([]DirEntry, error) {
	list, _, err := c.remoteListing(ctx, path)
	return list, err
}

// remoteListing does so; and tells whether the directory is one of a checkpoint that another
// node is writing, and this one is not.
func (c *Cache) remoteListing(ctx context.Context, path string) (list []DirEntry, hidden bool, err error) {
	// A deletion may be carried out while the store is asked: then the name is in the
	// answer, and the tombstone gone.
	before := c.buriedIn(path)
	entries, hidden, err := c.names.children(ctx, path)
	if err != nil {
		return nil, hidden, err
	}
	out := make([]DirEntry, 0, entries.len())
	entries.each(func(name string, e *remoteEntry) {
		if e.key("") == "" && (before[name] || c.buried(join(path, name)) || c.names.isGone(join(path, name), e)) {
			return
		}
		d := DirEntry{Name: name}
		switch {
		case e.dir:
			d.Type = syscall.S_IFDIR
		case e.hasAttr():
			d.Type = typeMode(e.attr().Type)
		case e.size == 0 || e.size > 4096:
			d.Type = syscall.S_IFREG // what a listing shows as longer than any path is no symbolic link
		}
		out = append(out, d)
	})
	return out, hidden, nil
}

// children gives the remote entries of a directory, by name, with those that were
// renamed here.
func (n *names) children(ctx context.Context, path string) (out nameSet, hidden bool, err error) {
	out, hidden, err = n.inStore(ctx, path)
	n.c.mu.Lock()
	defer n.c.mu.Unlock()
	for p, r := range n.c.mu.moved {
		if p != "" && parent(p) == path {
			out.set(base(p), r.entry())
		}
	}
	return out, hidden, err
}

func (n *names) inStore(ctx context.Context, path string) (out nameSet, hidden bool, err error) {
	class := n.c.cfg.Layout.Classify(path, true)
	if path != "" && class.Kind == layout.Checkpoint {
		v, err := n.view(ctx, class.Unit)
		if err != nil {
			return nameSet{}, false, err
		}
		if !v.visible {
			return nameSet{}, true, nil
		}
		rel := ""
		if path != class.Unit {
			rel = path[len(class.Unit)+1:]
		}
		return v.children(rel), false, nil
	}
	n.mu.Lock()
	d := n.dir(path)
	limit := n.c.cfg.NegativeTTL // a listing says what is missing, too
	if time.Since(d.creating) < creatingFor {
		limit = max(limit, n.c.cfg.whileCreating(d.cost))
	}
	fresh := !d.listed.IsZero() && time.Since(d.listed) < limit
	n.mu.Unlock()
	if !fresh {
		err = n.list(ctx, path, limit)
		if err != nil && !errors.Is(err, errOffline) {
			return nameSet{}, false, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dir(path).entries.clone(), false, err
}

// shadow makes sure that a directory is in the tree, if it is one in the store.
func (c *Cache) shadow(ctx context.Context, path string) error {
	st, err := c.tree.lstat(path)
	if err == nil {
		if !isDir(&st) {
			return syscall.ENOTDIR
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e, err := c.names.find(ctx, path)
	if err != nil {
		return err
	}
	if !e.dir {
		return syscall.ENOTDIR
	}
	return c.makeShadow(ctx, path, e)
}

// makeShadow makes an empty directory for a remote one.
func (c *Cache) makeShadow(ctx context.Context, path string, e remoteEntry) error {
	if err := c.shadow(ctx, parent(path)); err != nil {
		return err
	}
	if !e.hasAttr() && e.more == nil {
		e.more = c.names.marker(ctx, path)
	}
	a := e.attr()
	if err := c.journal.write(put(tableDir, path, dirRecord{Mode: a.Mode, Marker: e.more != nil && e.more.marker})); err != nil {
		return err
	}
	err := c.tree.mkdir(path, a.Mode&0o7777)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if st, serr := c.tree.lstat(path); err == nil && serr == nil { // it may have been shown without
		c.idents.fetched(path, st.Ino)
	}
	if err == nil && e.hasAttr() {
		err = c.tree.chmod(path, a.Mode)
		if err == nil && os.Geteuid() == 0 {
			err = c.tree.chown(path, int(a.UID), int(a.GID))
		}
	}
	return err
}
