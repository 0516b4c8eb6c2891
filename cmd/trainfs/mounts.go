package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

const (
	fsType       = "fuse.trainfs" // as /proc/self/mountinfo names our mounts
	controlXattr = "user.trainfs.control"
)

// errOthers tells that a mount lets nobody in but its owner, root included.
var errOthers = errors.New("mounted by another user, without allow_other")

// mountPoint is one place where a trainfs is mounted, or part of one (mount --bind).
type mountPoint struct {
	path   string // where
	root   string // the part of the file system that shows there, "" for all of it
	source string // storage path
}

// cacheDir asks the file system for the cache directory of its daemon.
func (m mountPoint) cacheDir() (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Lgetxattr(m.path, controlXattr, buf)
	switch {
	case errors.Is(err, unix.ENOTCONN):
		return "", fmt.Errorf("%s is a stale mount: %w; mounting there again cleans it up, and uploads what was left", m.path, errNoDaemon)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return "", fmt.Errorf("%s: %w: ask as that user", m.path, errOthers)
	case err != nil:
		return "", fmt.Errorf("ask %s for its daemon: %w", m.path, err)
	}
	return string(buf[:n]), nil
}

// isDead tells that a mount's daemon is gone. Extended attributes are never cached.
func isDead(path string) bool {
	_, err := mountPoint{path: path}.cacheDir()
	return errors.Is(err, errNoDaemon)
}

// mountTable lists every trainfs mount that this process can see, in the order of mounting.
func mountTable() ([]mountPoint, error) {
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.FSType != fsType, false
	})
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	mounts := make([]mountPoint, 0, len(infos))
	for _, i := range infos {
		mounts = append(mounts, mountPoint{path: i.Mountpoint, root: strings.TrimPrefix(i.Root, "/"), source: i.Source})
	}
	return mounts, nil
}

// findMountPoint gives the trainfs mount at exactly this path; of several stacked there,
// the one on top. It never looks into the mount: a stale one must be found too.
func findMountPoint(path string) (mountPoint, error) {
	abs, err := absolute(path)
	if err != nil {
		return mountPoint{}, err
	}
	mounts, err := mountTable()
	if err != nil {
		return mountPoint{}, err
	}
	for _, m := range slices.Backward(mounts) {
		if m.path == abs {
			return m, nil
		}
	}
	return mountPoint{}, fmt.Errorf("%s is not a mount point of trainfs%s", path, listed(mounts))
}

// locate gives the mount that a path lies in, and the path inside it. The path must exist.
func locate(path string) (m mountPoint, inside string, err error) {
	if m, inside, err = findPath(path); err != nil {
		return m, "", err
	}
	if _, err := os.Lstat(path); err != nil && !errors.Is(err, unix.ENOTCONN) {
		return m, "", err
	}
	return m, inside, nil
}

// findPath does so for a path that need not exist.
func findPath(path string) (m mountPoint, inside string, err error) {
	abs, err := absolute(path)
	if err != nil {
		return m, "", err
	}
	mounts, err := mountTable()
	if err != nil {
		return m, "", err
	}
	found := false
	for _, c := range mounts {
		if under(abs, c.path) && (!found || len(c.path) >= len(m.path)) {
			m, found = c, true
		}
	}
	if !found {
		return m, "", fmt.Errorf("%s does not lie in a trainfs mount%s", path, listed(mounts))
	}
	inside = strings.TrimPrefix(strings.TrimPrefix(abs, m.path), "/")
	return m, filepath.Join(m.root, inside), nil
}

// absolute makes a path absolute, and resolves symlinks in all but its last part: that one
// may be a stale mount point, which cannot be looked at, or a symlink that is meant itself.
func absolute(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil || abs == "/" {
		return abs, err
	}
	// A link to a mount point is what users type; a link inside a mount is a file of its own.
	if fi, err := os.Lstat(abs); err == nil && fi.Mode()&os.ModeSymlink != 0 {
		if target, err := filepath.EvalSymlinks(abs); err == nil && isMountRoot(target) {
			return target, nil
		}
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		if errors.Is(err, unix.ENOTCONN) {
			return abs, nil
		}
		return "", err
	}
	return filepath.Join(dir, filepath.Base(abs)), nil
}

func isMountRoot(path string) bool {
	mounts, err := mountTable()
	return err == nil && slices.ContainsFunc(mounts, func(m mountPoint) bool { return m.path == path })
}

func under(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// listed says where trainfs is mounted, for the end of an error.
func listed(mounts []mountPoint) string {
	if len(mounts) == 0 {
		return " (there is none on this machine)"
	}
	paths := make([]string, 0, len(mounts))
	for _, m := range mounts {
		paths = append(paths, m.path)
	}
	return " (trainfs is mounted at " + strings.Join(paths, ", ") + ")"
}
