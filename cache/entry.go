package cache

import (
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// remoteEntry is one name in the store, kept small: there may be a million of them.
type remoteEntry struct {
	dir      bool
	size     int64
	modified int64 // ns, the store's clock
	seen     int64 // ns, ours
	etag     string
	file     *layout.File // what a manifest says of it
	more     *entryMore   // nil: a listing does not tell
}

// entryMore is what only a look at the object itself tells.
type entryMore struct {
	attr   backend.Attr
	crc    uint32
	hasCRC bool
	key    string // where the bytes are, if not under the entry's own path: it was renamed here
	marker bool   // of a directory: it has an object of its own
	asked  bool   // a HEAD said all this: there is no more to be learnt
}

func entryOf(o backend.Object, at time.Time) remoteEntry {
	e := remoteEntry{
		dir: o.Attr.Type == backend.Directory, size: max(0, o.Size), modified: o.Modified.UnixNano(), seen: at.UnixNano(), etag: o.ETag,
	}
	if !o.Attr.IsZero() || o.HasCRC32C {
		e.more = &entryMore{attr: o.Attr, crc: o.CRC32C, hasCRC: o.HasCRC32C}
	}
	return e
}

func dirEntryAt(at time.Time) remoteEntry { return remoteEntry{dir: true, seen: at.UnixNano()} }

// entryOfRecord is what a record says of a file in the store.
func entryOfRecord(r *fileRecord) remoteEntry {
	a := backend.Attr{Mode: r.Attrs.Mode, UID: r.Attrs.UID, GID: r.Attrs.GID, Mtime: time.Unix(0, r.ID.Mtime)}
	return remoteEntry{
		size: r.ID.Size, modified: r.ID.Mtime, seen: time.Now().UnixNano(), etag: r.ETag,
		more: &entryMore{attr: a, crc: r.CRC32C, hasCRC: true},
	}
}

func (e *remoteEntry) age(now time.Time) time.Duration { return time.Duration(now.UnixNano() - e.seen) }

// hasAttr tells whether the attributes are known, and not only made up.
func (e *remoteEntry) hasAttr() bool { return e.file != nil || e.more != nil && !e.more.attr.IsZero() }

// asked tells that a HEAD has said all there is to know of it.
func (e *remoteEntry) asked() bool { return e.more != nil && e.more.asked }

// key is where the bytes of the entry at path are.
func (e *remoteEntry) key(path string) string {
	if e.more != nil && e.more.key != "" {
		return e.more.key
	}
	return path
}

// sum is the checksum of the whole: the manifest's word, then the store's.
func (e *remoteEntry) sum() (crc uint32, known bool) {
	if e.file != nil && e.file.Type == layout.TypeFile {
		return e.file.CRC32C, true
	}
	if e.more != nil {
		return e.more.crc, e.more.hasCRC
	}
	return 0, false
}

// attr is what is known of an entry's attributes: the manifest's word, then the
// object's own, then what an object of another tool gets.
func (e *remoteEntry) attr() backend.Attr {
	if f := e.file; f != nil {
		a := backend.Attr{Mode: f.Mode & 0o7777, UID: f.UID, GID: f.GID, Mtime: f.Mtime}
		switch f.Type {
		case layout.TypeSymlink:
			a.Type = backend.Symlink
		case layout.TypeDir:
			a.Type = backend.Directory
		}
		return a
	}
	var a backend.Attr
	if e.more != nil {
		a = e.more.attr
	}
	if a.Mode == 0 {
		a.Mode = 0o644
		if e.dir {
			a.Mode = 0o755
		}
	}
	if e.dir {
		a.Type = backend.Directory
	}
	if a.Mtime.IsZero() {
		a.Mtime = time.Unix(0, max(0, e.modified))
	}
	return a
}

func typeMode(t backend.FileType) uint32 {
	switch t {
	case backend.Directory:
		return syscall.S_IFDIR
	case backend.Symlink:
		return syscall.S_IFLNK
	}
	return syscall.S_IFREG
}
