package uploader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// model is what two nodes of one storage path have promised: the files as the last
// program closed them. A node that has not committed is asked to before the other one
// looks (close-to-open); its own programs see everything at once.
type model struct {
	t     *rapid.T
	nodes [2]*node
	store backend.Store
	files map[string]string
	dirs  map[string]bool
	dirty [2]bool
	seq   int
}

var (
	modelDirs  = []string{"run", "run/logs"}
	modelFiles = []string{"run/a", "run/b", "run/logs/c", "run/logs/d"}
	modelUnits = []string{"run/checkpoint_000000", "run/checkpoint_000001", "run/checkpoint_best"}
)

func (m *model) node() (int, *node) {
	i := rapid.IntRange(0, 1).Draw(m.t, "node")
	m.commit(1 - i)
	return i, m.nodes[i]
}

func (m *model) commit(i int) {
	if m.dirty[i] {
		if err := m.nodes[i].up.Commit(ctx, []string{""}); err != nil {
			m.t.Fatal(err)
		}
		m.nodes[i].wait()
		m.dirty[i] = false
		time.Sleep(2 * m.nodes[i].cfg.ListTTL)
	}
}

func (m *model) path(what string, from []string) string {
	return rapid.SampledFrom(from).Draw(m.t, what)
}

func (m *model) content() string {
	m.seq++
	n := rapid.SampledFrom([]int{0, 5, 1000, 2<<20 + 1}).Draw(m.t, "size")
	return fmt.Sprintf("%d:", m.seq) + big(byte(m.seq), n)
}

func (m *model) ensureDir(n *node, dir string) {
	if n.walkTo(dir) == nil {
		return
	}
	if p := filepath.Dir(dir); p != "." {
		m.ensureDir(n, p)
	}
	n.mkdir(dir)
	m.dirs[dir] = true
}

func (m *model) Write(t *rapid.T) {
	m.t = t
	i, n := m.node()
	p := m.path("file", modelFiles)
	m.ensureDir(n, filepath.Dir(p))
	c := m.content()
	n.write(p, c)
	m.files[p], m.dirty[i] = c, true
	if got := n.read(p); got != c {
		t.Fatalf("%s: read %q after writing %q", p, short(got), short(c))
	}
}

func (m *model) Append(t *rapid.T) {
	m.t = t
	i, n := m.node()
	p := m.path("file", modelFiles)
	if _, ok := m.files[p]; !ok {
		t.Skip("not there")
	}
	if err := n.walkTo(p); err != nil {
		t.Fatalf("lookup %s: %v", p, err)
	}
	h, err := n.Open(ctx, p, unix.O_WRONLY)
	if err != nil {
		t.Fatalf("open %s: %v", p, err)
	}
	h.File().WriteAt([]byte("+"), int64(len(m.files[p])))
	n.closeHandle(h)
	m.files[p] += "+"
	m.dirty[i] = true
}

func (m *model) Checkpoint(t *rapid.T) {
	m.t = t
	i, n := m.node()
	u := m.path("unit", modelUnits)
	m.ensureDir(n, u)
	for f := range 3 {
		p := fmt.Sprintf("%s/f%d", u, f)
		c := m.content()
		n.write(p, c)
		m.files[p] = c
	}
	m.dirty[i] = true
	m.atomic(t, 1-i, u)
}

// atomic looks from the other node while the checkpoint is on its way: all or nothing.
func (m *model) atomic(t *rapid.T, i int, unit string) {
	n := m.nodes[i]
	list, err := n.ReadDir(ctx, unit)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatalf("readdir %s: %v", unit, err)
	}
	if len(list) != 0 && len(list) != 3 {
		t.Fatalf("%s shows %d files on node %d", unit, len(list), i)
	}
}

func (m *model) Unlink(t *rapid.T) {
	m.t = t
	i, n := m.node()
	p := m.path("file", modelFiles)
	if _, ok := m.files[p]; !ok {
		t.Skip("not there")
	}
	if err := n.Unlink(ctx, p); err != nil {
		t.Fatalf("unlink %s: %v", p, err)
	}
	delete(m.files, p)
	m.dirty[i] = true
}

func (m *model) RemoveCheckpoint(t *rapid.T) {
	m.t = t
	i, n := m.node()
	u := m.path("unit", modelUnits)
	if _, ok := m.files[u+"/f0"]; !ok {
		t.Skip("not there")
	}
	for f := range 3 {
		if err := n.Unlink(ctx, fmt.Sprintf("%s/f%d", u, f)); err != nil {
			t.Fatalf("unlink in %s: %v", u, err)
		}
		delete(m.files, fmt.Sprintf("%s/f%d", u, f))
	}
	if err := n.Rmdir(ctx, u); err != nil {
		t.Fatalf("rmdir %s: %v", u, err)
	}
	m.dirty[i] = true
}

func (m *model) Rename(t *rapid.T) {
	m.t = t
	i, n := m.node()
	old, new := m.path("old", modelFiles), m.path("new", modelFiles)
	if _, ok := m.files[old]; !ok || old == new {
		t.Skip("not there")
	}
	m.ensureDir(n, filepath.Dir(new))
	n.walkTo(old)
	n.walkTo(new)
	if err := n.Rename(ctx, old, new, 0); err != nil {
		t.Fatalf("rename %s %s: %v", old, new, err)
	}
	m.files[new] = m.files[old]
	delete(m.files, old)
	m.dirty[i] = true
}

func (m *model) RenameCheckpoint(t *rapid.T) {
	m.t = t
	i, n := m.node()
	old, new := m.path("old", modelUnits), m.path("new", modelUnits)
	_, there := m.files[old+"/f0"]
	if _, taken := m.files[new+"/f0"]; !there || taken || old == new {
		t.Skip("not possible")
	}
	n.walkTo(old)
	n.walkTo(new)
	if err := n.Rename(ctx, old, new, 0); err != nil {
		t.Fatalf("rename %s %s: %v", old, new, err)
	}
	for f := range 3 {
		m.files[fmt.Sprintf("%s/f%d", new, f)] = m.files[fmt.Sprintf("%s/f%d", old, f)]
		delete(m.files, fmt.Sprintf("%s/f%d", old, f))
	}
	m.dirty[i] = true
}

func (m *model) Restart(t *rapid.T) {
	m.t = t
	i := rapid.IntRange(0, 1).Draw(t, "node")
	m.nodes[i].restart()
}

func (m *model) Evict(t *rapid.T) {
	m.t = t
	_, n := m.node()
	if _, _, err := n.Evict(ctx, []string{""}); err != nil {
		t.Fatal(err)
	}
}

func (m *model) Read(t *rapid.T) {
	m.t = t
	_, n := m.node()
	all := append(append([]string(nil), modelFiles...), modelUnits[0]+"/f1", modelUnits[1]+"/f2", modelUnits[2]+"/f0")
	p := m.path("file", all)
	want, ok := m.files[p]
	err := n.walkTo(p)
	switch {
	case !ok && err == nil:
		// What this node has written itself is stat-ed without asking the store; the open asks.
		if h, err := n.Open(ctx, p, unix.O_RDONLY); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, backend.ErrNotExist) {
			if err == nil {
				n.shut(h)
			}
			t.Fatalf("open %s: %v, want not there", p, err)
		}
	case !ok && !errors.Is(err, fs.ErrNotExist):
		t.Fatalf("lookup %s: %v, want not there", p, err)
	case ok && err != nil:
		t.Fatalf("lookup %s: %v", p, err)
	case ok:
		if got := n.read(p); got != want {
			t.Fatalf("%s: %q, want %q", p, short(got), short(want))
		}
	}
}

// walkTo looks a path up part by part, as the kernel does.
func (n *node) walkTo(path string) error {
	for i, r := range path + "/" {
		if r != '/' {
			continue
		}
		if _, err := n.Lookup(ctx, path[:i]); err != nil {
			return err
		}
	}
	return nil
}

// Compare has both nodes commit, and holds the raw store and both views to the model.
func (m *model) Compare(t *rapid.T) {
	m.t = t
	m.commit(0)
	m.commit(1)
	var want []string
	for p := range m.files {
		want = append(want, p)
	}
	sort.Strings(want)
	var got []string
	for _, k := range allKeys(m.nodes[0].t, m.store) {
		if !strings.HasPrefix(k, ".trainfs/") && !strings.HasSuffix(k, "/") {
			got = append(got, k)
		}
		if strings.HasSuffix(k, ".open") {
			t.Fatalf("open marker left: %s: %s (nodes %s, %s)", k, get(m.nodes[0].t, m.store, k), m.nodes[0].Node(), m.nodes[1].Node())
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("the store has %v, want %v", got, want)
	}
	for _, p := range want {
		if c := get(m.nodes[0].t, m.store, p); c != m.files[p] {
			t.Fatalf("%s in the store: %q, want %q", p, short(c), short(m.files[p]))
		}
	}
}

func short(s string) string {
	if len(s) > 12 {
		return fmt.Sprintf("%s… (%d)", s[:12], len(s))
	}
	return s
}

func TestModelOfTwoNodes(t *testing.T) {
	if testing.Verbose() {
		t.Log("more: go test ./uploader -run Model -rapid.checks=200 -rapid.steps=60")
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "model")
		if err != nil {
			rt.Fatal(err)
		}
		s := newFaulty()
		m := &model{t: rt, store: s, files: map[string]string{}, dirs: map[string]bool{}}
		for i := range m.nodes {
			m.nodes[i] = startNode(t, s, func(c *cache.Config) {
				c.Dir = fmt.Sprintf("%s/%d", dir, i)
				c.Settle = 2 * time.Second // closed by Commit, not by quiet: no checkpoint is cut in half
			})
			defer m.nodes[i].close()
		}
		rt.Repeat(rapid.StateMachineActions(m))
		m.Compare(rt)
	})
}

// Check is called after every step.
func (m *model) Check(t *rapid.T) {}
