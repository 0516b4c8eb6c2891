package integration

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

const mib = 1 << 20

// patience is how long anything may take that has no time of its own: what hangs is found,
// and a machine that has other work too is not taken for it.
const patience = 2 * time.Minute

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	must(t, os.MkdirAll(path, 0o755))
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// tree reads every file below dir, which need not exist; of a symlink its target.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	if !exists(dir) {
		return files
	}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, dir+"/")
		switch {
		case err != nil || d.IsDir():
		case d.Type() == fs.ModeSymlink:
			files[rel], err = os.Readlink(path)
		case d.Type().IsRegular():
			var b []byte
			b, err = os.ReadFile(path)
			files[rel] = string(b)
		}
		return err
	}))
	return files
}

// names lists a directory; a missing one is empty.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	must(t, err)
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// noise is content that does not compress, and differs by seed.
func noise(bytes int, seed uint64) string {
	b := make([]byte, bytes)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i+8 <= len(b); i += 8 {
		v := r.Uint64()
		for j := range 8 {
			b[i+j] = byte(v >> (8 * j))
		}
	}
	return string(b)
}

func contentOf(s string) backend.Content {
	return backend.Content{R: bytes.NewReader([]byte(s)), Size: int64(len(s)), CRC32C: crc32c.Checksum([]byte(s))}
}

// quick fails if f waits for a store that does not answer: far longer than a local file
// system takes, on a busy machine too.
func quick(t *testing.T, what string, f func()) {
	t.Helper()
	const most = 30 * time.Second
	start := time.Now()
	f()
	if took := time.Since(start); took > most {
		t.Errorf("%s took %s", what, took.Round(time.Millisecond))
	}
}

// want fails unless got is as it should be.
func want[T comparable](t *testing.T, what string, got, should T) {
	t.Helper()
	if got != should {
		t.Errorf("%s: got %v, want %v", what, got, should)
	}
}

// fileStat is stat(2)'s answer.
type fileStat struct{ syscall.Stat_t }

func (s fileStat) FileMode() os.FileMode { return os.FileMode(s.Mode & 0o777) }

// stat does not follow symlinks.
func stat(t *testing.T, path string) (st fileStat) {
	t.Helper()
	must(t, syscall.Lstat(path, &st.Stat_t))
	return st
}

// printed keeps what a program prints, to be looked at while it runs.
type printed struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *printed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *printed) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}
