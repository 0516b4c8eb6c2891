package integration

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

const outsideContent = "what lies outside the tree"

// throughADirectory does to a file what a program can, by a directory's descriptor, so that
// the kernel follows no symbolic link on the way to it: only the daemon could. What is read
// is returned.
func throughADirectory(dir int) (seen string) {
	for _, flags := range []int{unix.O_RDONLY, unix.O_RDWR | unix.O_CREAT, unix.O_WRONLY | unix.O_TRUNC} {
		fd, err := unix.Openat(dir, "f", flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			continue
		}
		f := os.NewFile(uintptr(fd), "f")
		if flags == unix.O_RDONLY {
			b, _ := io.ReadAll(f)
			seen += string(b)
		} else {
			_, _ = f.WriteString("mine")
			_ = f.Chmod(0o640)
			_ = unix.Fsetxattr(fd, "user.mine", []byte("mine"), 0)
		}
		f.Close()
	}
	_ = unix.Fchmodat(dir, "f", 0o666, 0)
	_ = unix.Fchownat(dir, "f", 1234, 1234, unix.AT_SYMLINK_NOFOLLOW)
	_ = unix.UtimesNanoAt(dir, "f", []unix.Timespec{{Sec: 1}, {Sec: 1}}, unix.AT_SYMLINK_NOFOLLOW)
	_ = unix.Linkat(dir, "f", dir, "link", 0)
	_ = unix.Renameat(dir, "link", dir, "other")
	_ = unix.Mkdirat(dir, "d", 0o777)
	_ = unix.Mknodat(dir, "pipe", unix.S_IFIFO|0o666, 0)
	_ = unix.Symlinkat("f", dir, "s")
	for _, name := range []string{"f", "other", "pipe", "s", "victim"} {
		_ = unix.Unlinkat(dir, name, 0)
	}
	_ = unix.Unlinkat(dir, "d", unix.AT_REMOVEDIR)
	return seen
}

// everything is all that lstat says of what lies in a directory, and the contents: a change
// of any kind moves a ctime.
func everything(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	for _, path := range append([]string{dir}, names(t, dir)...) {
		if path != dir {
			path = filepath.Join(dir, path)
		}
		var st unix.Stat_t
		must(t, unix.Lstat(path, &st))
		fmt.Fprintln(&out, path, st.Mode, st.Uid, st.Nlink, st.Size, st.Mtim, st.Ctim)
	}
	return out.String() + read(t, filepath.Join(dir, "f")) + read(t, filepath.Join(dir, "victim"))
}

// I1: whoever swaps a directory of the tree for a symbolic link while the daemon, which is
// root, works there makes it neither read nor change what the link points to.
func TestSwapOfADirectoryForASymlinkLeadsNowhere(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"passthrough=auto", "passthrough=off"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := fileStore(t)
			m := s.mount(t, mode)
			outside := t.TempDir()
			write(t, filepath.Join(outside, "f"), outsideContent)
			write(t, filepath.Join(outside, "victim"), outsideContent)
			before := everything(t, outside)

			dir, err := os.Open(mkdir(t, m.path("dir")))
			must(t, err)
			defer dir.Close()
			inTree, link := filepath.Join(m.cache, "tree", "dir"), filepath.Join(m.cache, "tree", "link.tmp")
			must(t, os.Symlink(outside, link))
			stop := make(chan struct{})
			var swapper sync.WaitGroup
			swapper.Go(func() {
				for swaps := 0; ; swaps++ {
					select {
					case <-stop:
						if swaps%2 == 0 {
							return
						}
					default:
					}
					if err := unix.Renameat2(unix.AT_FDCWD, inTree, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE); err != nil {
						t.Errorf("swap: %v", err)
						return
					}
				}
			})
			var seen string
			for i := range 120 {
				seen += throughADirectory(int(dir.Fd()))
				if i%60 == 30 { // the daemon walks there on its own, too
					run(t, m.env, trainfs, "commit", m.dir)
					run(t, m.env, trainfs, "evict", m.dir)
				}
			}
			close(stop)
			swapper.Wait()
			want(t, "outside", everything(t, outside), before)
			if strings.Contains(seen, outsideContent) {
				t.Error("what lies outside was read")
			}
			for _, key := range s.keys() {
				if content, _ := s.get(key); strings.Contains(content, outsideContent) {
					t.Errorf("what lies outside went up as %q", key)
				}
			}
		})
	}
}
