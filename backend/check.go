package backend

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxNameBytes   = 255  // NAME_MAX: a part of a key is a file name in a mount
	maxTargetBytes = 4095 // PATH_MAX less its NUL: a symlink's target
)

// CheckKey refuses, with ErrInvalidKey, a key that cannot be a path in a mount. Every
// store applies it to every key that it is given, so that no key means one thing here
// and another there; keys that List finds may still break it.
func CheckKey(op, key string) error {
	if why := badKey(key); why != "" {
		return &Error{Op: op, Key: key, Kind: ErrInvalidKey, Err: errors.New(why)}
	}
	return nil
}

func badKey(key string) string {
	if key == "" {
		return "empty key"
	}
	if strings.IndexByte(key, 0) >= 0 {
		return "NUL in key"
	}
	if !utf8.ValidString(key) {
		return "key is not UTF-8"
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		switch {
		case part == "":
			return "empty part"
		case part == "." || part == "..":
			return "part " + part
		case len(part) > maxNameBytes:
			return fmt.Sprintf("part longer than %d bytes", maxNameBytes)
		}
	}
	return ""
}

// IsMarker tells a directory marker's key from others.
func IsMarker(key string) bool { return strings.HasSuffix(key, "/") }

// CheckPut refuses a Put or a BeginStage that makes no sense in any store, and gives
// the Attr that the object then has: a marker is a Directory whatever the caller said.
func CheckPut(op, key string, size int64, attr Attr) (Attr, error) {
	if err := CheckKey(op, key); err != nil {
		return attr, err
	}
	why := ""
	switch {
	case size < 0:
		why = "negative size"
	case IsMarker(key) && size > 0:
		why = "a directory marker has no content"
	case IsMarker(key) && attr.Type == Symlink, !IsMarker(key) && attr.Type == Directory:
		why = "a key that ends in '/' is a directory, and no other is"
	case attr.Type == Symlink && (size == 0 || size > maxTargetBytes):
		why = fmt.Sprintf("a symlink's target has 1 to %d bytes", maxTargetBytes)
	case op == OpBeginStage && (IsMarker(key) || attr.Type != Regular):
		why = "only regular files are staged"
	}
	if why != "" {
		return attr, &Error{Op: op, Key: key, Kind: ErrInvalidKey, Err: errors.New(why)}
	}
	if IsMarker(key) {
		attr.Type = Directory
	}
	attr.Mode &= 07777
	return attr, nil
}

// CheckStage refuses, with ErrTooLarge, a stage that these limits do not allow.
func (c Capabilities) CheckStage(s Stage) error {
	why := ""
	switch {
	case s.Size > c.MaxSize:
		why = fmt.Sprintf("%d bytes, at most %d", s.Size, c.MaxSize)
	case s.PartSize < max(1, c.MinPartSize) || s.PartSize > c.MaxPartSize:
		why = fmt.Sprintf("parts of %d bytes, from %d to %d are possible",
			s.PartSize, max(1, c.MinPartSize), c.MaxPartSize)
	case s.Parts() > c.MaxParts:
		why = fmt.Sprintf("%d parts, at most %d", s.Parts(), c.MaxParts)
	}
	if why == "" {
		return nil
	}
	return &Error{Op: OpBeginStage, Key: s.Key, Kind: ErrTooLarge, Err: errors.New(why)}
}

// CheckPart refuses, with ErrChecksum, content that is not part n of s.
func (s Stage) CheckPart(n int, c Content) error {
	if n < 1 || n > s.Parts() {
		return s.mismatch(OpPutPart, "part %d of %d", n, s.Parts())
	}
	if _, want := s.Range(n); c.Size != want {
		return s.mismatch(OpPutPart, "part %d has %d bytes, not %d", n, c.Size, want)
	}
	return nil
}

// CheckParts refuses, with ErrChecksum, a list of parts that is not the whole of s, each
// once and in order.
func (s Stage) CheckParts(parts []Part) error {
	if len(parts) != s.Parts() {
		return s.mismatch(OpPublishStage, "%d parts of %d", len(parts), s.Parts())
	}
	for i, p := range parts {
		if _, want := s.Range(i + 1); p.Number != i+1 || p.Size != want {
			return s.mismatch(OpPublishStage, "part %d of %d bytes where part %d of %d belongs",
				p.Number, p.Size, i+1, want)
		}
	}
	return nil
}

func (s Stage) mismatch(op, format string, args ...any) error {
	return &Error{Op: op, Key: s.Key, Kind: ErrChecksum, Err: fmt.Errorf(format, args...)}
}
