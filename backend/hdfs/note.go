package hdfs

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

const (
	noteAttr    = "user.trainfs"
	impliedAttr = "user.trainfs.implied"
)

// note is what the attribute user.trainfs says of a file, if it still has this size and
// time, or of a directory.
type note struct {
	Attr   backend.Attr `json:"attr"`
	CRC32C *uint32      `json:"crc32c,omitempty"`
	Size   int64        `json:"size"`
	Time   int64        `json:"time"` // the file's native mtime, milliseconds since 1970
}

// writeNote notes attributes, and the checksum if it is known, of a file that is whole.
func writeNote(c *hdfs.Client, path string, attr backend.Attr, crc *uint32) error {
	info, err := c.Stat(path)
	if err != nil {
		return err
	}
	n := note{Attr: attr, CRC32C: crc}
	if !info.IsDir() {
		n.Size, n.Time = info.Size(), info.ModTime().UnixMilli()
	}
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return c.SetXAttr(path, noteAttr, string(text))
}

// readNote gives the note on a file or directory, and its text; the zero note if there is
// none that holds.
func readNote(c *hdfs.Client, path string, info os.FileInfo) (n note, text string, err error) {
	attrs, err := c.ListXAttrs(path)
	if err != nil {
		return note{}, "", err
	}
	text = attrs[noteAttr]
	if json.Unmarshal([]byte(text), &n) != nil {
		return note{}, "", nil
	}
	if !info.IsDir() && (n.Size != info.Size() || n.Time != info.ModTime().UnixMilli()) {
		return note{}, "", nil // another tool has written since
	}
	return n, text, nil
}

// implied tells that a directory is there only for what lies below.
func implied(c *hdfs.Client, path string) (bool, error) {
	attrs, err := c.ListXAttrs(path)
	return attrs[impliedAttr] != "", err
}

// fileID tells a file from any other that has been, or will be, in its place.
func fileID(info os.FileInfo) uint64 {
	if status, ok := info.Sys().(interface{ GetFileId() uint64 }); ok {
		return status.GetFileId()
	}
	return 0
}

// listed is an object as a listing tells of it.
func listed(key string, info os.FileInfo) backend.Object {
	return backend.Object{
		Key: key, Size: info.Size(), Modified: info.ModTime(),
		ETag: fmt.Sprintf("%x-%x-%x", fileID(info), info.ModTime().UnixMilli(), info.Size()),
	}
}

// describe gives the object of a key. ErrNotExist.
func (s *Store) describe(c *hdfs.Client, key string) (backend.Object, error) {
	path, marker := s.path(key), backend.IsMarker(key)
	info, err := c.Stat(path)
	if err != nil {
		return backend.Object{}, err
	}
	if info.IsDir() != marker {
		return backend.Object{}, backend.ErrNotExist
	}
	if marker {
		return describeMarker(c, key, path, info)
	}
	n, _, err := readNote(c, path, info)
	if err != nil {
		return backend.Object{}, err
	}
	obj := listed(key, info)
	obj.Attr = n.Attr
	if n.CRC32C != nil {
		obj.CRC32C, obj.HasCRC32C = *n.CRC32C, true
	}
	return obj, nil
}

func describeMarker(c *hdfs.Client, key, path string, info os.FileInfo) (backend.Object, error) {
	if is, err := implied(c, path); err != nil {
		return backend.Object{}, err
	} else if is {
		return backend.Object{}, backend.ErrNotExist
	}
	n, text, err := readNote(c, path, info)
	if err != nil {
		return backend.Object{}, err
	}
	n.Attr.Type = backend.Directory
	return backend.Object{
		Key: key, Modified: info.ModTime(), Attr: n.Attr, HasCRC32C: true,
		ETag: fmt.Sprintf("d%x-%08x", fileID(info), crc32c.Checksum([]byte(text))),
	}, nil
}

// directoryOf is the part of a path before its last slash.
func directoryOf(path string) string { return path[:strings.LastIndexByte(path, '/')] }
