package integration

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

const badName = "caf\xe9" // Latin-1

// P5: what can never be uploaded is refused to the program that makes it. It would be
// waited for without end.
func TestNameThatNoKeyCanHaveIsRefused(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	m := s.mount(t)
	mkdir(t, m.path("checkpoint_000001"))
	good, bad := m.path("checkpoint_000001", "good"), m.path("checkpoint_000001", badName)
	write(t, good, "good")
	for what, do := range map[string]func() error{
		"create":                     func() error { return os.WriteFile(bad, nil, 0o644) },
		"mkdir":                      func() error { return os.Mkdir(bad, 0o755) },
		"mkfifo":                     func() error { return unix.Mkfifo(bad, 0o644) },
		"symlink":                    func() error { return os.Symlink("good", bad) },
		"symlink to such a name":     func() error { return os.Symlink(badName, m.path("checkpoint_000001", "link")) },
		"link":                       func() error { return os.Link(good, bad) },
		"rename":                     func() error { return os.Rename(good, bad) },
		"rename of a directory":      func() error { return os.Rename(m.path("checkpoint_000001"), m.path(badName)) },
		"rename, not to replace any": func() error { return unix.Renameat2(unix.AT_FDCWD, good, unix.AT_FDCWD, bad, unix.RENAME_NOREPLACE) },
	} {
		if err := do(); !errors.Is(err, unix.EILSEQ) {
			t.Errorf("%s: %v, want EILSEQ", what, err)
		}
		if _, err := os.Lstat(bad); !os.IsNotExist(err) {
			t.Errorf("%s: lstat: %v", what, err)
		}
	}
	m.umount()
	s.wantKeys("checkpoint_000001/good")
}

// A cache directory of before that, or a person, may have such names.
func TestNameThatNoKeyCanHaveIsNamedAndCanBeRenamed(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	m := s.mount(t)
	m.umount()
	write(t, filepath.Join(m.cache, "tree", badName), "content")
	m.start()
	eventually(t, "status says why it stays", func() bool {
		_, reason := m.unit("caf\ufffd") // as JSON has it
		return reason != ""
	})
	must(t, os.Rename(m.path(badName), m.path("café")))
	m.umount()
	content, _ := s.get("café")
	want(t, "content", content, "content")
	s.wantKeys("café")
}
