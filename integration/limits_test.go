package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// P7: a daemon that may open no more files tells the program so, and goes on once it may.
func TestDaemonWithoutFileDescriptorsRefusesAndGoesOn(t *testing.T) {
	t.Parallel()
	const limit = 96
	s := s3Store(t)
	m := s.unmounted(t)
	script := filepath.Join(filepath.Dir(m.cache), "trainfs")
	must(t, os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", limit, trainfs), 0o700))
	m.program = script
	m.start()
	dir := mkdir(t, m.path("run/checkpoint_000001"))
	write(t, filepath.Join(dir, "first"), "content")
	var files []*os.File
	refused := 0
	for i := range 3 * limit {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("f%03d", i)))
		switch {
		case err == nil:
			files = append(files, f)
		case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
			refused++
		default:
			t.Fatalf("create number %d: %v", i, err)
		}
	}
	if refused == 0 {
		t.Errorf("%d files are open with %d descriptors", len(files), limit)
	}
	for i, f := range files {
		if _, err := f.WriteString(noise(10000, uint64(i))); err != nil {
			t.Errorf("write to %s: %v", f.Name(), err)
		}
	}
	for _, f := range files {
		must(t, f.Close())
	}
	// The kernel lets go of files a moment after their close.
	eventually(t, "what was there can be read", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "first"))
		return err == nil && string(b) == "content"
	})
	eventually(t, "there can be more", func() bool { return os.WriteFile(filepath.Join(dir, "last"), []byte("content"), 0o644) == nil })
	m.wait()
	s.wantSame(m.dir, "")
}

// memoryGroup makes a control group whose processes may have so many bytes together.
func memoryGroup(t *testing.T, name string, bytes int) (procs string) {
	t.Helper()
	for _, g := range []struct{ root, limit string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"}, {"/sys/fs/cgroup", "memory.max"},
	} {
		dir := filepath.Join(g.root, name)
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { eventually(t, "the group is gone", func() bool { return os.Remove(dir) == nil }) })
		procs := filepath.Join(dir, "cgroup.procs")
		if os.WriteFile(filepath.Join(dir, g.limit), fmt.Append(nil, bytes), 0) == nil &&
			run(t, nil, "sh", "-c", "echo $$ > "+procs).code == 0 {
			return procs
		}
	}
	t.Skip("no control groups for memory can be made here")
	return ""
}

// A daemon that may have little memory is not killed for uploading and fetching a file that is
// larger. (One that is killed loses nothing: that is TestNothingIsLost….)
func TestDaemonWithLittleMemory(t *testing.T) {
	if os.Getenv("TRAINFS_TEST_FULL") == "" {
		t.Skip("make acceptance runs it")
	}
	t.Parallel()
	const limit, size = 256 * mib, 320 * mib // the race detector multiplies what the program needs
	procs := memoryGroup(t, fmt.Sprintf("trainfs-test-%d", os.Getpid()), limit)
	s := s3Store(t)
	m := s.unmounted(t)
	script := filepath.Join(filepath.Dir(m.cache), "trainfs")
	must(t, os.WriteFile(script, fmt.Appendf(nil, "#!/bin/sh\necho $$ > %s && exec %s \"$@\"\n", procs, trainfs), 0o700))
	m.program = script
	m.start()
	d := m.daemon()
	if !slices.Contains(strings.Fields(read(t, procs)), fmt.Sprint(d.pid)) {
		t.Fatal("the daemon is not in its group")
	}
	content := strings.Repeat(noise(mib, 1), size/mib)
	write(t, filepath.Join(mkdir(t, m.path("run/checkpoint_000001")), "model.pt"), content)
	m.wait()
	if r := run(t, nil, trainfs, "evict", m.path("run")); r.code != 0 {
		t.Error(r.output)
	}
	want(t, "content", sum(read(t, m.path("run/checkpoint_000001/model.pt"))), sum(content))
	want(t, "the daemon has died", d.ended(), false)
}
