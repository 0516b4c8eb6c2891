package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// holder is a process that keeps a mount busy.
type holder struct {
	pid     int
	command string
	path    string // what it has open
}

// findHolders looks through /proc for at most limit processes with a file or directory of
// the mount open, or mapped. It sees what this user may see; the kernel has the last word.
func findHolders(mount string, limit int) []holder {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []holder
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if path := heldBy(pid, mount); path != "" {
			comm, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm")) // may have ended
			found = append(found, holder{pid, strings.TrimSpace(string(comm)), path})
			if len(found) == limit {
				break
			}
		}
	}
	return found
}

// heldBy gives the first path below mount that a process holds.
func heldBy(pid int, mount string) string {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	links := []string{"cwd", "root", "exe"}
	for _, sub := range []string{"fd", "map_files"} {
		entries, _ := os.ReadDir(filepath.Join(dir, sub)) // another user's: not for us to see
		for _, e := range entries {
			links = append(links, filepath.Join(sub, e.Name()))
		}
	}
	for _, l := range links {
		if target, err := os.Readlink(filepath.Join(dir, l)); err == nil && under(target, mount) {
			return target
		}
	}
	return ""
}

// busyError says what keeps a mount busy, as far as can be seen.
func busyError(mount string) error {
	const shown = 5
	var who strings.Builder
	for _, h := range findHolders(mount, shown) {
		fmt.Fprintf(&who, "\n  %s (pid %d): %s", printable(h.command), h.pid, h.path)
	}
	return fmt.Errorf("%s is busy: %w%s\nIt is still mounted. End these processes, or close the files, and unmount again",
		mount, errBusy, who.String())
}
