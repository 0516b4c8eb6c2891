package integration

import (
	"testing"

	"golang.org/x/sys/unix"
)

// P2: what cannot be done all or nothing is refused.
func TestExchangeIsOfFilesOnly(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	m := s.mount(t)
	mkdir(t, m.path("run"))
	write(t, m.path("run/a"), "a")
	write(t, m.path("run/b"), "b")
	m.wait()
	must(t, unix.Renameat2(unix.AT_FDCWD, m.path("run/a"), unix.AT_FDCWD, m.path("run/b"), unix.RENAME_EXCHANGE))
	write(t, mkdir(t, m.path("dir"))+"/f", "f")
	err := unix.Renameat2(unix.AT_FDCWD, m.path("run"), unix.AT_FDCWD, m.path("dir"), unix.RENAME_EXCHANGE)
	want[error](t, "exchange of directories", err, unix.EINVAL)
	m.wait()
	a, _ := s.get("run/a")
	b, _ := s.get("run/b")
	want(t, "a and b", a+b, "ba")
	s.wantKeys("dir/f", "run/a", "run/b")
}
