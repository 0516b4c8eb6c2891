package hdfs

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/colinmarc/hdfs/v2"
)

// A lock is a file that only one client can create. Who holds one makes a handful of
// requests and removes it; a client that died leaves its lock behind, and whoever finds
// one that is older than lockAge takes it away. Who cannot be done within half of that
// gives up, so that both never hold it.
const (
	lockAge   = 4 * time.Minute
	lockTries = 40
	lockPause = 25 * time.Millisecond
)

var errLocked = errors.New("another node is writing the same key")

// locked runs f as the only one that puts key if it is absent. now is a file that was
// written a moment ago, whose time is the name node's clock; "" makes one.
func (s *Store) locked(c *hdfs.Client, now, key string, f func() error) error {
	sum := sha256.Sum256([]byte(key))
	lock := path.Join(s.path(stagingDir), hex.EncodeToString(sum[:16])+lockSuffix)
	began := time.Now()
	if err := s.lock(c, lock, now); err != nil {
		return err
	}
	if time.Since(began) > lockAge/2 {
		return errors.Join(errLocked, ignoreMissing(c.Remove(lock)))
	}
	err := f()
	return errors.Join(err, ignoreMissing(c.Remove(lock)))
}

func (s *Store) lock(c *hdfs.Client, lock, now string) error {
	for range lockTries {
		err := c.CreateEmptyFile(lock)
		switch {
		case err == nil:
			return nil
		case missing(err):
			err = c.MkdirAll(directoryOf(lock), dirPerm)
		case errors.Is(err, os.ErrExist):
			err = s.unlockDead(c, lock, now)
		}
		if err != nil {
			return err
		}
		time.Sleep(lockPause)
	}
	return fmt.Errorf("%w (%s)", errLocked, lock)
}

// unlockDead removes a lock whose client has died.
func (s *Store) unlockDead(c *hdfs.Client, lock, now string) error {
	held, err := c.Stat(lock)
	if err != nil {
		return ignoreMissing(err)
	}
	clock := now
	if clock == "" {
		clock = s.temp()
		if err := c.CreateEmptyFile(clock); err != nil {
			return err
		}
		defer c.Remove(clock)
	}
	fresh, err := c.Stat(clock)
	if err != nil {
		return err
	}
	if fresh.ModTime().Sub(held.ModTime()) < lockAge {
		return nil
	}
	return ignoreMissing(c.Remove(lock))
}
