package main

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	controlSocket = "control.sock"
	controlPrefix = "/v1" // of every request's path; changes when old clients must be refused

	maxRequestBytes = 1 << 20
	maxRequestPaths = 10_000
)

// socketPath gives a name for the control socket that fits into the 108 bytes a Unix
// socket address has, however deep the cache directory lies: through an open descriptor of
// it. The caller calls done once bound or connected.
func socketPath(cacheDir string) (name string, done func(), err error) {
	fd, err := unix.Open(cacheDir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("open cache directory %s: %w", cacheDir, err)
	}
	name = filepath.Join("/proc/self/fd", strconv.Itoa(fd), controlSocket)
	return name, func() { unix.Close(fd) }, nil
}

// cleanControlPath checks a path from a request. It is relative to the mount's root, which
// is "", and never leads out of it.
func cleanControlPath(p string) (string, error) {
	switch {
	case len(p) >= unix.PathMax:
		return "", errors.New("path is too long")
	case strings.ContainsRune(p, 0):
		return "", errors.New("path contains a NUL byte")
	case strings.HasPrefix(p, "/"):
		return "", fmt.Errorf("path %q is not relative to the mount", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return "", fmt.Errorf("path %q leads out of the mount", p)
		}
		if len(part) > unix.NAME_MAX {
			return "", errors.New("a part of the path is too long")
		}
	}
	if p = path.Clean(p); p == "." {
		return "", nil
	}
	return p, nil
}
