package integration

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend/storetest/azurite"
	"github.com/trainfs/trainfs/backend/storetest/fakegcs"
	"github.com/trainfs/trainfs/backend/storetest/minihdfs"
)

// scenarioStores are the stores that a run from the first write to the last delete is
// tried on, each a real server, or the nearest thing to one that a test can start.
var scenarioStores = map[string]func(*testing.T) *store{
	"file":   fileStore,
	"s3":     s3Store,
	"gcs":    gcsStore,
	"azure":  azureStore,
	"plugin": pluginStore,
	"hdfs":   hdfsStore,
}

func azureStore(t *testing.T) *store {
	server := azurite.Start(t)
	return &store{t: t, source: server.URL("runs/a"), env: server.Env(), raw: openRaw(t, server.URL("runs/a"), server.Env())}
}

func hdfsStore(t *testing.T) *store {
	cluster := minihdfs.Start(t)
	return &store{t: t, source: cluster.URL("runs/a"), raw: openRaw(t, cluster.URL("runs/a"), nil)}
}

func gcsStore(t *testing.T) *store {
	server := fakegcs.Start(t)
	return &store{t: t, source: server.URL("runs/a"), raw: openRaw(t, server.URL("runs/a"), nil)}
}

// pluginStore is a directory behind the plug-in for fsspec.
func pluginStore(t *testing.T) *store {
	scripts, err := filepath.Abs("../scripts")
	must(t, err)
	env := []string{"PATH=" + scripts + ":" + os.Getenv("PATH")}
	source := "plugin://fsspec/local" + t.TempDir()
	return &store{t: t, env: env, source: source, raw: openRaw(t, source, nil)}
}

// One run on every store: write, commit, watch from a second mount, restore, kill and
// resume, delete.
func TestTheWholeWayOnEveryStore(t *testing.T) {
	t.Parallel()
	for name, open := range scenarioStores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wholeWay(t, open(t))
		})
	}
}

func wholeWay(t *testing.T, s *store) {
	r := run(t, s.env, trainfs, "doctor", "--quick", "-o", "cache_dir="+t.TempDir(), s.source)
	for line := range strings.Lines(r.output) {
		if strings.Contains(line, " store ") && !strings.HasPrefix(line, "ok ") {
			t.Errorf("doctor: %s", r.output)
		}
	}
	if !strings.Contains(r.output, "ok    store    upload in parts") {
		t.Errorf("doctor: %s", r.output)
	}
	s.wantKeys()

	// However slow the machine is, a directory is finished when saveSome says so.
	writer, other := s.mount(t, "part_size=5M", "settle=1h"), s.mount(t)
	told := strings.Contains(run(t, s.env, trainfs, "status", writer.dir).output, "one may replace the other's")
	want(t, "status tells that the store cannot write only where nothing is", told, !s.raw.Capabilities().ConditionalPut)
	first, second := "exp/trial/checkpoint_000001", "exp/trial/checkpoint_000002"

	stop := watch(20*time.Millisecond, func() { wantNothingOrAll(t, other, first) })
	saveSome(t, writer, first, 1)
	writer.wait()
	eventually(t, "the other mount has it", func() bool { return exists(other.path(first, "model.pt")) })
	stop()
	s.wantSame(writer.path(first), first+"/")
	wantRestored(t, writer, other, first)
	// A kill may leave an upload that nobody has noted yet; gc's work, not this test's.
	stages, err := s.raw.ListStages(context.Background(), "")
	must(t, err)
	for _, st := range stages {
		t.Errorf("left unfinished in the store: %+v", st)
	}

	stop = watch(20*time.Millisecond, func() { wantNothingOrAll(t, other, second) })
	saveSome(t, writer, second, 2)
	eventually(t, "it is on its way", func() bool { return writer.state(second) != "dirty" })
	writer.kill()
	writer.start()
	writer.commit(second)
	writer.wait()
	eventually(t, "the other mount has it", func() bool { return exists(other.path(second, "model.pt")) })
	stop()
	s.wantSame(writer.path(second), second+"/")
	wantRestored(t, writer, other, second)

	must(t, os.RemoveAll(writer.path(first)))
	writer.wait()
	s.wantNoTraces(first)
	eventually(t, "it is gone from the other mount", func() bool { return !exists(other.path(first)) })
	s.wantSame(writer.path(second), second+"/")
	s.wantNoOpenMarkers()
}

// someSizes are one of several parts, one small one, an empty one, and names that a URL
// would have to escape.
var someSizes = map[string]int{"model.pt": 12 * mib, "optimizer state+1%.pt": 2 * mib, "empty": 0, "sub/ünï#?.json": 20}

func saveSome(t *testing.T, m *mount, dir string, seed uint64) {
	t.Helper()
	for name, size := range someSizes {
		mkdir(t, filepath.Dir(m.path(dir, name)))
		write(t, m.path(dir, name), noise(size, seed+uint64(size)))
	}
	must(t, os.Symlink("model.pt", m.path(dir, "latest.pt")))
	must(t, unix.Setxattr(m.path(dir), "user.trainfs.commit", []byte("1"), 0))
}

// wantNothingOrAll fails if a mount shows a part of what saveSome writes.
func wantNothingOrAll(t *testing.T, m *mount, dir string) {
	if !exists(m.path(dir)) {
		return
	}
	for name, size := range someSizes {
		if fi, err := os.Stat(m.path(dir, name)); err != nil || fi.Size() != int64(size) {
			t.Errorf("%s shows without all of %s: %v, %v", dir, name, fi, err)
		}
	}
}

// wantRestored fails unless another mount reads what was written.
func wantRestored(t *testing.T, writer, other *mount, dir string) {
	t.Helper()
	for name := range someSizes {
		if sum(read(t, other.path(dir, name))) != sum(read(t, writer.path(dir, name))) {
			t.Errorf("%s/%s has other bytes on the other mount", dir, name)
		}
	}
	link, err := os.Readlink(other.path(dir, "latest.pt"))
	must(t, err)
	want(t, "the link", link, "model.pt")
	fi, err := os.Stat(other.path(dir, "empty"))
	must(t, err)
	if mine, err := os.Stat(writer.path(dir, "empty")); err != nil || mine.Mode() != fi.Mode() || !mine.ModTime().Equal(fi.ModTime()) {
		t.Errorf("attributes: %v and %v, %v", fi, mine, err)
	}
	if names := strings.Join(namesIn(t, other.path(dir)), " "); names != strings.Join(namesIn(t, writer.path(dir)), " ") {
		t.Errorf("the other mount has %s", names)
	}
}

func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAMountOfABucketThatIsNotThereSaysSo(t *testing.T) {
	t.Parallel()
	s := gcsStore(t)
	m := s.unmounted(t)
	m.source = strings.Replace(m.source, "gs://bucket/", "gcs://no-such-bucket/", 1)
	r := m.tryStart()
	if r.code != 1 || !strings.Contains(r.output, `bucket "no-such-bucket" does not exist`) || exists(m.cache) {
		t.Errorf("mount: exit code %d, cache directory made: %v\n%s", r.code, exists(m.cache), r.output)
	}
	r = run(t, nil, trainfs, "doctor", "--quick", "-o", "cache_dir="+m.cache, m.source)
	if r.code != 1 || !strings.Contains(r.output, "create it, or correct the storage path") {
		t.Errorf("doctor: exit code %d\n%s", r.code, r.output)
	}
}
