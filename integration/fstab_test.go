package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Where mount(8) looks for the program that mounts "-t trainfs", and mount.fuse3, whose
// PATH is its own, for the one that mounts "-t fuse.trainfs".
const (
	mountHelper = "/sbin/mount.trainfs"
	command     = "/usr/local/bin/trainfs"
)

var installing sync.Mutex

// install puts trainfs at a path until the test ends. What is installed there already is
// covered, in the tests' own mount namespace only.
func install(t *testing.T, path string) {
	t.Helper()
	installing.Lock()
	t.Cleanup(installing.Unlock)
	if to, err := os.Readlink(path); err == nil && strings.Contains(to, "trainfs-integration-") {
		must(t, os.Remove(path)) // of a run that was killed
	}
	if !exists(path) {
		must(t, os.Symlink(trainfs, path))
		t.Cleanup(func() { must(t, os.Remove(path)) })
		return
	}
	installed, err := filepath.EvalSymlinks(path)
	must(t, err)
	wantRun(t, nil, "mount", "--bind", trainfs, installed)
	t.Cleanup(func() { wantRun(t, nil, "umount", installed) })
}

// wantRun fails the test if a program does.
func wantRun(t *testing.T, env []string, program string, args ...string) {
	t.Helper()
	if r := run(t, env, program, args...); r.code != 0 {
		t.Fatalf("%s %q: exit code %d\n%s", program, args, r.code, r.output)
	}
}

// startFromFstab mounts as a machine does when it starts.
func (m *mount) startFromFstab() {
	m.t.Helper()
	install(m.t, mountHelper)
	fstab := filepath.Join(m.t.TempDir(), "fstab")
	write(m.t, fstab, fmt.Sprintf("%s %s trainfs _netdev,%s,cache_dir=%s 0 0\n", m.source, m.dir, strings.Join(m.options, ","), m.cache))
	wantRun(m.t, m.env, "mount", "-T", fstab, "-a")
	want(m.t, "mounted", isMounted(m.dir), true)
}

func TestFstabLineMountsAndUmountUploads(t *testing.T) {
	install(t, mountHelper)
	for name, open := range map[string]func(*testing.T) *store{"file": fileStore, "s3": s3Store} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			m := s.unmounted(t)
			fstab := filepath.Join(t.TempDir(), "fstab")
			write(t, fstab, fmt.Sprintf(
				"# a comment\n%s %s trainfs _netdev,nofail,x-systemd.automount,allow_other,settle=300ms,cache-dir=%s 0 0\n", m.source, m.dir, m.cache))
			wantRun(t, m.env, "mount", "-T", fstab, "-a")
			want(t, "mounted", isMounted(m.dir), true)
			wantRun(t, m.env, "mount", "-T", fstab, "-a") // which finds it mounted
			write(t, filepath.Join(mkdir(t, m.path("checkpoint_000001")), "model.pt"), noise(2*mib, 1))

			d := m.daemon()
			wantRun(t, m.env, "umount", m.dir)
			d.wait()
			s.wantSame(filepath.Join(m.cache, "tree"), "")
			s.wantKeys("checkpoint_000001/model.pt")

			wantRun(t, m.env, "mount", "-T", fstab, m.dir) // by its mount point, as users do
			want(t, "bytes", len(read(t, m.path("checkpoint_000001/model.pt"))), 2*mib)
		})
	}
}

func TestMountTypeFuseDotTrainfs(t *testing.T) {
	install(t, command)
	for name, open := range map[string]func(*testing.T) *store{"file": fileStore, "s3": s3Store} {
		t.Run(name, func(t *testing.T) {
			m := open(t).unmounted(t)
			wantRun(t, m.env, "mount", "-t", "fuse.trainfs", "-o", "allow_other,cache_dir="+m.cache, m.source, m.dir)
			write(t, m.path("f"), "through mount.fuse3")
			m.umount()
		})
	}
}

func TestMountHelperTellsWhatIsWrong(t *testing.T) {
	install(t, mountHelper)
	m := fileStore(t).unmounted(t)
	r := run(t, m.env, "mount", "-t", "trainfs", "-o", "allow_othr", m.source, m.dir)
	if r.code == 0 || !strings.Contains(r.output, "allow_other") {
		t.Errorf("unknown option: exit code %d\n%s", r.code, r.output)
	}
	wantRun(t, m.env, "mount", "-s", "-t", "trainfs", "-o", "allow_othr,cache_dir="+m.cache, m.source, m.dir)
}
