package integration

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// keyOf is the value of a variable that the environment of a store's clients has.
func keyOf(t *testing.T, env []string, name string) string {
	t.Helper()
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, name+"="); ok && len(value) > 5 {
			return value
		}
	}
	t.Fatalf("no %s in %q", name, env)
	return ""
}

// Whoever may read the log, the status, the process table or the cache directory does not
// get the keys of the store with it, whether the store takes them or not.
func TestSecretKeyIsNowhereToBeRead(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	const refused = "NotTheKeyOfThisStore"
	good := s.unmounted(t, "log_level=debug")
	bad := s.unmounted(t, "log_level=debug")
	bad.env = append(append([]string{}, s.env...), "AWS_SECRET_ACCESS_KEY="+refused)
	secrets := []string{keyOf(t, s.env, "AWS_SECRET_ACCESS_KEY"), refused}
	never := func(where, text string) {
		t.Helper()
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s has the secret key", where)
			}
		}
	}

	good.start()
	write(t, filepath.Join(mkdir(t, good.path("run/checkpoint_000001")), "model.pt"), noise(1000, 1))
	good.wait()
	never("what a refused mount prints", bad.tryStart().output)
	for _, args := range [][]string{
		{"status", good.dir}, {"status", "--json", good.dir}, {"mounts"}, {"verify", good.dir}, {"doctor", good.source}, {"wait", good.dir},
	} {
		never(strings.Join(args, " "), run(t, good.env, trainfs, args...).output)
	}
	never("the list of mounts", read(t, "/proc/self/mountinfo"))
	never("the command line of the daemon", read(t, filepath.Join("/proc", strconv.Itoa(daemonOf(t, good.dir)), "cmdline")))
	good.umount()
	for _, dir := range []string{good.cache, bad.cache, s.dir} {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				b, _ := os.ReadFile(path)
				never(path, path+string(b))
			}
			return nil
		})
	}
	if !strings.Contains(good.log(), "msg=committed") {
		t.Errorf("nothing was logged:\n%s", good.log())
	}
}

// Without allow_other a mount is its user's alone, and so is a cache directory in any case.
func TestOtherUsersAreDenied(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	for option, listed := range map[string]bool{"": false, "allow_other": true} {
		m := s.unmounted(t)
		if option != "" {
			m.options = append(m.options, option)
		}
		m.start()
		write(t, m.path("f"), "content")
		must(t, os.Chmod(m.path("f"), 0o644))
		for dir := m.dir; dir != os.Getenv("TMPDIR"); dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		r := runAs(t, 1234, "cat", m.path("f"))
		want(t, "another user can read a file of mode 0644 with options "+option, r.code == 0, listed)
		if r := runAs(t, 1234, "sh", "-c", "echo x > $0/f || rm -f $0/f || touch $0/g", m.dir); r.code == 0 {
			t.Errorf("%q: another user could write where only root may", option)
		}
		want(t, "content", read(t, m.path("f")), "content")
		for _, path := range []string{m.cache, filepath.Join(m.cache, "tree"), filepath.Join(m.cache, "tree/f"), filepath.Join(m.cache, "trainfs.log")} {
			if r := runAs(t, 1234, "ls", path+"/."); r.code == 0 {
				t.Errorf("another user could list %s", path)
			}
			if r := runAs(t, 1234, "cat", path); r.code == 0 {
				t.Errorf("another user could read %s", path)
			}
		}
	}
}
