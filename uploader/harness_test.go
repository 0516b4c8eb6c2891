package uploader

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"sort"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
)

// A Badger that could not be opened leaves some behind; one that was not closed would leave
// our journal's writer as well.
func TestMain(m *testing.M) {
	var left []goleak.Option
	for _, name := range []string{"badger/v4.(*DB).monitorCache", "badger/v4/y.(*WaterMark).process", "ristretto/v2/z.(*AllocatorPool).freeupAllocators", "badger/v4.(*DB).updateSize"} {
		left = append(left, goleak.IgnoreTopFunction("github.com/dgraph-io/"+name))
	}
	goleak.VerifyTestMain(m, left...)
}

// patience is how long a test waits for what is sure to come, beside others on a busy machine.
const patience = time.Minute

// node is one mount without the kernel: a cache and its uploader.
type node struct {
	*cache.Cache
	t    tester
	up   *Uploader
	cfg  cache.Config
	stop context.CancelFunc
	done chan struct{}
}

// tester is who is told of failures: a test, or a step of one that rapid has drawn.
type tester interface {
	Helper()
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newFaulty() *faulty.Store { return faulty.New(mem.New()) }

func startNode(t testing.TB, s backend.Store, change ...func(*cache.Config)) *node {
	t.Helper()
	names, err := layout.New(layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	cfg := cache.Config{
		Dir: t.TempDir() + "/cache", Source: "mem:", Store: s, Layout: names, SyncArtifacts: true,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
		Settle: 100 * time.Millisecond, SyncPeriod: 200 * time.Millisecond, ListTTL: time.Millisecond,
		CreateTTL: time.Nanosecond, // none: a look that takes long on a loaded machine is remembered for no longer
	}
	for _, f := range change {
		f(&cfg)
	}
	n := &node{t: t, cfg: cfg}
	n.start()
	t.Cleanup(n.close)
	return n
}

func (n *node) start() {
	n.t.Helper()
	c, err := cache.Open(context.Background(), n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.Cache, n.stop, n.done = c, cancel, make(chan struct{})
	n.up = New(c, Config{PartSize: 1 << 20, Logger: n.cfg.Logger, Hold: time.Minute})
	go func() { n.up.Run(ctx); close(n.done) }()
}

func (n *node) close() {
	if n.Cache == nil {
		return
	}
	n.stop()
	<-n.done
	if err := n.Cache.Close(); err != nil {
		n.t.Error(err)
	}
	n.Cache = nil
}

func (n *node) restart() {
	n.close()
	n.start()
}

var ctx = context.Background()

func (n *node) mkdir(path string) {
	n.t.Helper()
	if _, err := n.Mkdir(ctx, path, 0o755, cache.Owner{}); err != nil {
		n.t.Fatalf("mkdir %s: %v", path, err)
	}
}

// open opens for writing, as open(O_CREAT|O_TRUNC) through the kernel does.
func (n *node) open(path string) *cache.Handle {
	n.t.Helper()
	var h *cache.Handle
	_, err := n.Lookup(ctx, path)
	if err == nil {
		h, err = n.Open(ctx, path, unix.O_RDWR|unix.O_TRUNC)
	} else {
		h, _, err = n.Create(ctx, path, unix.O_RDWR, 0o644, cache.Owner{})
	}
	if err != nil {
		n.t.Fatalf("open %s: %v", path, err)
	}
	return h
}

func (n *node) closeHandle(h *cache.Handle) {
	n.t.Helper()
	if err := h.Flush(ctx); err != nil {
		n.t.Fatalf("close %s: %v", h.Path(), err)
	}
	h.File().Close()
	h.Released()
}

func (n *node) write(path, content string) {
	n.t.Helper()
	h := n.open(path)
	if _, err := h.File().WriteString(content); err != nil {
		n.t.Fatal(err)
	}
	n.closeHandle(h)
}

func (n *node) wait(paths ...string) {
	n.t.Helper()
	if len(paths) == 0 {
		paths = []string{""}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := n.up.Wait(ctx, paths, nil); err != nil {
		n.t.Fatalf("wait %v: %v\n%+v", paths, err, n.up.Status().Units)
	}
}

func (n *node) read(path string) string {
	n.t.Helper()
	h, err := n.Open(ctx, path, unix.O_RDONLY)
	if err != nil {
		n.t.Fatalf("open %s: %v", path, err)
	}
	defer h.Released()
	defer h.File().Close()
	b, err := io.ReadAll(io.NewSectionReader(readerAt{h}, 0, 1<<40))
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

func (n *node) names(dir string) string {
	n.t.Helper()
	list, err := n.ReadDir(ctx, dir)
	if err != nil {
		n.t.Fatalf("readdir %s: %v", dir, err)
	}
	var out []string
	for _, e := range list {
		out = append(out, e.Name)
	}
	return strings.Join(out, " ")
}

func (n *node) missing(path string) bool {
	_, err := n.Lookup(ctx, path)
	return err != nil
}

// eventually waits for a condition that another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("never: %s", what)
}

// objects lists what anyone sees in the store, without .trainfs/, and without the marker of
// "run", which it gets if it is empty for as long as settle: on a loaded machine, now and then.
func objects(t *testing.T, s backend.Store) string {
	t.Helper()
	var keys []string
	for _, k := range allKeys(t, s) {
		if !strings.HasPrefix(k, ".trainfs/") && k != "run/" {
			keys = append(keys, k)
		}
	}
	return strings.Join(keys, " ")
}

func allKeys(t tester, s backend.Store) []string {
	t.Helper()
	var keys []string
	for o := (backend.ListOptions{}); ; {
		page, err := s.List(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, obj := range page.Objects {
			keys = append(keys, obj.Key)
		}
		if o.Token = page.Token; o.Token == "" {
			break
		}
	}
	sort.Strings(keys)
	return keys
}

func get(t tester, s backend.Store, key string) string {
	t.Helper()
	r, _, err := s.Get(ctx, key, backend.GetOptions{})
	if err != nil {
		t.Fatalf("get %s: %v", key, err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func big(seed byte, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = seed + byte(i*7+i>>10)
	}
	return string(b)
}

// readerAt reads a handle as the kernel does.
type readerAt struct{ *cache.Handle }

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.Handle.ReadAt(ctx, p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}
