package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	minOpenFiles   = 4096
	doctorDiskSize = 64 << 20
	slowDisk       = 100 << 20 // bytes a second
	littleSpace    = 10 << 30
)

// machine tries what a mount needs of this machine.
func (d *diagnosis) machine(c *Config, quick bool) {
	d.fuse(c)
	d.passthrough(c)
	d.limits()
	d.cacheDisk(c.CacheDir, quick)
}

// fuse looks at what mounting takes: the device and, without root, the program that may.
func (d *diagnosis) fuse(c *Config) {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.fail("FUSE", "no /dev/fuse", "load the kernel module (modprobe fuse); in a container, pass the device in")
		return
	case err != nil:
		d.fail("FUSE", err.Error(), "in a container, allow the device /dev/fuse")
		return
	}
	f.Close()
	if os.Geteuid() == 0 {
		if !hasSysAdmin() {
			d.fail("FUSE", "root without CAP_SYS_ADMIN may not mount", "run the container with CAP_SYS_ADMIN, or as another user with fusermount3")
			return
		}
		d.ok("FUSE", "")
		return
	}
	if _, err := exec.LookPath("fusermount3"); err != nil {
		if _, err := exec.LookPath("fusermount"); err != nil {
			d.fail("FUSE", "no fusermount3", "install the package fuse3, or mount as root")
			return
		}
	}
	if c.AllowOther && !fuseConfAllowsOther() {
		d.fail("FUSE", "allow_other is not allowed to this user", "put the line user_allow_other into /etc/fuse.conf, or mount as root")
		return
	}
	d.ok("FUSE", "through fusermount")
}

func fuseConfAllowsOther() bool {
	text, err := os.ReadFile("/etc/fuse.conf")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}

// passthrough judges by the kernel's version; whether it works there, a mount finds out,
// and status says.
func (d *diagnosis) passthrough(c *Config) {
	const slower = "reads and writes go through the daemon: small writes are several times slower"
	major, minor := kernelVersion()
	switch {
	case c.Passthrough == "off":
		d.ok("passthrough", "off by option")
	case major < 6 || major == 6 && minor < 9:
		d.warn("passthrough", fmt.Sprintf("Linux %d.%d has none; %s", major, minor, slower), "use Linux 6.9 or later")
	case !hasSysAdmin():
		d.warn("passthrough", "needs CAP_SYS_ADMIN; "+slower, "mount as root, or give the container CAP_SYS_ADMIN")
	default:
		d.ok("passthrough", fmt.Sprintf("Linux %d.%d with CAP_SYS_ADMIN", major, minor))
	}
}

func kernelVersion() (major, minor int) {
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor)
	}
	return major, minor
}

func hasSysAdmin() bool {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err == nil && caps&(1<<unix.CAP_SYS_ADMIN) != 0
		}
	}
	return false
}

func (d *diagnosis) limits() {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		d.warn("open files", err.Error(), "")
		return
	}
	if files.Max < minOpenFiles {
		d.warn("open files", fmt.Sprintf("at most %d", files.Max), fmt.Sprintf("raise the hard limit to %d or more (ulimit -Hn, limits.conf, LimitNOFILE=)", minOpenFiles))
		return
	}
	d.ok("open files", fmt.Sprintf("up to %d", files.Max))
}

// cacheDisk looks at the disk of the cache directory, which need not exist yet.
func (d *diagnosis) cacheDisk(dir string, quick bool) {
	at := dir
	for ; ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) || at == filepath.Dir(at) {
			break
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		d.fail("cache directory", fmt.Sprintf("%s: %v", at, err), "choose another place with cache_dir=")
		return
	}
	free := int64(st.Bavail) * st.Bsize
	switch {
	case st.Type == unix.TMPFS_MAGIC:
		d.warn("cache directory", dir+" is in memory (tmpfs)", "what is not uploaded does not survive a reboot: choose a local disk with cache_dir=")
	case st.Type == unix.NFS_SUPER_MAGIC || st.Type == unix.SMB2_SUPER_MAGIC:
		d.warn("cache directory", dir+" is on a network file system", "it has the network's speed, and locks may not work: choose a local disk with cache_dir=")
	case free < littleSpace:
		d.warn("cache directory", fmt.Sprintf("%s has %s free", dir, bytesText(free)), "a checkpoint has to fit in, better several: free space, or choose another place with cache_dir=")
	default:
		d.ok("cache directory", fmt.Sprintf("%s, %s free", dir, bytesText(free)))
	}
	d.cacheSpeed(at, quick)
}

// cacheSpeed writes a scratch file, which also tells whether one may.
func (d *diagnosis) cacheSpeed(dir string, quick bool) {
	f, err := os.CreateTemp(dir, ".trainfs-doctor-*")
	if err != nil {
		d.fail("cache disk", err.Error(), "choose a place where this user may write with cache_dir=")
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if quick {
		d.ok("cache disk", "can be written")
		return
	}
	chunk, start := make([]byte, 1<<20), time.Now()
	for n := 0; n < doctorDiskSize && err == nil; n += len(chunk) {
		_, err = f.Write(chunk)
	}
	if err == nil {
		err = f.Sync()
	}
	rate := float64(doctorDiskSize) / time.Since(start).Seconds()
	switch {
	case err != nil:
		d.fail("cache disk", err.Error(), "choose another place with cache_dir=")
	case rate < slowDisk:
		d.warn("cache disk", rateText(rate)+" with fsync", "checkpoints are written at this speed: choose a faster disk with cache_dir=")
	default:
		d.ok("cache disk", rateText(rate)+" with fsync")
	}
}
