package layout

import (
	"errors"
	"fmt"
	"strings"
)

// Prefix is where everything lies that trainfs adds to the storage path.
const Prefix = internal + "/"

const (
	internal    = ".trainfs"
	unitsPrefix = Prefix + "v1/units/"
	manifestExt = ".json"
	openExt     = ".open"
	deletedExt  = ".deleted"
)

// Limits of a local path: NAME_MAX and PATH_MAX.
const (
	maxPartBytes = 255
	maxPathBytes = 4096
)

// ManifestKey returns the key of the manifest of what node published of unit. A node's
// id is one name, without a slash.
func ManifestKey(unit, node string) string {
	return unitsPrefix + unit + "/" + node + manifestExt
}

// OpenKey returns the key of the marker that says that node is writing in unit.
func OpenKey(unit, node string) string {
	return unitsPrefix + unit + "/" + node + openExt
}

// DeletedKey returns the key under which node is told that another one has deleted unit.
func DeletedKey(unit, node string) string {
	return unitsPrefix + unit + "/" + node + deletedExt
}

// ParseDeletedKey takes apart what DeletedKey made. ok is false for any other key.
func ParseDeletedKey(key string) (unit, node string, ok bool) {
	rest, is := strings.CutPrefix(key, unitsPrefix)
	node, ext := strings.CutSuffix(base(rest), deletedExt)
	unit = parent(rest)
	if !is || !ext || CheckPath(unit) != nil || checkNode(node) != nil {
		return "", "", false
	}
	return unit, node, true
}

// UnitsPrefix returns the prefix of the keys of all units below dir, "" for the root.
func UnitsPrefix(dir string) string {
	if dir == "" {
		return unitsPrefix
	}
	return unitsPrefix + dir + "/"
}

// ParseUnitKey takes apart what ManifestKey (open is false) or OpenKey (open is true)
// made. ok is false for any other key.
func ParseUnitKey(key string) (unit, node string, open bool, ok bool) {
	rest, ok := strings.CutPrefix(key, unitsPrefix)
	if !ok {
		return "", "", false, false
	}
	unit, name := parent(rest), base(rest)
	node, ok = strings.CutSuffix(name, manifestExt)
	if !ok {
		node, open = strings.CutSuffix(name, openExt)
		ok = open
	}
	if !ok || CheckPath(unit) != nil || checkNode(node) != nil {
		return "", "", false, false
	}
	return unit, node, open, true
}

// CheckPath returns why path, a key below the storage path, cannot be a local path,
// nil if it can.
func CheckPath(path string) error {
	if len(path) > maxPathBytes {
		return fmt.Errorf("path %.60q…: longer than %d bytes", path, maxPathBytes)
	}
	for part := range strings.SplitSeq(path, "/") {
		if err := checkPart(part); err != nil {
			return fmt.Errorf("path %q: %w", path, err)
		}
	}
	return nil
}

func checkPart(part string) error {
	switch {
	case part == "":
		return errors.New("has an empty part")
	case part == "." || part == "..":
		return fmt.Errorf("has a part %q", part)
	case len(part) > maxPartBytes:
		return fmt.Errorf("has a part longer than %d bytes", maxPartBytes)
	case strings.IndexByte(part, 0) >= 0:
		return errors.New("has a NUL byte")
	}
	return nil
}

func checkNode(node string) error {
	if strings.Contains(node, "/") {
		return fmt.Errorf("node %q: has a slash", node)
	}
	if err := checkPart(node); err != nil {
		return fmt.Errorf("node %q: %w", node, err)
	}
	return nil
}
