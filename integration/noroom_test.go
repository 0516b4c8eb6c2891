package integration

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// diskOf makes a small disk until the test ends, and returns where the cache directory may be.
type diskOf func(t *testing.T, base string) (dir string)

// smallDisk says how full it is.
func smallDisk(t *testing.T, base string) string {
	t.Helper()
	disk := mkdir(t, filepath.Join(base, "disk"))
	must(t, unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256m"))
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	return disk
}

// quotaDisk has a quota that it does not tell of. btrfs is the one whose quotas bind root as well;
// but on a file system that copies on write not even blocks that were taken ahead can be written
// to without room. So what is mapped for writing, the journal and the table of open files, lies
// on another disk here.
func quotaDisk(t *testing.T, base string) string {
	t.Helper()
	if err := loopDevices("btrfs"); err != nil {
		t.Skip(err)
	}
	disk, image, other := mkdir(t, filepath.Join(base, "disk")), filepath.Join(base, "image"), mkdir(t, filepath.Join(base, "other"))
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 1<<30))
	dir := filepath.Join(disk, "quota")
	script := `set -e; PATH=$PATH:/usr/sbin:/sbin; image=$1 disk=$2 dir=$3 other=$4
mkfs.btrfs -q "$image"; dev=$(losetup -f --show "$image"); trap 'losetup -d "$dev"' EXIT
mount -t btrfs "$dev" "$disk"; btrfs -q quota enable "$disk"; btrfs -q subvolume create "$dir"; btrfs -q qgroup limit 160M "$dir"
mkdir -m 700 "$dir/cache" "$dir/cache/journal" "$other/journal"; touch "$dir/cache/opens" "$other/opens"
mount --bind "$other/journal" "$dir/cache/journal"; mount --bind "$other/opens" "$dir/cache/opens"`
	t.Cleanup(func() {
		for _, path := range []string{filepath.Join(dir, "cache/journal"), filepath.Join(dir, "cache/opens"), disk} {
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
	})
	if out, err := exec.Command("sh", "-c", script, "sh", image, disk, dir, other).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// P7: without room for the cache a program gets the disk's own errno, what is there can be read,
// and the daemon lives. It may even die then: once there is room, nothing was lost.
func TestWithoutRoomProgramsGetTheErrnoAndNothingIsLost(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		disk diskOf
		want unix.Errno
	}{"full disk": {smallDisk, unix.ENOSPC}, "quota": {quotaDisk, unix.EDQUOT}} {
		for _, mode := range []string{"passthrough=auto", "passthrough=off"} {
			t.Run(name+" "+mode, func(t *testing.T) {
				t.Parallel()
				workWithoutRoom(t, c.disk, c.want, mode)
			})
		}
	}
}

func workWithoutRoom(t *testing.T, disk diskOf, errno unix.Errno, mode string) {
	s := s3Store(t)
	remote := noise(3*mib, 9)
	s.put("data/remote", remote)
	m := s.unmounted(t, "min_free=1", "full_timeout=1s", mode)
	dir := disk(t, filepath.Dir(m.cache))
	t.Cleanup(m.cleanup) // before the disk goes
	m.cache = filepath.Join(dir, "cache")
	m.start()
	saved := m.path("run/checkpoint_000001/f")
	mkdir(t, filepath.Dir(saved))
	write(t, saved, noise(mib, 1))
	m.wait()
	log, err := os.Create(m.path("run/log.txt"))
	must(t, err)
	defer log.Close()
	_, err = log.WriteString("before\n")
	must(t, err)

	filler := filepath.Join(dir, "filler")
	// The journal may give some back at any moment, and take it again.
	refused := func(what string, f func() error) {
		t.Helper()
		for range 20 {
			fillUp(t, filler)
			if err := f(); err != nil {
				if !errors.Is(err, errno) {
					t.Errorf("%s: %v, want %v", what, err, errno)
				}
				return
			}
		}
		t.Errorf("%s: there is room after all", what)
	}
	refused("write to an open file", func() error {
		_, err := log.Write([]byte(noise(mib, 2)))
		return err
	})
	second := m.path("run/checkpoint_000002")
	refused("saving a checkpoint", func() error { return trySave(second) })
	fillUp(t, filler)
	want(t, "what is in the cache", sum(read(t, saved)), sum(noise(mib, 1)))
	want(t, "what is only in the store", sum(read(t, m.path("data/remote"))), sum(remote))
	d := m.daemon()
	want(t, "the daemon has died", d.ended(), false)

	m.kill()
	if r := m.tryStart(); r.code == 0 || !strings.Contains(r.output, "make room") {
		t.Errorf("a mount without room for the journal: exit code %d\n%s", r.code, r.output)
	}
	must(t, os.Remove(filler))
	eventually(t, "it mounts once there is room", func() bool { return m.tryStart().code == 0 })
	eventually(t, "there is room", func() bool { return trySave(second) == nil })
	if text := read(t, m.path("run/log.txt")); !strings.HasPrefix(text, "before\n") {
		t.Errorf("the log begins with %.20q", text)
	}
	m.wait()
	s.wantSame(m.dir, "")
	s.wantNoOpenMarkers()
}

// trySave saves a checkpoint of 8 MiB over what may be there.
func trySave(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "model.pt"))
	if err != nil {
		return err
	}
	_, err = f.WriteString(noise(8*mib, 3))
	return errors.Join(err, f.Close())
}
