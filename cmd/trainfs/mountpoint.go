package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mounted is the mount that this process serves, as the mount table knows it.
type mounted struct {
	path  string
	minor int // of its anonymous device, which also is the name of its FUSE connection
}

// findMounted looks up what was mounted at path just now.
func findMounted(path string) (mounted, error) {
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return i.Mountpoint != path, false })
	if err != nil {
		return mounted{}, fmt.Errorf("read the mount table: %w", err)
	}
	if len(infos) == 0 {
		return mounted{}, fmt.Errorf("%s is not in the mount table", path)
	}
	top := infos[len(infos)-1] // the last one mounted
	if top.FSType != fsType {
		return mounted{}, fmt.Errorf("a %s is mounted over %s", top.FSType, path)
	}
	return mounted{path, top.Minor}, nil
}

// onTop tells whether this mount is still what shows at its path. Unmounting works by
// path: something else that was mounted there since must not go in its stead.
func (m mounted) onTop() bool {
	now, err := findMounted(m.path)
	return err == nil && now.minor == m.minor
}

// answers makes sure that a request comes through, for at most as long as ctx.
func (m mounted) answers(ctx context.Context) error {
	result := make(chan error, 1)
	go func() {
		_, err := os.Stat(m.path)
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
	}
	m.abort() // which ends the stat, where it can
	select {
	case err := <-result:
		return errors.Join(ctx.Err(), err)
	case <-time.After(abortGrace):
		return ctx.Err()
	}
}

// abort makes the kernel end every request of the connection, and every later one.
// fs/fuse/control.c: the file belongs to who mounted. Where fusectl is not mounted, as in
// many containers, this does nothing.
func (m mounted) abort() {
	path := filepath.Join("/sys/fs/fuse/connections", strconv.Itoa(m.minor), "abort")
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		_, _ = f.WriteString("1") // the connection may have ended meanwhile
		_ = f.Close()
	}
}

// unmountError turns what unmounting said into errBusy where that is the reason. Without
// privileges fusermount3 does it, and of the errors that it can have about a mount of our
// own that is still there, being busy is the one.
func unmountError(err error, m mounted) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY), os.Geteuid() != 0 && m.onTop():
		return fmt.Errorf("%w (%w)", errBusy, err)
	}
	return err
}
