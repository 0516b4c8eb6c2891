package fusefs

import (
	"fmt"
	"os"
	"path/filepath"
)

// setReadAhead lets the kernel read so many bytes ahead of a program in what is not read
// by passthrough. The kernel's INIT only offers its default of 128 KiB, which the answer
// can lower: no read-ahead would be larger, whatever maxIO is. Only root can change it, by
// the mount's entry in /sys/class/bdi; files open already keep what they have.
//
// The number of the mount is taken from the table of mounts: a process that is killed
// while it waits for an answer of its own hangs for ever, and its mount with it.
func setReadAhead(mountPoint string, bytes int) error {
	path, err := resolve(mountPoint)
	if err != nil {
		return err
	}
	mounts, err := mountsAt(path)
	if err != nil {
		return err
	}
	if len(mounts) == 0 {
		return fmt.Errorf("%s is not in the table of mounts", path)
	}
	top := mounts[len(mounts)-1]
	entry := filepath.Join("/sys/class/bdi", fmt.Sprintf("%d:%d", top.Major, top.Minor), "read_ahead_kb")
	return os.WriteFile(entry, fmt.Append(nil, bytes>>10), 0)
}
