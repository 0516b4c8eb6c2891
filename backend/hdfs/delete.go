package hdfs

import (
	"context"
	"errors"
	"strings"
	"syscall"

	"github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend"
)

func (s *Store) Delete(ctx context.Context, keys ...string) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: backend.OpDelete, Err: err}
	}
	for _, key := range keys {
		if err := check(ctx, backend.OpDelete, key); err != nil {
			return err
		}
	}
	for _, key := range keys {
		_, err := call(ctx, s, func(c *hdfs.Client) (struct{}, error) { return struct{}{}, s.remove(c, key) })
		if err = absent(backend.OpDelete, key, err); err != nil && !errors.Is(err, backend.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *Store) remove(c *hdfs.Client, key string) error {
	path := s.path(key)
	info, err := c.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() != backend.IsMarker(key) {
		return nil
	}
	if info.IsDir() {
		// With something in it the directory stays, as an implied one.
		if err := c.SetXAttr(path, impliedAttr, "1"); err != nil {
			return err
		}
		return s.prune(c, key)
	}
	if err := c.Remove(path); err != nil {
		return err
	}
	return s.prune(c, parent(key))
}

// prune removes the directory of a key, and those above it, as long as they are empty and
// implied.
func (s *Store) prune(c *hdfs.Client, key string) error {
	for key != "" && !strings.HasPrefix(stagingDir+"/", key) {
		is, err := implied(c, s.path(key))
		if missing(err) {
			key = parent(key)
			continue
		}
		if err != nil || !is {
			return err
		}
		switch err := c.Remove(s.path(key)); {
		case errors.Is(err, syscall.ENOTEMPTY):
			return nil
		case err != nil && !missing(err):
			return err
		}
		key = parent(key)
	}
	return nil
}
