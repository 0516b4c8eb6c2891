package fusefs

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// setReadAhead lets the kernel read so many bytes ahead of a program in what is not read
// by passthrough. The kernel's INIT only offers its default of 128 KiB, which the answer
// can lower: no request would be larger, whatever maxIO is. Only root can change it, by
// the mount's entry in /sys/class/bdi; files open already keep what they have.
func setReadAhead(mountPoint string, bytes int) error {
	var st unix.Stat_t
	if err := unix.Stat(mountPoint, &st); err != nil {
		return &os.PathError{Op: "stat", Path: mountPoint, Err: err}
	}
	dev := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	return os.WriteFile(filepath.Join("/sys/class/bdi", dev, "read_ahead_kb"), fmt.Append(nil, bytes>>10), 0)
}
