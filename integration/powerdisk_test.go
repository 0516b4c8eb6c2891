package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// powerDisk is a file system on a loop device that can lose its power: what the kernel has
// not written to the device by then is gone, as after a power cut.
//
// The device itself keeps all it was given, flushed or not. So a missing flush of a disk's own
// write cache is not found by it; a missing fsync is.
type powerDisk struct {
	t     *testing.T
	kind  string // xfs or ext4
	image string
	dir   string // where it is mounted
}

// A sparse file. XFS wants 300 MiB; the journal keeps some in reserve.
const powerDiskBytes = 3 << 30

// newPowerDisk makes and mounts one until the test ends.
func newPowerDisk(t *testing.T, kind string) *powerDisk {
	t.Helper()
	if err := loopDevices(kind); err != nil {
		if *cutsFlag > cutsInNormalTests { // asked for
			t.Fatal(err)
		}
		t.Skip(err)
	}
	base := t.TempDir()
	d := &powerDisk{t: t, kind: kind, image: filepath.Join(base, "disk"), dir: mkdir(t, filepath.Join(base, "mnt"))}
	must(t, os.WriteFile(d.image, nil, 0o600))
	must(t, os.Truncate(d.image, powerDiskBytes))
	d.tool("mkfs."+kind, "-q", d.image)
	t.Cleanup(d.unmount)
	d.mount()
	return d
}

// loopDevices tells why there can be no such disk here, as in a container.
func loopDevices(kind string) error {
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return fmt.Errorf("no loop devices here (modprobe loop): %w", err)
	}
	_ = exec.Command("/sbin/modprobe", kind).Run() // it may be built in
	if kinds, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(kinds), "\t"+kind+"\n") {
		return fmt.Errorf("this kernel has no %s", kind)
	}
	return nil
}

func (d *powerDisk) tool(name string, args ...string) string {
	d.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/sbin:"+os.Getenv("PATH"))
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		d.t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return strings.TrimSpace(string(out))
}

// mount replays the file system's own journal, as a boot does.
func (d *powerDisk) mount() {
	d.t.Helper()
	device := d.tool("losetup", "-f", "--show", d.image)
	// Detached at once, the device goes with the mount, however the test ends.
	defer d.tool("losetup", "-d", device)
	must(d.t, unix.Mount(device, d.dir, d.kind, 0, ""))
}

func (d *powerDisk) unmount() {
	d.t.Helper()
	eventually(d.t, d.dir+" is unmounted", func() bool {
		err := unix.Unmount(d.dir, 0)
		return err == nil || errors.Is(err, unix.EINVAL) // not mounted
	})
}

// cut takes the power away. With flush the file system writes its journal first, as if the
// power had gone right after it did so by itself.
func (d *powerDisk) cut(flush bool) {
	d.t.Helper()
	how := "shutdown"
	if flush {
		how = "shutdown -f"
	}
	d.tool("xfs_io", "-x", "-c", how, d.dir)
}

// writeBack writes to the disk now and then what nobody has asked for, in no order, as
// kernels do: parts of files, and sometimes all. It ends with stop.
func (d *powerDisk) writeBack(r *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(1+r.IntN(40)) * time.Millisecond):
		}
		var files []string
		_ = filepath.WalkDir(d.dir, func(p string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				files = append(files, p)
			}
			return nil
		})
		if len(files) == 0 {
			continue
		}
		f, err := os.Open(files[r.IntN(len(files))])
		if err != nil {
			continue
		}
		if r.IntN(25) == 0 {
			_ = unix.Syncfs(int(f.Fd()))
		} else if st, err := f.Stat(); err == nil && st.Size() > 0 {
			_ = unix.SyncFileRange(int(f.Fd()), r.Int64N(st.Size()), 1+r.Int64N(1<<20), unix.SYNC_FILE_RANGE_WRITE)
		}
		f.Close()
	}
}
