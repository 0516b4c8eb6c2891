package integration

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// basics are what programs do to files. Each gets a directory of its own in the mount.
var basics = map[string]func(t *testing.T, dir string){
	"append": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "f")
		write(t, path, "one ")
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteString("two")
		must(t, err)
		must(t, f.Close())
		want(t, "content", read(t, path), "one two")
	},
	"truncate": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "f")
		write(t, path, "abcdef")
		must(t, os.Truncate(path, 3))
		want(t, "content", read(t, path), "abc")
		must(t, os.Truncate(path, 5))
		want(t, "content", read(t, path), "abc\x00\x00")
	},
	"rename over an existing name": func(t *testing.T, dir string) {
		write(t, filepath.Join(dir, "new"), "new")
		write(t, filepath.Join(dir, "old"), "old")
		must(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "old")))
		want(t, "content", read(t, filepath.Join(dir, "old")), "new")
		want(t, "the old name exists", exists(filepath.Join(dir, "new")), false)
	},
	"rename of a directory": func(t *testing.T, dir string) {
		write(t, filepath.Join(mkdir(t, filepath.Join(dir, "a", "b")), "f"), "deep")
		must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "c")))
		want(t, "content", read(t, filepath.Join(dir, "c", "b", "f")), "deep")
	},
	"symlink": func(t *testing.T, dir string) {
		write(t, filepath.Join(dir, "f"), "behind")
		must(t, os.Symlink("f", filepath.Join(dir, "link")))
		want(t, "content", read(t, filepath.Join(dir, "link")), "behind")
	},
	"hard link": func(t *testing.T, dir string) {
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		write(t, a, "first")
		must(t, os.Link(a, b))
		write(t, b, "second")
		want(t, "content", read(t, a), "second")
		want(t, "same file", stat(t, a).Ino, stat(t, b).Ino)
		want(t, "links", stat(t, a).Nlink, 2)
	},
	"xattr": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "f")
		write(t, path, "")
		must(t, unix.Setxattr(path, "user.mine", []byte("value"), 0))
		buf := make([]byte, 100)
		n, err := unix.Getxattr(path, "user.mine", buf)
		must(t, err)
		want(t, "value", string(buf[:n]), "value")
		must(t, unix.Removexattr(path, "user.mine"))
		if _, err := unix.Getxattr(path, "user.mine", buf); err != unix.ENODATA {
			t.Errorf("after its removal: %v", err)
		}
	},
	"chmod and utimes": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "f")
		write(t, path, "")
		must(t, os.Chmod(path, 0o640))
		at := time.Unix(1_600_000_000, 123_456_789)
		must(t, os.Chtimes(path, at, at))
		st := stat(t, path)
		want(t, "mode", st.Mode&0o7777, 0o640)
		want(t, "mtime", time.Unix(st.Mtim.Unix()), at)
	},
	"mmap": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "f")
		write(t, path, noise(mib, 1))
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		must(t, err)
		m, err := unix.Mmap(int(f.Fd()), 0, mib, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		copy(m[5000:], "mapped")
		must(t, unix.Msync(m, unix.MS_SYNC))
		must(t, unix.Munmap(m))
		must(t, f.Close())
		want(t, "content", read(t, path)[5000:5006], "mapped")
	},
	"unlink while open": func(t *testing.T, dir string) {
		path := filepath.Join(dir, "f")
		write(t, path, "still here")
		f, err := os.Open(path)
		must(t, err)
		defer f.Close()
		must(t, os.Remove(path))
		buf := make([]byte, 20)
		n, err := f.Read(buf)
		must(t, err)
		want(t, "content", string(buf[:n]), "still here")
	},
	"full size first, then filled": func(t *testing.T, dir string) { // safetensors
		f, err := os.Create(filepath.Join(dir, "f.part"))
		must(t, err)
		must(t, f.Truncate(3*mib))
		_, err = f.WriteAt([]byte("tail"), 3*mib-4)
		must(t, err)
		must(t, f.Close())
		must(t, os.Rename(f.Name(), filepath.Join(dir, "f")))
		got := read(t, filepath.Join(dir, "f"))
		want(t, "size", len(got), 3*mib)
		want(t, "tail", got[3*mib-4:], "tail")
	},
}

func TestProgramsDoWhatTheyDoOnALocalDisk(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"passthrough=auto", "passthrough=off"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := fileStore(t)
			m := s.mount(t, mode)
			for name, do := range basics {
				t.Run(name, func(t *testing.T) { do(t, mkdir(t, m.path(name))) })
			}
			m.umount()
			// What was done locally is what arrived.
			s.wantSame(filepath.Join(m.cache, "tree"), "")
		})
	}
}

func TestAttributesSymlinksAndEmptyDirectoriesReachAnotherMount(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		a, b := s.mount(t), s.mount(t)
		at := time.Unix(1_600_000_000, 0)
		for _, dir := range []string{"plain", "checkpoint_000001"} {
			mkdir(t, a.path(dir, "empty"))
			must(t, os.Chmod(a.path(dir, "empty"), 0o750))
			write(t, a.path(dir, "f"), "content")
			must(t, os.Symlink("f", a.path(dir, "link")))
			must(t, os.Chmod(a.path(dir, "f"), 0o640))
			must(t, os.Lchown(a.path(dir, "f"), 1234, 2345))
			must(t, os.Chtimes(a.path(dir, "f"), at, at))
		}
		a.umount()
		for _, dir := range []string{"plain", "checkpoint_000001"} {
			eventually(t, dir+" shows", func() bool { return exists(b.path(dir, "f")) })
			st := stat(t, b.path(dir, "f"))
			want(t, dir+": mode", st.Mode&0o7777, 0o640)
			want(t, dir+": mtime", st.Mtim.Sec, at.Unix())
			want(t, dir+": uid", st.Uid, 1234)
			want(t, dir+": gid", st.Gid, 2345)
			want(t, dir+": content", read(t, b.path(dir, "link")), "content")
			want(t, dir+": mode after it was fetched", stat(t, b.path(dir, "f")).Mode&0o7777, 0o640)
			target, err := os.Readlink(b.path(dir, "link"))
			must(t, err)
			want(t, dir+": link", target, "f")
			empty := stat(t, b.path(dir, "empty"))
			want(t, dir+": empty directory", empty.Mode, syscall.S_IFDIR|0o750)
		}
	})
}

func TestNewFilesBelongToTheCaller(t *testing.T) {
	t.Parallel()
	m := fileStore(t).mount(t, "allow_other")
	must(t, os.Chmod(m.dir, 0o777))
	for dir := m.dir; dir != os.Getenv("TMPDIR"); dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, stat(t, dir).FileMode()|0o011))
	}
	r := runAs(t, 1234, "sh", "-c", "umask 027; cd $0 && mkdir d && echo x > d/f", m.dir)
	if r.code != 0 {
		t.Fatal(r.output)
	}
	want(t, "owner of the file", stat(t, m.path("d/f")).Uid, 1234)
	want(t, "owner of the directory", stat(t, m.path("d")).Uid, 1234)
	want(t, "mode of the file", stat(t, m.path("d/f")).Mode&0o7777, 0o640)
	if r := runAs(t, 1235, "cat", m.path("d/f")); r.code == 0 {
		t.Error("another user could read a file of mode 0640")
	}
}
