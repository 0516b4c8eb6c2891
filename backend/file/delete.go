package file

import (
	"context"
	"errors"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

func (s *Store) Delete(ctx context.Context, keys ...string) error {
	for _, key := range keys {
		if err := check(ctx, backend.OpDelete, key); err != nil {
			return err
		}
	}
	parents := make(map[string]bool)
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return &backend.Error{Op: backend.OpDelete, Key: key, Err: err}
		}
		if err := s.remove(key); err != nil && !missing(err) {
			return fail(backend.OpDelete, key, err)
		}
		parent, _ := split(key)
		parents[parent] = true
	}
	// Only now, so that a directory of a thousand keys is tried once; and also for keys
	// that were missing: an earlier Delete may have come no further.
	changed := make(map[string]bool)
	for parent := range parents {
		left, err := s.prune(parent)
		if err != nil {
			return fail(backend.OpDelete, parent, err)
		}
		changed[left] = true
	}
	for dir := range changed {
		if err := s.syncName(dir); err != nil && !missing(err) {
			return fail(backend.OpDelete, dir, err)
		}
	}
	return nil
}

// remove takes one object away, and nothing that only has its name.
func (s *Store) remove(key string) error {
	parent, base := split(key)
	dir, err := s.openDir(parent)
	if err != nil {
		return err
	}
	defer dir.Close()
	if !backend.IsMarker(key) {
		err := unix.Unlinkat(int(dir.Fd()), base, 0)
		if errors.Is(err, unix.EISDIR) { // "d" names no object where "d/" does
			return nil
		}
		return os.NewSyscallError("unlinkat", err)
	}
	err = unix.Unlinkat(int(dir.Fd()), base, unix.AT_REMOVEDIR)
	if !notEmpty(err) {
		return os.NewSyscallError("unlinkat", err)
	}
	// What is below keeps the directory, but no longer than it is there.
	kept, err := openAt(dir, base, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer kept.Close()
	setImplied(kept, true)
	return nil
}

// prune removes a directory and its parents as far as they are implied and empty, and
// gives the first that stays.
func (s *Store) prune(name string) (left string, err error) {
	for ; name != "."; name = path.Dir(name) {
		dir, err := s.openDir(name)
		if missing(err) {
			continue
		}
		if err != nil {
			return name, err
		}
		implied := isImplied(dir)
		dir.Close()
		if !implied {
			break
		}
		parent, err := s.openDir(path.Dir(name))
		if missing(err) {
			continue
		}
		if err != nil {
			return name, err
		}
		err = unix.Unlinkat(int(parent.Fd()), path.Base(name), unix.AT_REMOVEDIR)
		parent.Close()
		if notEmpty(err) {
			break
		}
		if err != nil && !missing(err) {
			return name, os.NewSyscallError("unlinkat", err)
		}
	}
	return name, nil
}

func (s *Store) syncName(name string) error {
	dir, err := s.openDir(name)
	if err != nil {
		return err
	}
	defer dir.Close()
	return syncDir(dir)
}

func notEmpty(err error) bool {
	return errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST)
}
