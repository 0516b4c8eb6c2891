package uploader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/cache"
)

// model is what two nodes of one storage path have promised: the files as the last
// program closed them. A node that has not committed is asked to before the other one
// looks (close-to-open); its own programs see everything at once; of a checkpoint directory
// the other node sees at any time one of the states between two operations, or nothing.
//
// modelfiles_test.go has what programs do to files, modeldirs_test.go what they do to
// directories, modelnodes_test.go what happens to nodes and the store, modelviews_test.go
// what is compared.
type model struct {
	t     *rapid.T
	nodes [2]*node
	store *faulty.Store
	files map[string]string
	modes map[string]uint32   // of those that were set since
	by    map[string]*node    // on which node that was
	past  map[string][]string // by checkpoint directory: the files it has had since the last commit
	left  map[string][]string // and those that were renamed out of it since
	dirty [2]bool
	seq   int
}

var (
	modelUnits = []string{"run/checkpoint_000000", "run/checkpoint_000001", "run/checkpoint_best", "run/t1/checkpoint_000000", "run/t2/checkpoint_000000"}
	modelDirs  = append([]string{"run/logs", "run/t1", "run/t2"}, modelUnits...) // they are renamed as a whole
	modelPlain = []string{"run/a", "run/b", "run/latest", "run/best.ckpt", "run/logs/c", "run/logs/d", "run/t1/notes", "run/t2/notes"}
	modelPaths = func() []string {
		all := slices.Clone(modelPlain)
		for _, u := range modelUnits {
			all = append(all, u+"/f0", u+"/f1", u+"/sub/f2")
		}
		return all
	}()
)

// step begins an operation: t is told of what goes wrong in it.
func (m *model) step(t *rapid.T) {
	m.t = t
	for _, n := range m.nodes {
		n.t = t
	}
}

// on draws the node that the next operation is done on, once the other one has committed.
func (m *model) on(t *rapid.T) *node {
	m.step(t)
	i := rapid.IntRange(0, 1).Draw(t, "node")
	m.commit(1 - i)
	m.dirty[i] = true
	return m.nodes[i]
}

func (m *model) content(size ...int) string {
	m.seq++
	if len(size) == 0 {
		size = []int{0, 5, 1000, 2<<20 + 1}
	}
	n := rapid.SampledFrom(size).Draw(m.t, "size")
	return fmt.Sprintf("%d:", m.seq) + big(byte(m.seq), n)
}

func (m *model) has(p string) bool {
	_, ok := m.files[p]
	return ok
}

// below lists the files at and below a path.
func (m *model) below(dir string) (out []string) {
	for p := range m.files {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			out = append(out, p)
		}
	}
	sort.Strings(out)
	return out
}

// any draws a file that is there.
func (m *model) any() string {
	all := m.below("run")
	if len(all) == 0 {
		m.t.Skip("there is none")
	}
	return rapid.SampledFrom(all).Draw(m.t, "file")
}

// free draws a path where there is nothing.
func (m *model) free(n *node, what string) string {
	p := rapid.SampledFrom(modelPaths).Draw(m.t, what)
	if m.has(p) {
		m.t.Skip("taken")
	}
	m.ensureDir(n, path.Dir(p))
	m.absent(n, p)
	return p
}

func (m *model) ensureDir(n *node, dir string) {
	if n.walkTo(dir) == nil {
		return
	}
	if p := path.Dir(dir); p != "." {
		m.ensureDir(n, p)
	}
	n.mkdir(dir)
}

// there looks a path up on a node that is to work on it.
func (m *model) there(n *node, p string) {
	if err := n.walkTo(p); err != nil {
		m.t.Fatalf("lookup %s: %v", p, err)
	}
}

// absent makes sure that a path is not there. What a node has written itself is stat-ed
// without asking the store, though another tool may have deleted it; the open asks.
func (m *model) absent(n *node, p string) {
	err := n.walkTo(p)
	if err == nil {
		var h *cache.Handle
		if h, err = n.Open(ctx, p, unix.O_RDONLY); err == nil {
			n.shut(h)
		}
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, backend.ErrNotExist) {
		m.t.Fatalf("%s: %v, want not there", p, err)
	}
}

func (m *model) moved(old, new string) {
	m.files[new] = m.files[old]
	delete(m.modes, new)
	if mode, ok := m.modes[old]; ok {
		m.modes[new], m.by[new] = mode, m.by[old]
	}
	m.gone(old)
}

// emptied is told before a node opens a file with O_TRUNC. One that the node has written itself
// keeps the mode that it has there, for the store is not asked (P8).
func (m *model) emptied(n *node, p string) {
	if m.by[p] != n {
		delete(m.modes, p)
	}
}

func (m *model) gone(p string) {
	delete(m.files, p)
	delete(m.modes, p)
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

func short(s string) string {
	if len(s) > 12 {
		return fmt.Sprintf("%s… (%d)", s[:12], len(s))
	}
	return s
}

func TestModelOfTwoNodes(t *testing.T) {
	if testing.Verbose() {
		t.Log("more: make model")
	}
	steps := 0
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "model")
		if err != nil {
			rt.Fatal(err)
		}
		s := newFaulty()
		m := &model{t: rt, store: s, files: map[string]string{}, modes: map[string]uint32{}, by: map[string]*node{}, past: map[string][]string{}, left: map[string][]string{}}
		for i := range m.nodes {
			m.nodes[i] = startNode(t, s, func(c *cache.Config) {
				c.Dir = fmt.Sprintf("%s/%d", dir, i)
				c.Settle = 2 * time.Minute // closed by Commit, not by quiet: no checkpoint is cut in half
			})
			defer func() { m.nodes[i].t = t; m.nodes[i].close() }()
		}
		actions := rapid.StateMachineActions(m)
		check := actions[""]
		actions[""] = func(t *rapid.T) { steps++; check(t) }
		rt.Repeat(actions)
		m.Compare(rt)
	})
	t.Logf("%d steps", steps)
}
