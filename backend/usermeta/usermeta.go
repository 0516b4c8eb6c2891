// Package usermeta writes a file's attributes into the user metadata that object stores
// keep beside an object, and reads them back. All stores that have user metadata use the
// same names, those of s3fs and rclone, so that these tools see them too.
//
// usermeta imports backend.
package usermeta

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// The names and their values:
//
//	mode   st_mode with the file type, decimal (s3fs); octal if it begins with 0 (rclone)
//	mtime  seconds since 1970, decimal, with a fraction down to nanoseconds
//	uid    decimal
//	gid    decimal
const (
	metaMode  = "mode"
	metaMtime = "mtime"
	metaUID   = "uid"
	metaGID   = "gid"
)

var typeBits = map[backend.FileType]uint32{
	backend.Regular:   unix.S_IFREG,
	backend.Directory: unix.S_IFDIR,
	backend.Symlink:   unix.S_IFLNK,
}

// Encode says nothing of what is not known.
func Encode(a backend.Attr) map[string]string {
	m := make(map[string]string)
	if a.Mode != 0 || a.Type != backend.Regular {
		m[metaMode] = strconv.FormatUint(uint64(typeBits[a.Type]|a.Mode&07777), 10)
	}
	if !a.Mtime.IsZero() {
		m[metaMtime] = formatTime(a.Mtime)
	}
	if a.Mode != 0 || !a.Mtime.IsZero() {
		m[metaUID] = strconv.FormatUint(uint64(a.UID), 10)
		m[metaGID] = strconv.FormatUint(uint64(a.GID), 10)
	}
	return m
}

// Decode reads what anybody may have written: what makes no sense is not known. Names of
// metadata come in any case.
func Decode(key string, size int64, meta map[string]string) backend.Attr {
	var (
		a     backend.Attr
		lower = make(map[string]string, len(meta))
	)
	for name, value := range meta {
		lower[strings.ToLower(name)] = value
	}
	if mode, ok := parseMode(lower[metaMode]); ok {
		a.Mode = mode & 07777
		if mode&unix.S_IFMT == unix.S_IFLNK && size > 0 && size < unix.PathMax {
			a.Type = backend.Symlink
		}
	}
	if backend.IsMarker(key) {
		a.Type = backend.Directory
	}
	a.UID = parseID(lower[metaUID])
	a.GID = parseID(lower[metaGID])
	a.Mtime = parseTime(lower[metaMtime])
	return a
}

func parseMode(value string) (uint32, bool) {
	base := 10
	if strings.HasPrefix(value, "0") {
		base = 8
	}
	mode, err := strconv.ParseUint(value, base, 16) // st_mode has 16 bits
	return uint32(mode), err == nil
}

func parseID(value string) uint32 {
	id, _ := strconv.ParseUint(value, 10, 32)
	if id == 1<<32-1 { // "no id" to chown
		return 0
	}
	return uint32(id)
}

func formatTime(t time.Time) string {
	sec, nsec, sign := t.Unix(), int64(t.Nanosecond()), ""
	if sec < 0 { // -1.5 s is -2 s and half a second
		sign = "-"
		if sec = -sec; nsec > 0 {
			sec, nsec = sec-1, 1e9-nsec
		}
	}
	return fmt.Sprintf("%s%d.%09d", sign, sec, nsec)
}

// maxSeconds is the year 9999; what is beyond is junk, and JSON knows no such time.
const maxSeconds = 253402300799

func parseTime(value string) time.Time {
	value, negative := strings.CutPrefix(value, "-")
	whole, fraction, _ := strings.Cut(value, ".")
	sec, err := strconv.ParseUint(whole, 10, 64)
	if err != nil || sec > maxSeconds || negative && sec > maxSeconds/10 {
		return time.Time{}
	}
	if len(fraction) > 9 {
		fraction = fraction[:9]
	}
	nsec := uint64(0)
	if fraction != "" {
		nsec, err = strconv.ParseUint(fraction+strings.Repeat("0", 9-len(fraction)), 10, 64)
		if err != nil {
			return time.Time{}
		}
	}
	if negative {
		return time.Unix(-int64(sec), -int64(nsec))
	}
	return time.Unix(int64(sec), int64(nsec))
}
