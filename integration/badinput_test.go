package integration

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// within is how long a mount that cannot succeed may take to say so: seconds, and some
// dozens of them on a machine that starts forty such mounts at once.
const within = time.Minute

// badMount is a mount that must fail. change makes a good one bad.
type badMount struct {
	name   string
	s3     bool
	change func(t *testing.T, s *store, m *mount)
	says   []string // names the thing, and says what to do
	never  string   // must not be repeated
}

var badMounts = []badMount{
	// The storage path.
	{name: "malformed URL", says: []string{"storage path", "s3://bucket/path"},
		change: func(_ *testing.T, _ *store, m *mount) { m.source = "s3//bucket" }},
	{name: "no bucket", says: []string{"no bucket", "s3://bucket/path"},
		change: func(_ *testing.T, _ *store, m *mount) { m.source = "s3:///path" }},
	{name: "unknown scheme", says: []string{"unknown scheme", `"s3"`},
		change: func(_ *testing.T, _ *store, m *mount) { m.source = "s4://bucket/path" }},
	{name: "table of other paths", says: []string{"viewfs://", "hdfs://"},
		change: func(_ *testing.T, _ *store, m *mount) { m.source = "viewfs:///path" }},
	{name: "credentials in the URL", says: []string{"credentials", "AWS_ACCESS_KEY_ID"}, never: "TOPSECRET",
		change: func(_ *testing.T, _ *store, m *mount) { m.source = "s3://key:TOPSECRET@bucket/path" }},
	{name: "secret parameter in the URL", says: []string{"secret_key", "credentials"}, never: "TOPSECRET",
		change: func(_ *testing.T, _ *store, m *mount) { m.source = "s3://bucket/path?secret_key=TOPSECRET" }},
	{name: "unknown URL option", says: []string{"region"},
		change: func(_ *testing.T, _ *store, m *mount) { m.source = "s3://bucket/path?regoin=x" }},
	{name: "missing directory", says: []string{"nowhere"},
		change: func(_ *testing.T, _ *store, m *mount) { m.source += "/nowhere" }},
	{name: "a file for a directory", says: []string{"plain", "directory"},
		change: func(t *testing.T, _ *store, m *mount) { m.source += "/plain"; write(t, m.source, "") }},

	// The S3 server.
	{name: "missing bucket", s3: true, says: []string{"nobucket", "bucket"},
		change: func(_ *testing.T, _ *store, m *mount) {
			m.source = strings.Replace(m.source, "s3://bucket/", "s3://nobucket/", 1)
		}},
	{name: "no credentials", s3: true, says: []string{"credentials", "AWS_ACCESS_KEY_ID"},
		change: func(_ *testing.T, _ *store, m *mount) { m.env = nil }},
	{name: "wrong key id", s3: true, says: []string{"access denied", "access key"},
		change: func(_ *testing.T, _ *store, m *mount) { m.env = append(m.env, "AWS_ACCESS_KEY_ID=nobody") }},
	{name: "wrong secret", s3: true, says: []string{"access denied", "credentials"}, never: "TOPSECRET",
		change: func(_ *testing.T, _ *store, m *mount) { m.env = append(m.env, "AWS_SECRET_ACCESS_KEY=TOPSECRET") }},
	{name: "wrong region", s3: true, says: []string{"region"},
		change: func(_ *testing.T, _ *store, m *mount) { m.source += "&region=eu-west-9" }},
	{name: "nobody listens", s3: true, says: []string{"127.0.0.1:", "endpoint"},
		change: func(t *testing.T, s *store, m *mount) { s.server.Stop(); m.source = s.server.URL("runs/a") }},
	{name: "server never answers", s3: true, says: []string{"endpoint"},
		change: func(t *testing.T, s *store, m *mount) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			t.Cleanup(func() { l.Close() })
			m.source = "s3://bucket/a?endpoint_override=http://" + l.Addr().String()
			m.options = append(m.options, "store_timeout=2s")
		}},

	// The mount point.
	{name: "mount point missing", says: []string{"mount point", "mkdir"},
		change: func(t *testing.T, _ *store, m *mount) { must(t, os.Remove(m.dir)) }},
	{name: "mount point is a file", says: []string{"mount point", "not a directory"},
		change: func(t *testing.T, _ *store, m *mount) { must(t, os.Remove(m.dir)); write(t, m.dir, "") }},
	{name: "mount point inside the store", says: []string{"overlap"},
		change: func(t *testing.T, _ *store, m *mount) { m.dir = mkdir(t, filepath.Join(m.source, "mnt")) }},

	// The cache directory.
	{name: "cache of another storage path", says: []string{"cache", "another"},
		change: func(t *testing.T, _ *store, m *mount) {
			other := fileStore(t).unmounted(t)
			other.cache = m.cache
			other.start()
			other.umount()
		}},
	{name: "foreign content in the cache", says: []string{"cache", "precious"},
		change: func(t *testing.T, _ *store, m *mount) {
			write(t, filepath.Join(mkdir(t, m.cache), "precious"), "data")
			must(t, os.Chmod(m.cache, 0o700))
		}},
	{name: "cache in use", says: []string{"cache", "another trainfs", "cache_dir"},
		change: func(t *testing.T, s *store, m *mount) { other := s.mount(t); m.cache = other.cache }},
	{name: "cache of another user", says: []string{"cache", "owne"},
		change: func(t *testing.T, _ *store, m *mount) {
			must(t, os.Chown(mkdir(t, m.cache), 1234, 1234))
		}},
	{name: "cache open to others", says: []string{"cache", "open to others"},
		change: func(t *testing.T, _ *store, m *mount) {
			write(t, filepath.Join(mkdir(t, m.cache), "precious"), "data")
			must(t, os.Chmod(m.cache, 0o777))
		}},
	{name: "cache on a read-only disk", says: []string{"cache", "read-only"},
		change: func(t *testing.T, _ *store, m *mount) {
			disk := tmpfs(t, "size=1m")
			wantRun(t, nil, "mount", "-o", "remount,ro", disk)
			m.cache = filepath.Join(disk, "cache")
		}},
	{name: "cache on a full disk", says: []string{"cache", "space"},
		change: func(t *testing.T, _ *store, m *mount) {
			disk := tmpfs(t, "size=64k")
			_ = os.WriteFile(filepath.Join(disk, "filler"), make([]byte, 1<<20), 0o600)
			m.cache = filepath.Join(disk, "cache")
		}},
	{name: "cache is a file", says: []string{"cache", "directory"},
		change: func(t *testing.T, _ *store, m *mount) { write(t, m.cache, "") }},
	{name: "cache inside the mount point", says: []string{"overlap"},
		change: func(_ *testing.T, _ *store, m *mount) { m.cache = filepath.Join(m.dir, "cache") }},

	// Options.
	{name: "unknown option", says: []string{"setle", `"settle"`},
		change: func(_ *testing.T, _ *store, m *mount) { m.options = append(m.options, "setle=3s") }},
	{name: "contradictory options", says: []string{"ro", "commit=close", "contradict"},
		change: func(_ *testing.T, _ *store, m *mount) { m.options = append(m.options, "ro", "commit=close") }},
	{name: "value out of range", says: []string{"settle=1ms", "100ms", "1h"},
		change: func(_ *testing.T, _ *store, m *mount) { m.options = append(m.options, "settle=1ms") }},
	{name: "value that is none", says: []string{"part_size=lots", "16M"},
		change: func(_ *testing.T, _ *store, m *mount) { m.options = append(m.options, "part_size=lots") }},
	{name: "impossible pattern", says: []string{"checkpoint=[", "glob"},
		change: func(_ *testing.T, _ *store, m *mount) { m.options = append(m.options, "checkpoint=[") }},
	{name: "remount", says: []string{"remount", "umount"},
		change: func(_ *testing.T, _ *store, m *mount) { m.options = append(m.options, "remount") }},
}

func tmpfs(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	wantRun(t, nil, "mount", "-t", "tmpfs", "-o", options, "none", dir)
	t.Cleanup(func() { wantRun(t, nil, "umount", dir) })
	return dir
}

func TestBadMountTellsWhatToDoAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, bad := range badMounts {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			s := (*store)(nil)
			if bad.s3 {
				s = s3Store(t)
			} else {
				s = fileStore(t)
			}
			m := s.unmounted(t)
			bad.change(t, s, m)
			fresh := !exists(m.cache)

			r := m.tryStart()
			if r.code == 0 {
				t.Fatal("it was mounted")
			}
			for _, says := range bad.says {
				if !strings.Contains(strings.ToLower(r.output), strings.ToLower(says)) {
					t.Errorf("the message does not say %q:\n%s", says, r.output)
				}
			}
			if bad.never != "" && strings.Contains(r.output, bad.never) {
				t.Errorf("the message repeats a secret:\n%s", r.output)
			}
			if strings.Contains(r.output, "goroutine ") {
				t.Errorf("it crashed:\n%s", r.output)
			}
			if r.took > within {
				t.Errorf("it took %s", r.took)
			}
			want(t, "mounted", isMounted(m.dir), false)
			want(t, "a new cache directory was left", fresh && exists(m.cache), false)
			for path := range tree(t, m.cache) {
				if path != "precious" && exists(filepath.Join(m.cache, "precious")) {
					t.Errorf("left in somebody else's directory: %s", path)
				}
			}
			if pid := daemonOf(t, m.dir); pid != 0 {
				t.Errorf("a daemon was left: %d", pid)
			}
		})
	}
}

// daemonOf finds a process that was told to mount at dir.
func daemonOf(t *testing.T, dir string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err == nil && strings.HasSuffix(string(b), "\x00"+dir+"\x00") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

func TestMountPointThatIsNotEmptyIsAWarning(t *testing.T) {
	t.Parallel()
	m := fileStore(t).unmounted(t)
	write(t, filepath.Join(m.dir, "hidden"), "")
	r := m.tryStart()
	if r.code != 0 || !strings.Contains(r.output, "not empty") {
		t.Errorf("exit code %d\n%s", r.code, r.output)
	}
	want(t, "it shows through", exists(m.path("hidden")), false)
}

func TestMountingTwiceIsRefused(t *testing.T) {
	t.Parallel()
	m := fileStore(t).mount(t)
	again := *m
	again.cache += "2"
	r := again.tryStart()
	if r.code == 0 || !strings.Contains(r.output, "already") || !strings.Contains(r.output, "umount") {
		t.Errorf("exit code %d\n%s", r.code, r.output)
	}
	want(t, "the first one works", len(names(t, m.dir)), 0)
}

func TestStaleMountIsToldAndCleanedUpByTheNext(t *testing.T) {
	t.Parallel()
	m := fileStore(t).mount(t)
	write(t, m.path("f"), "content")
	m.kill()
	r := run(t, nil, trainfs, "status", m.dir)
	if r.code == 0 || !strings.Contains(r.output, "stale") {
		t.Errorf("status: exit code %d\n%s", r.code, r.output)
	}
	r = m.tryStart()
	if r.code != 0 || !strings.Contains(r.output, "stale") {
		t.Errorf("mount: exit code %d\n%s", r.code, r.output)
	}
	want(t, "content", read(t, m.path("f")), "content")
	m.umount()
	want(t, "a mount is left below", isMounted(m.dir), false)
}

func TestCommandsOnWhatIsNoMountSaySo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, args := range [][]string{{"umount", dir}, {"status", dir}, {"wait", dir}, {"commit", dir}, {"stauts"}, {"wait"}} {
		r := run(t, nil, trainfs, args...)
		if r.code == 0 || r.output == "" {
			t.Errorf("%q: exit code %d\n%s", args, r.code, r.output)
		}
	}
}

func TestNoSecretIsToldAnywhere(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	m := s.mount(t, "log_level=debug", "debug")
	write(t, m.path("f"), "content")
	m.wait()
	s.server.Stop() // errors are told at length
	write(t, m.path("g"), "content")
	eventually(t, "an error", func() bool { return !m.status().StoreReachable })
	cmdline := read(t, "/proc/"+strconv.Itoa(m.status().PID)+"/cmdline")
	for what, text := range map[string]string{
		"log": m.log(), "process title": cmdline,
		"status":        run(t, m.env, trainfs, "status", m.dir).output,
		"status --json": run(t, m.env, trainfs, "status", "--json", m.dir).output,
	} {
		if strings.Contains(text, s.server.SecretKey) {
			t.Errorf("the %s tells the secret", what)
		}
		if text == "" {
			t.Errorf("the %s is empty", what)
		}
	}
	for path, content := range tree(t, m.cache) {
		if strings.Contains(content, s.server.SecretKey) {
			t.Errorf("%s in the cache directory holds the secret", path)
		}
	}
	s.server.Restart()
}
