package fusefs

import (
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func getxattr(t *testing.T, path, name string) (string, error) {
	t.Helper()
	size, err := unix.Getxattr(path, name, nil)
	if err != nil {
		return "", err
	}
	b := make([]byte, size)
	n, err := unix.Getxattr(path, name, b)
	if n != size {
		t.Errorf("%s: size %d, then %d bytes", name, size, n)
	}
	return string(b), err
}

func TestOwnXattrs(t *testing.T) {
	f := &fake{}
	mnt, _ := testMount(t, f)
	p := filepath.Join(mnt, "f")
	write(t, p, "")

	if got, err := getxattr(t, p, XattrState); got != "committed" || err != nil {
		t.Errorf("state: %q, %v", got, err)
	}
	if got, err := getxattr(t, mnt, XattrControl); got != f.dir || err != nil {
		t.Errorf("control: %q, %v", got, err)
	}
	if _, err := unix.Getxattr(p, XattrState, make([]byte, 2)); err != syscall.ERANGE {
		t.Errorf("short buffer: %v, want ERANGE", err)
	}
	if err := unix.Setxattr(p, XattrCommit, []byte("1"), 0); err != nil {
		t.Errorf("commit: %v", err)
	}
	f.mu.Lock()
	if !slices.Equal(f.mu.commits, []string{"f"}) {
		t.Errorf("commits: %q", f.mu.commits)
	}
	f.mu.Unlock()

	for name, c := range map[string]struct {
		value string
		want  error
	}{
		XattrCommit:               {"yes", syscall.EINVAL},
		XattrState:                {"committed", syscall.EPERM},
		"user.trainfs.unheard-of": {"1", syscall.EPERM},
		"system.posix_acl_access": {"\x02\x00\x00\x00", syscall.EOPNOTSUPP},
		"security.capability":     {"\x00\x00\x00\x02" + strings.Repeat("\x00", 16), syscall.EOPNOTSUPP},
	} {
		if err := unix.Setxattr(p, name, []byte(c.value), 0); err != c.want {
			t.Errorf("set %s: got %v, want %v", name, err, c.want)
		}
	}
	for _, name := range []string{XattrCommit, "user.trainfs.unheard-of", "security.capability"} {
		if _, err := getxattr(t, p, name); err != syscall.ENODATA {
			t.Errorf("get %s: got %v, want ENODATA", name, err)
		}
	}
	if n := f.count("getxattr"); n != 0 {
		t.Errorf("the cache was asked %d times", n)
	}
}

func TestOwnXattrsAreNotListed(t *testing.T) {
	f := &fake{}
	mnt, _ := testMount(t, f)
	p := filepath.Join(mnt, "f")
	write(t, p, "")
	if err := unix.Setxattr(p, "user.mine", []byte("x"), 0); err != nil {
		t.Skipf("no extended attributes here: %v", err)
	}
	if err := unix.Setxattr(filepath.Join(f.dir, "f"), XattrState, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1000)
	n, err := unix.Listxattr(p, b)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Split(strings.TrimSuffix(string(b[:n]), "\x00"), "\x00")
	if !slices.Equal(names, []string{"user.mine"}) {
		t.Errorf("listed: %q", names)
	}
	if size, err := unix.Listxattr(p, nil); size != n || err != nil {
		t.Errorf("size %d, %v; want %d", size, err, n)
	}
}

func TestControlIsOnlyForTheMountingUser(t *testing.T) {
	needRoot(t)
	mnt, _ := testMount(t, &fake{}, func(c *Config) { c.AllowOther = true })
	openParents(t, mnt)
	cmd := as(1234, "getfattr", "-n", XattrControl, mnt)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "Permission denied") {
		t.Errorf("%v: %s", err, out)
	}
}
