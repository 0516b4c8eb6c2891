package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// recordChecks say, for each table, what a record has to be so that the program can work with
// it. Tables that are not named here are not read by it.
var recordChecks = map[string]func(key string, b []byte) error{
	tableFile:  atPath[fileRecord],
	tableDir:   atPath[dirRecord],
	tableHint:  atPath[copyHint],
	tableStage: atPath[stageRecord],
	tableOpen:  atPath[openRecord],
	tableOwn:   atPath[ownRecord],
	tableSeal:  atPath[sealRecord],
	tableSent:  atPath[sentRecord],
	tableMeta:  func(_ string, b []byte) error { return json.Unmarshal(b, new(uint64)) },
	tableUnsynced: func(_ string, b []byte) error {
		return checked(b, func(f fetchedRecord) error { return soundPath(f.Path) })
	},
	tableMoved: func(key string, b []byte) error {
		return checked(b, func(m movedRecord) error { return errors.Join(soundPath(key), soundPath(m.Key)) })
	},
	tableIntent: func(key string, b []byte) error {
		return checked(b, func(i renameIntent) error { return errors.Join(soundPath(key), soundPath(i.Old), soundPath(i.New)) })
	},
	tableTomb: func(key string, b []byte) error {
		return checked(b, func(t tombstone) error {
			return errors.Join(soundPath(strings.TrimSuffix(key, "/")), soundPath(t.After))
		})
	},
	tableTorn: func(key string, b []byte) error {
		return checked(b, func(t tornRecord) error {
			if len(t.Files) != len(t.Inos) {
				return fmt.Errorf("it has %d files and %d inodes", len(t.Files), len(t.Inos))
			}
			err := soundPath(key)
			for _, p := range t.Files {
				err = errors.Join(err, soundPath(p))
			}
			return err
		})
	},
	tableTracker: func(key string, b []byte) error {
		return checked(b, func(v trackerRecord) error {
			if key != trackerKey(&v) {
				return errors.New("it is of another tracker")
			}
			return soundPath(v.Path)
		})
	},
}

// checkRecord tells whether a record can be believed: that it is one of its table, and leads
// nowhere but into the tree. What is not would end every start, in an error or a panic.
func checkRecord(key string, b []byte) error {
	if check, ok := recordChecks[key[:min(2, len(key))]]; ok {
		return check(key[2:], b)
	}
	if !json.Valid(b) {
		return errors.New("it is no JSON")
	}
	return nil
}

func atPath[T any](key string, b []byte) error {
	return checked(b, func(T) error { return soundPath(key) })
}

func checked[T any](b []byte, check func(T) error) error {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	return check(v)
}

// soundPath tells whether a path is one below the root of the tree, or the root. How long it
// may be is the kernel's business.
func soundPath(path string) error {
	if path == "" {
		return nil
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.IndexByte(part, 0) >= 0 {
			return fmt.Errorf("path %q has a part %q", path, part)
		}
	}
	return nil
}
