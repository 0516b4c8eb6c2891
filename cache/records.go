package cache

import (
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/layout"
)

// Identity is what tells that a local file is the one a record speaks of: if any of
// it differs, the file is another one, or has been written since.
type Identity struct {
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"` // ns
	Ino   uint64 `json:"ino"`
}

func identityOf(st *syscall.Stat_t) Identity {
	return Identity{Size: st.Size, Mtime: st.Mtim.Nano(), Ino: st.Ino}
}

// attrs are the attributes that go up with a file. They may change without a
// change of its identity.
type attrs struct {
	Mode uint32 `json:"mode"` // 07777
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
}

func attrsOf(st *syscall.Stat_t) attrs { return attrs{st.Mode & 0o7777, st.Uid, st.Gid} }

// fileRecord says what the store holds under a path, and which local file has
// those bytes. A local file that matches ID and Attrs is clean; one that does
// not is dirty. With no local file the record is only history: this node knew
// the object (I6).
type fileRecord struct {
	ID     Identity `json:"id"`
	Attrs  attrs    `json:"attrs"`
	CRC32C uint32   `json:"crc32c"`
	ETag   string   `json:"etag"`
	Mine   bool     `json:"mine,omitempty"` // written here, not fetched
}

func (r *fileRecord) clean(st *syscall.Stat_t) bool {
	return r.ID == identityOf(st) && r.Attrs == attrsOf(st)
}

// dirRecord says that the store knows the directory: by a marker of its own, or by
// what lies below it.
type dirRecord struct {
	Marker bool   `json:"marker,omitempty"`
	Mine   bool   `json:"mine,omitempty"` // made here, not seen in the store first
	Mode   uint32 `json:"mode"`
}

// tombstone is a deletion that the store has not seen yet. It is written before
// the local name goes.
type tombstone struct {
	Seq uint64 `json:"seq"`
	// First is since when the store has been behind, if that is longer ago than Seq: the path
	// was deleted before, or had versions that the store has not seen.
	First uint64 `json:"first,omitempty"`
	// After holds it back until this path is committed: a rename deletes the old key only
	// once the new one is durable.
	After string `json:"after,omitempty"`
	// Unit marks the deletion of a whole checkpoint directory: the key is the unit.
	Unit bool `json:"unit,omitempty"`
	// Made is when a program removed the directory, and with it what this node or it knew to be
	// there; for Unit. Zero if it was renamed, or seemed to be empty.
	Made time.Time `json:"made,omitzero"`

	// In memory only:
	seen bool      // the program removed what the store has
	said bool      // somebody asked for its commit meanwhile: RequestCommit
	at   time.Time // zero if before the mount
}

// first is since when the store has had what is gone here.
func (t tombstone) first() uint64 {
	if t.First != 0 {
		return t.First
	}
	return t.Seq
}

// copyHint says that the file at a path has the bytes of an object under another
// key: what a rename leaves behind, so that the store copies and nothing is sent.
type copyHint struct {
	ID     Identity `json:"id"`
	Key    string   `json:"key"`
	ETag   string   `json:"etag"`
	CRC32C uint32   `json:"crc32c"`
}

// sealRecord is a sealed unit: its manifest, and the identity of each file that
// the manifest speaks of. Publishing is set before the first object of it becomes
// visible: from there recovery rolls forward.
type sealRecord struct {
	Seq        uint64           `json:"seq"`
	Manifest   *layout.Manifest `json:"manifest"`
	IDs        []Identity       `json:"ids"` // as Manifest.Files
	Publishing bool             `json:"publishing,omitempty"`
}

// stageRecord is an unfinished upload and the file it is of.
type stageRecord struct {
	ID    Identity      `json:"id"`
	Stage backend.Stage `json:"stage"`
}

// tornRecord names the files of a unit that a crash found half written. The unit
// stays torn while any of them is still the same file.
type tornRecord struct {
	Since time.Time `json:"since"`
	Why   string    `json:"why"`
	Files []string  `json:"files"` // paths
	Inos  []uint64  `json:"inos"`
}

// trackerRecord is one content of a tracker, as a close left it.
type trackerRecord struct {
	Seq     uint64   `json:"seq"`
	Path    string   `json:"path"`
	Content []byte   `json:"content"`
	ID      Identity `json:"id"`
	Attrs   attrs    `json:"attrs"`
	Link    bool     `json:"link,omitempty"` // a symbolic link; Content is its target

	kept bool // it is in the journal; guarded by Cache.mu
}

// openRecord says since when this node writes in a checkpoint directory.
type openRecord struct {
	Since time.Time `json:"since"`
	// Anew is the number of the tombstone of the directory that was here before, if the marker
	// was put for the one that was made after it.
	Anew uint64 `json:"anew,omitempty"`
}

// ownRecord says that this node has published (part of) a checkpoint directory.
type ownRecord struct {
	Generation uint64           `json:"generation"`
	Removed    []layout.Removed `json:"removed,omitempty"` // as in the manifest
}
