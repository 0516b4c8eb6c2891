package fusefs

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// closeDeviceOnExec keeps programs that this process starts from holding /dev/fuse, which
// go-fuse opens for them, too: the mount of a daemon that died would hang, instead of
// failing, for as long as one of them lives.
func closeDeviceOnExec() error {
	const dir = "/proc/self/fd"
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && target == "/dev/fuse" {
			syscall.CloseOnExec(fd)
		}
	}
	return nil
}
