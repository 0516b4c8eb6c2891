package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const insideEnv = "TRAINFS_TEST_INSIDE"

// inside runs the test again in a mount namespace of its own, where it really mounts:
// nobody who makes a namespace meanwhile takes a copy of the mount along, which would keep
// it alive. Only in there it tells true.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v="+map[bool]string{true: "true", false: "false"}[testing.Verbose()], "-test.timeout=2m")
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig is about the thread
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

// realMount serves a real mount in this process until the test ends.
type realMount struct {
	dir, cache string
	stop       func() error
}

func startMount(t *testing.T, store, options string) *realMount {
	t.Helper()
	base := t.TempDir()
	m := &realMount{dir: filepath.Join(base, "mnt"), cache: filepath.Join(base, "cache")}
	if err := os.Mkdir(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	r := &mountRequest{source: store, mountPoint: m.dir, options: []string{"settle=100ms,cache_dir=" + m.cache, options}}
	c, _, err := r.resolved(testEnviron(nil, 0, "/root"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := buildParts(t.Context(), c, quietLog())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended, ready := make(chan error, 1), make(chan struct{})
	s := &session{cfg: c, log: quietLog(), parts: p}
	go func() { ended <- s.run(ctx, func() error { close(ready); return nil }) }()
	m.stop = func() error {
		stop()
		m.stop = func() error { return nil }
		return <-ended
	}
	t.Cleanup(func() {
		if err := m.stop(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	return m
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func quietly() transferOptions { return transferOptions{quiet: true, errs: os.Stderr} }

// verifyPath gives what verify prints, and its error.
func verifyPath(t *testing.T, path string) (string, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	verr := (&verification{out: out}).run(t.Context(), []string{path}, quietly())
	b, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(b), verr
}

func TestCacheCommandsOnARealMount(t *testing.T) {
	if !inside(t) {
		return
	}
	store := t.TempDir()
	m := startMount(t, store, "cache_size=64M")
	ckpt := filepath.Join(m.dir, "run/checkpoint_000001")
	writeFile(t, ckpt+"/model.pt", strings.Repeat("model", 1<<20))
	writeFile(t, ckpt+"/optim.pt", "optim")
	writeFile(t, filepath.Join(m.dir, "run/notes.txt"), "notes")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := waitFor(ctx, []string{m.dir}, waitOptions{quiet: true}); err != nil {
		t.Fatal(err)
	}
	client := newControlClient(m.cache)
	a, err := client.cache(ctx)
	if err != nil || a.Limit != 64<<20 || len(a.Units) != 2 || a.Units[0].Path != "run/checkpoint_000001" || a.Used < 5<<20 {
		t.Fatalf("%+v, %v", a, err)
	}

	open, err := os.Open(filepath.Join(m.dir, "run/notes.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := evictPaths(ctx, []string{m.dir}, true, &out); err != nil {
		t.Error(err)
	}
	var evicted evictAnswer
	if err := json.Unmarshal(out.Bytes(), &evicted); err != nil || evicted.Freed < 5<<20 || len(evicted.Kept) != 1 || !strings.HasPrefix(evicted.Kept[0], m.dir+"/run/notes.txt: open") {
		t.Errorf("%s, %v", out.String(), err)
	}
	if err := evictPaths(ctx, []string{m.dir}, false, &out); err == nil || exitCode(err) != exitFailure {
		t.Errorf("nothing went, and yet %v", err)
	}
	open.Close()

	before, err := client.status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := verifyPath(t, m.dir); err != nil || !strings.HasPrefix(text, "3 files: 3 ok") {
		t.Errorf("%q, %v", text, err)
	}
	if after, err := client.status(ctx); err != nil || after.CacheBytes > before.CacheBytes || after.BytesFetched != before.BytesFetched {
		t.Errorf("verify filled the cache: %+v, %v", after, err)
	}

	if err := prefetchPaths(ctx, []string{m.dir}, quietly()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(m.cache, "tree/run/checkpoint_000001/model.pt")); err != nil {
		t.Error(err)
	}

	// What goes wrong in the store is found, also where the mount shows nothing any more.
	model := filepath.Join(store, "run/checkpoint_000001/model.pt")
	f, err := os.OpenFile(model, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("X"), 1000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Remove(filepath.Join(store, "run/checkpoint_000001/optim.pt")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(store, "run/checkpoint_000001/visitor"), "hello")
	text, err := verifyPath(t, ckpt)
	if err == nil || exitCode(err) != exitFailure {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"mismatch    " + ckpt + "/model.pt: expected", "missing     " + ckpt + "/optim.pt", "extra       " + ckpt + "/visitor"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if err := evictPaths(ctx, []string{ckpt}, false, &out); err != nil {
		t.Error(err)
	}
	if text, err := verifyPath(t, ckpt+"/optim.pt"); err == nil || !strings.HasPrefix(text, "missing ") {
		t.Errorf("%q, %v", text, err)
	}
}

func TestPrefetchOfMoreThanTheCacheHoldsIsAnError(t *testing.T) {
	if !inside(t) {
		return
	}
	store := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		writeFile(t, filepath.Join(store, "data", name), strings.Repeat(name, 5<<20))
	}
	m := startMount(t, store, "cache_size=8M")
	if err := prefetchPaths(t.Context(), []string{m.dir}, quietly()); err == nil || !strings.Contains(err.Error(), "cache_size is 8.0 MiB") {
		t.Errorf("%v", err)
	}
	if err := prefetchPaths(t.Context(), []string{m.dir + "/data/a"}, quietly()); err != nil {
		t.Error(err)
	}
}

// Issue 3, 5: a read-only mount needs no more than to read, and writes nothing.
func TestReadOnlyMountOfAStoreThatCannotBeWritten(t *testing.T) {
	if !inside(t) {
		return
	}
	store := t.TempDir()
	rw := startMount(t, store, "")
	ckpt := "run/checkpoint_000001"
	writeFile(t, filepath.Join(rw.dir, ckpt, "model.pt"), "model")
	writeFile(t, filepath.Join(rw.dir, "run/notes.txt"), "notes")
	if err := waitFor(t.Context(), []string{rw.dir}, waitOptions{quiet: true}); err != nil {
		t.Fatal(err)
	}
	if err := rw.stop(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(store, store, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(store, unix.MNT_DETACH)
	if err := unix.Mount("", store, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	m := startMount(t, store, "ro")
	if b, err := os.ReadFile(filepath.Join(m.dir, ckpt, "model.pt")); err != nil || string(b) != "model" {
		t.Errorf("%q, %v", b, err)
	}
	notes := filepath.Join(m.dir, "run/notes.txt")
	for what, err := range map[string]error{
		"create":   os.WriteFile(filepath.Join(m.dir, "run/new"), nil, 0o644),
		"write":    os.WriteFile(notes, nil, 0o644),
		"mkdir":    os.Mkdir(filepath.Join(m.dir, "run/checkpoint_000002"), 0o755),
		"unlink":   os.Remove(notes),
		"rename":   os.Rename(notes, notes+"2"),
		"chmod":    os.Chmod(notes, 0o600),
		"truncate": os.Truncate(notes, 0),
		"symlink":  os.Symlink("a", filepath.Join(m.dir, "run/link")),
	} {
		if !errors.Is(err, unix.EROFS) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := commitPaths(t.Context(), []string{m.dir}); err != nil {
		t.Error(err)
	}
	if err := waitFor(t.Context(), []string{m.dir}, waitOptions{quiet: true}); err != nil {
		t.Error(err)
	}
	if text, err := verifyPath(t, m.dir); err != nil || !strings.HasPrefix(text, "2 files: 2 ok") {
		t.Errorf("%q, %v", text, err)
	}
	if err := prefetchPaths(t.Context(), []string{m.dir}, quietly()); err != nil {
		t.Error(err)
	}
	if st, err := newControlClient(m.cache).status(t.Context()); err != nil || !st.ReadOnly || !st.StoreReachable {
		t.Errorf("%+v, %v", st, err)
	}
	if err := m.stop(); err != nil {
		t.Error(err)
	}
}
