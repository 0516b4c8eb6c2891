// Package backend is the contract between trainfs and a remote store.
//
// A [Store] is opened at a storage path; every key is relative to it, has no
// leading slash, and uses '/' between its parts ([CheckKey] says it exactly). Stores
// live in the packages below this one, one folder a store, each importing only its own
// SDK, and each passes the suite in backend/storetest, which says in code what this
// page says in words.
//
// What a caller may rely on:
//
//   - Every method honours its context and is safe for concurrent use.
//   - A write that returned nil is durable in the store and is seen by the next
//     Head, Get and List of any client.
//   - Nothing that was staged is visible to Head, Get or List (under the key it is
//     staged for) before PublishStage, and then all of it is, at once.
//   - Every method may be called again after a failure, even if the failed call did
//     its work: all of them are idempotent, but for the conditional forms of Put and
//     PublishStage, which then say ErrExist; the caller compares contents.
//     So does a Copy onto its own source with SourceETag, which then says ErrChanged.
//   - Errors are matched with errors.Is against the sentinels of this package; a
//     text never matters. An error that matches no sentinel is one that may heal.
//
// backend imports nothing of trainfs.
package backend

import (
	"context"
	"io"
	"time"
)

// FileType is what a key stands for in a mount.
type FileType uint8

const (
	Regular FileType = iota
	Directory
	Symlink
)

// Attr is what of a file, beside its bytes, survives the trip through the store.
// The zero Attr means "not known": an object that some other tool has put there.
type Attr struct {
	Type  FileType  `json:"type,omitempty"`
	Mode  uint32    `json:"mode,omitempty"` // permission bits, 07777
	UID   uint32    `json:"uid,omitempty"`
	GID   uint32    `json:"gid,omitempty"`
	Mtime time.Time `json:"mtime,omitzero"` // nanoseconds where the store can keep them
}

// IsZero tells that nothing is known.
func (a Attr) IsZero() bool { return a.Mode == 0 && a.Mtime.IsZero() && a.Type == Regular }

// Object is one key of the store and what is known about it.
type Object struct {
	Key      string
	Size     int64     // bytes; for a symlink the length of its target
	ETag     string    // opaque; differs whenever the content differs
	Modified time.Time // the store's clock

	// CRC32C of the whole content (Castagnoli), where the store knows it.
	CRC32C    uint32
	HasCRC32C bool

	// Attr is filled by Head, Get, Put, Copy and PublishStage. List leaves it zero where
	// the store would need a request a key to learn it.
	Attr Attr
}

// Content is a range of bytes with its checksum. A store reads it through R,
// perhaps several times (retries), and refuses it with ErrChecksum if the bytes do
// not have that checksum.
type Content struct {
	R      io.ReaderAt
	Offset int64
	Size   int64
	CRC32C uint32
}

// Reader gives Content's bytes from its start.
func (c Content) Reader() *io.SectionReader { return io.NewSectionReader(c.R, c.Offset, c.Size) }

// PutOptions of Put and PublishStage.
type PutOptions struct {
	Attr Attr // what BeginStage was given, for PublishStage
	// IfAbsent refuses with ErrExist if the key exists.
	IfAbsent bool
	// SourceETag is for Copy only. If not empty: ErrChanged unless the source still has it.
	SourceETag string
}

// GetOptions of Get.
type GetOptions struct {
	Offset int64
	Length int64  // 0: to the end
	ETag   string // if not empty: ErrChanged unless the object still has it
}

// ListOptions of List.
type ListOptions struct {
	Prefix string // "" or any text; not only whole parts
	// Shallow stops at the first '/' after Prefix and reports what lies below as Prefixes.
	Shallow bool
	Token   string // of the page before; "" at first
	Limit   int    // at most so many Objects and Prefixes together; 0: the store's own limit
}

// Page is one answer of List, in key order (bytes).
type Page struct {
	Objects  []Object
	Prefixes []string // ending in '/'; only if Shallow
	Token    string   // "" on the last page
}

// Stage is an upload that nobody sees yet. Its fields go through the journal, so
// that another process can resume it.
type Stage struct {
	Key      string    `json:"key"`
	ID       string    `json:"id"`
	Size     int64     `json:"size"`
	PartSize int64     `json:"part_size"` // of every part but the last
	Attr     Attr      `json:"attr"`
	Started  time.Time `json:"started,omitzero"`
}

// Parts is the number of parts that a stage needs, at least one.
func (s Stage) Parts() int {
	if s.Size <= s.PartSize {
		return 1
	}
	return int((s.Size + s.PartSize - 1) / s.PartSize)
}

// Range is the offset and length of part n (from 1).
func (s Stage) Range(n int) (offset, length int64) {
	offset = int64(n-1) * s.PartSize
	return offset, min(s.PartSize, s.Size-offset)
}

// Part is one uploaded part of a stage.
type Part struct {
	Number int    `json:"n"` // from 1
	Size   int64  `json:"size"`
	ETag   string `json:"etag"`
	CRC32C uint32 `json:"crc32c"`
}

// Store is a remote store, opened at a storage path.
type Store interface {
	// Head describes one object. ErrNotExist.
	Head(ctx context.Context, key string) (Object, error)

	// List gives one page. An empty page is no error, even where the prefix is unknown.
	List(ctx context.Context, o ListOptions) (Page, error)

	// Get opens a range of the content. The Object describes the whole. The reader must
	// be closed. ErrNotExist, ErrChanged. A body that ends early gives
	// io.ErrUnexpectedEOF, never a short success; a range that begins at the end or beyond
	// is empty.
	Get(ctx context.Context, key string, o GetOptions) (io.ReadCloser, Object, error)

	// Put writes an object whole. A key that ends in '/' with no content is a directory
	// marker; with Attr.Type Symlink the content is the target. ErrExist (IfAbsent),
	// ErrChecksum.
	Put(ctx context.Context, key string, c Content, o PutOptions) (Object, error)

	// Copy makes dst have the content and Attr (unless o.Attr says otherwise) of src
	// inside the store; the type is always that of src. ErrNotExist, ErrChanged
	// (SourceETag), ErrExist (IfAbsent, honoured where the store can).
	Copy(ctx context.Context, src, dst string, o PutOptions) (Object, error)

	// Delete removes keys, however many. A missing key is no error. With its last key a
	// directory vanishes, unless it has a marker. Deleting a marker deletes nothing below.
	Delete(ctx context.Context, keys ...string) error

	// BeginStage starts an upload that stays invisible. size and partSize fix how it
	// is cut: ErrTooLarge if Capabilities do not allow it. Only regular files are staged.
	BeginStage(ctx context.Context, key string, size, partSize int64, attr Attr) (Stage, error)

	// PutPart uploads part n, replacing it if it is there. ErrNoStage, ErrChecksum.
	PutPart(ctx context.Context, s Stage, n int, c Content) (Part, error)

	// StagedParts is what the store holds of a stage. ErrNoStage.
	StagedParts(ctx context.Context, s Stage) ([]Part, error)

	// PublishStage makes a stage with all its parts visible under its key, atomically,
	// and checks the whole content against crc32c. ErrExist and ErrChecksum leave the stage
	// as it was (but see Capabilities.SharedStages). Published before: ErrNoStage, or, from a store that remembers (Amazon's
	// does), what the first call gave, and nothing changes.
	PublishStage(ctx context.Context, s Stage, parts []Part, crc32c uint32, o PutOptions) (Object, error)

	// AbortStage forgets a stage and frees its bytes. An unknown stage is no error.
	AbortStage(ctx context.Context, s Stage) error

	// ListStages gives the unfinished stages of every client below a key prefix. Only Key,
	// ID and Started need be set.
	ListStages(ctx context.Context, prefix string) ([]Stage, error)

	// Limits and abilities of this store; constant.
	Capabilities() Capabilities

	// Close frees what the Store holds. It does not wait for calls under way.
	Close() error
}

// Capabilities of a store.
type Capabilities struct {
	MinPartSize int64 // of every part but the last, bytes
	MaxPartSize int64
	MaxParts    int
	MaxSize     int64 // of one object
	// ConditionalPut tells that IfAbsent is checked by the store itself, in one step.
	ConditionalPut bool
	// SharedStages tells that stages of one key are not apart: a write of the key, or the
	// publish of one of them, throws away what the others hold. Their PublishStage then says
	// ErrNoStage.
	SharedStages bool
	// WholeFiles tells that an upload in one part is published at once, and one in several
	// has to be put together: a file is then best uploaded in one part, however large.
	WholeFiles bool
	// KeepsAttrInList tells that List fills Attr.
	KeepsAttrInList bool
}

// Limits says, for a user, what trainfs does not promise on such a store, a sentence each.
func (c Capabilities) Limits() []string {
	var limits []string
	if !c.ConditionalPut {
		limits = append(limits, "it cannot write only where nothing is, in one step: of two nodes that make the same file at the same moment, one may replace the other's")
	}
	return limits
}
