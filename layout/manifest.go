package layout

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// ErrVersion says that a document's format is unknown here: a newer trainfs wrote it.
var ErrVersion = errors.New("written by a newer trainfs")

// ErrFormat says that a document is not what it should be.
var ErrFormat = errors.New("malformed")

// FormatVersion is the version of manifests and open markers that this package writes.
const FormatVersion = 1

// Bounds on documents. A file takes about 200 bytes in a manifest.
const (
	maxManifestBytes = 64 << 20
	maxMarkerBytes   = 64 << 10
	maxAge           = 10 * 365 * 24 * 3600 // seconds
)

// FileType is what a manifest's entry describes.
type FileType string

// The types of files.
const (
	TypeFile    FileType = "file"
	TypeDir     FileType = "dir"
	TypeSymlink FileType = "symlink"
)

// Manifest lists what one node published of one unit. As a document it is
//
//	{
//	 "version": 1,
//	 "unit": "run/checkpoint_000003",
//	 "node": "n-4f2a",
//	 "generation": 2,
//	 "sealed": "2026-11-23T06:24:01.123456789Z",
//	 "files": [
//	  {"path": "", "type": "dir", "size": 0, "crc32c": 0, "mode": 493,
//	   "uid": 1000, "gid": 1000, "mtime": "2026-11-23T06:24:01Z"},
//	  {"path": "latest.pt", "type": "symlink", "target": "model.pt", …},
//	  {"path": "model.pt", "type": "file", "size": 5, "crc32c": 3735928559, …}
//	 ],
//	 "removed": [
//	  {"path": "old.pt", "node": "n-77aa", "sealed": "2026-11-23T06:20:00Z"}
//	 ]
//	}
//
// with the files sorted by path, a directory before its content. Fields may be added
// within a version, and a reader ignores those that it does not know; any other change
// takes a new version.
type Manifest struct {
	Version    int       `json:"version"` // set by Encode
	Unit       string    `json:"unit"`
	Node       string    `json:"node"`
	Generation uint64    `json:"generation"`
	Sealed     time.Time `json:"sealed"`
	Files      []File    `json:"files"`
	Removed    []Removed `json:"removed,omitempty"` // void in the manifests of other nodes
}

// File is one entry of a manifest.
type File struct {
	Path   string    `json:"path"` // relative to the unit; "" for a one-file unit or the unit directory itself
	Type   FileType  `json:"type"`
	Size   int64     `json:"size"`   // bytes; 0 if not a file
	CRC32C uint32    `json:"crc32c"` // of the whole content, Castagnoli; 0 if not a file
	Mode   uint32    `json:"mode"`   // permission bits, 07777
	UID    uint32    `json:"uid"`
	GID    uint32    `json:"gid"`
	Mtime  time.Time `json:"mtime"`
	Target string    `json:"target,omitempty"` // of a symlink
}

// Encode returns m as a document. It does not change m; equal manifests give equal
// documents, whatever the order of their files. A manifest that DecodeManifest would
// refuse is an error here.
func (m *Manifest) Encode() ([]byte, error) {
	d := *m
	d.Version = FormatVersion
	d.Sealed = encodable(m.Sealed)
	d.Files = slices.Clone(m.Files)
	if d.Files == nil {
		d.Files = []File{}
	}
	d.Removed = slices.Clone(m.Removed)
	for i := range d.Removed {
		d.Removed[i].Sealed = encodable(d.Removed[i].Sealed)
	}
	for i := range d.Files {
		d.Files[i].Mtime = encodable(d.Files[i].Mtime)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("encode manifest of %q: %w", m.Unit, err)
	}
	return encode(d, maxManifestBytes)
}

// DecodeManifest reads what Encode wrote. b is untrusted.
func DecodeManifest(b []byte) (*Manifest, error) {
	var m Manifest
	if err := decode(b, maxManifestBytes, &m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return &m, nil
}

// check validates m, and sorts its files by path, a directory before its content.
func (m *Manifest) check() error {
	if err := CheckPath(m.Unit); err != nil {
		return fmt.Errorf("%w: unit: %w", ErrFormat, err)
	}
	if m.Unit == internal || strings.HasPrefix(m.Unit, Prefix) {
		return fmt.Errorf("%w: unit %q is trainfs's own", ErrFormat, m.Unit)
	}
	if err := checkNode(m.Node); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if !utf8.ValidString(m.Unit) || !utf8.ValidString(m.Node) {
		return fmt.Errorf("%w: unit %q or node %q is not UTF-8", ErrFormat, m.Unit, m.Node)
	}
	for i := range m.Files {
		if err := m.Files[i].check(m.Unit); err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
	}
	slices.SortFunc(m.Files, func(a, b File) int { return comparePaths(a.Path, b.Path) })
	for i := 1; i < len(m.Files); i++ {
		if err := checkOrder(&m.Files[i-1], &m.Files[i]); err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
	}
	return checkRemoved(m.Removed)
}

func (f *File) check(unit string) error {
	if f.Path != "" {
		if err := CheckPath(f.Path); err != nil {
			return err
		}
		if len(unit)+1+len(f.Path) > maxPathBytes {
			return fmt.Errorf("file %q: longer than %d bytes with its unit", f.Path, maxPathBytes)
		}
	}
	switch {
	case f.Type != TypeFile && f.Type != TypeDir && f.Type != TypeSymlink:
		return fmt.Errorf("file %q: unknown type %q", f.Path, f.Type)
	case f.Size < 0 || f.Type != TypeFile && (f.Size != 0 || f.CRC32C != 0):
		return fmt.Errorf("file %q: a %s of %d bytes", f.Path, f.Type, f.Size)
	case f.Mode&^0o7777 != 0:
		return fmt.Errorf("file %q: mode %#o is more than permissions", f.Path, f.Mode)
	case (f.Type == TypeSymlink) != (f.Target != ""):
		return fmt.Errorf("file %q: a %s with target %.60q", f.Path, f.Type, f.Target)
	case len(f.Target) > maxPathBytes || strings.IndexByte(f.Target, 0) >= 0:
		return fmt.Errorf("file %q: bad target", f.Path)
	case !utf8.ValidString(f.Path) || !utf8.ValidString(f.Target):
		return fmt.Errorf("file %q: not UTF-8", f.Path)
	}
	return nil
}

// checkOrder judges neighbours in sorted order. Since '/' sorts before all else, what
// lies below a path follows it directly.
func checkOrder(prev, next *File) error {
	if prev.Path == next.Path {
		return fmt.Errorf("file %q: listed twice", next.Path)
	}
	below := prev.Path == "" || strings.HasPrefix(next.Path, prev.Path+"/")
	if below && prev.Type != TypeDir {
		return fmt.Errorf("file %q: lies below %q, a %s", next.Path, prev.Path, prev.Type)
	}
	return nil
}

// comparePaths orders paths part by part, so that a directory's content follows it.
func comparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

// States of an open marker.
const (
	StateOpen     = "open"     // the node is writing in the unit
	StateDeleting = "deleting" // the node is deleting the unit
)

// OpenMarker says that a node is at work in a unit, so that it is not complete. As a
// document it is
//
//	{"version": 1, "node": "n-4f2a", "host": "worker-7",
//	 "since": "2026-11-23T06:24:01Z", "state": "open"}
//
// and the rules for manifests hold.
type OpenMarker struct {
	Version int       `json:"version"` // set by Encode
	Node    string    `json:"node"`
	Host    string    `json:"host"` // for people only
	Since   time.Time `json:"since"`
	State   string    `json:"state"`
}

// Encode returns o as a document.
func (o *OpenMarker) Encode() ([]byte, error) {
	d := *o
	d.Version = FormatVersion
	d.Since = encodable(o.Since)
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("encode open marker: %w", err)
	}
	return encode(d, maxMarkerBytes)
}

// DecodeOpenMarker reads what Encode wrote. b is untrusted.
func DecodeOpenMarker(b []byte) (*OpenMarker, error) {
	var o OpenMarker
	if err := decode(b, maxMarkerBytes, &o); err != nil {
		return nil, fmt.Errorf("open marker: %w", err)
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("open marker: %w", err)
	}
	return &o, nil
}

func (o *OpenMarker) check() error {
	if err := checkNode(o.Node); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if o.State != StateOpen && o.State != StateDeleting {
		return fmt.Errorf("%w: unknown state %q", ErrFormat, o.State)
	}
	return nil
}

// Deletion tells a node that another one has deleted a unit in which it had its open marker. As a
// document it is
//
//	{"version": 1, "node": "n-4f2a", "host": "worker-7", "age": 3.25}
//
// with the node that has deleted it, and for how many seconds a program had had it removed when
// this was put. The rules for manifests hold.
type Deletion struct {
	Version int     `json:"version"` // set by Encode
	Node    string  `json:"node"`
	Host    string  `json:"host"` // for people only
	Age     float64 `json:"age"`  // seconds
}

// Encode returns d as a document.
func (d *Deletion) Encode() ([]byte, error) {
	e := *d
	e.Version = FormatVersion
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("encode deletion: %w", err)
	}
	return encode(e, maxMarkerBytes)
}

// DecodeDeletion reads what Encode wrote. b is untrusted.
func DecodeDeletion(b []byte) (*Deletion, error) {
	var d Deletion
	if err := decode(b, maxMarkerBytes, &d); err != nil {
		return nil, fmt.Errorf("deletion: %w", err)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("deletion: %w", err)
	}
	return &d, nil
}

func (d *Deletion) check() error {
	if err := checkNode(d.Node); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if !(d.Age >= 0 && d.Age < maxAge) {
		return fmt.Errorf("%w: an age of %g seconds", ErrFormat, d.Age)
	}
	return nil
}

// encode writes v as indented JSON with a final newline, names as they are, and no
// longer than decode takes.
func encode(v any, limit int) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	if b.Len() > limit {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrFormat, limit)
	}
	return b.Bytes(), nil
}

// decode reads the version first: a later format need not fit into v.
func decode(b []byte, limit int, v any) error {
	if len(b) > limit {
		return fmt.Errorf("%w: longer than %d bytes", ErrFormat, limit)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	switch {
	case head.Version > FormatVersion:
		return fmt.Errorf("version %d: %w", head.Version, ErrVersion)
	case head.Version < 1:
		return fmt.Errorf("%w: version %d", ErrFormat, head.Version)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

// encodable returns t in UTC, within the years that JSON's time format has. Programs
// set odd modification times; that must not keep a checkpoint from being committed.
func encodable(t time.Time) time.Time {
	t = t.UTC()
	switch {
	case t.Year() < 0:
		return time.Time{}
	case t.Year() > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	return t
}
