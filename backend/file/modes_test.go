package file_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

// setUmask is for the whole process: a test that calls it is not parallel.
func setUmask(t *testing.T, mask int) {
	t.Helper()
	old := unix.Umask(mask)
	t.Cleanup(func() { unix.Umask(old) })
}

// wantModes checks the permission bits of what dir has, but for its .parts files.
func wantModes(t *testing.T, dir string, dirMode, fileMode fs.FileMode) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir || filepath.Ext(path) == ".parts" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fileMode
		if d.IsDir() {
			want = dirMode
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s is %v, want %v", path, info.Mode(), want)
		}
		return nil
	}))
}

// The daemon runs with umask 0.
func TestWhatHasNoModeIsSharedAsTheRootIs(t *testing.T) {
	setUmask(t, 0)
	for _, c := range []struct{ root, dir, file fs.FileMode }{
		{0o700, 0o700, 0o600},
		{0o755, 0o755, 0o644},
		{0o775, 0o775, 0o664},
		{0o750, 0o750, 0o640},
		{0o777, 0o777, 0o666},
		{0o077, 0o777, 0o666}, // its maker can always go on
	} {
		t.Run(c.root.String(), func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.Chmod(dir, c.root))
			if os.Geteuid() != 0 && c.root&0o700 != 0o700 {
				t.Skip("the directory would be closed to this test")
			}
			s := open(t, dir)
			defer s.Close()
			put(t, s, "exp/sub/plain", "x")
			put(t, s, "exp/marker/", "")
			put(t, s, ".trainfs/v1/units/exp/n.json", "{}")
			_, err := s.Copy(t.Context(), "exp/sub/plain", "exp/copies/plain", backend.PutOptions{})
			must(t, err)
			_, err = s.BeginStage(t.Context(), "exp/staged", 10, 10, backend.Attr{})
			must(t, err)
			wantModes(t, dir, c.dir, c.file)

			st, err := s.BeginStage(t.Context(), "private", 10, 10, backend.Attr{Mode: 0o666})
			must(t, err)
			info, err := os.Stat(filepath.Join(dir, ".trainfs/v1/staging", st.ID+".data"))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("before its mode is set a stage is %v, %v", info.Mode(), err)
			}
		})
	}
}

func TestAModeThatIsGivenIsNotTheRoots(t *testing.T) {
	setUmask(t, 0)
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	s := open(t, dir)
	defer s.Close()
	for key, mode := range map[string]uint32{"f": 0o646, "d/": 0o757} {
		_, err := s.Put(t.Context(), key, content(""), backend.PutOptions{Attr: backend.Attr{
			Mode: mode, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}})
		must(t, err)
		if obj, err := s.Head(t.Context(), key); err != nil || obj.Attr.Mode != mode {
			t.Errorf("%s: %o, %v, want %o", key, obj.Attr.Mode, err, mode)
		}
	}
}

func TestTheRootsGroupHasAPartInWhatIsMade(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: only it may give a directory to any group")
	}
	setUmask(t, 0)
	const group = 54321
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o770))
	must(t, os.Chown(dir, -1, group))
	s := open(t, dir)
	defer s.Close()
	put(t, s, "exp/plain", "x")
	put(t, s, "exp/marker/", "")
	for _, name := range []string{"exp", "exp/plain", "exp/marker", ".trainfs", ".trainfs/v1/staging"} {
		var st unix.Stat_t
		must(t, unix.Stat(filepath.Join(dir, name), &st))
		if st.Gid != group {
			t.Errorf("%s belongs to group %d", name, st.Gid)
		}
	}
}

func TestHeadOfADirectoryTellsItsRealMode(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o700))
	must(t, os.Chmod(filepath.Join(dir, "d"), 0o751))
	s := open(t, dir)
	put(t, s, "d/f", "x")
	obj, err := s.Head(t.Context(), "d/")
	if err != nil || obj.Attr.Type != backend.Directory || obj.Attr.Mode != 0o751 || obj.Size != 0 {
		t.Errorf("%+v, %v", obj, err)
	}
}
