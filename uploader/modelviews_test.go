package uploader

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"pgregory.net/rapid"
)

// What is compared with the model.

// Check is called after every step.
func (m *model) Check(t *rapid.T) {
	m.step(t)
	m.noteUnits()
}

// noteUnits remembers which files each checkpoint directory has.
func (m *model) noteUnits() {
	for _, u := range modelUnits {
		now := m.filesOf(u)
		if !slices.Contains(m.past[u], now) {
			m.past[u] = append(m.past[u], now)
		}
	}
}

// filesOf are the names of the files right in a checkpoint directory.
func (m *model) filesOf(unit string) string {
	var names []string
	for _, p := range m.below(unit) {
		if path.Dir(p) == unit {
			names = append(names, path.Base(p))
		}
	}
	return strings.Join(names, " ")
}

// whole looks at the checkpoints from a node while the other one is at work: each has all
// the files that it had between two operations, or is not there.
func (m *model) whole(n *node) {
	for _, u := range modelUnits {
		list, err := n.ReadDir(ctx, u)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			m.t.Fatalf("readdir %s: %v", u, err)
		}
		var names []string
		for _, e := range list {
			if e.Type != syscall.S_IFDIR {
				names = append(names, e.Name)
			}
		}
		if got := strings.Join(names, " "); got != "" && !slices.Contains(m.past[u], got) && !m.hadOnce(u, names) {
			m.t.Fatalf("%s shows %q while it is committed, want one of %q", u, got, m.past[u])
		}
	}
}

// hadOnce tells whether a checkpoint shows what it had at some moment, and files that were renamed
// out of it since: they leave it once they are committed under their new names (gap G29).
func (m *model) hadOnce(unit string, names []string) bool {
	left := func(list []string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(m.left[unit], name) }), " ")
	}
	return slices.ContainsFunc(m.past[unit], func(past string) bool { return left(strings.Fields(past)) == left(names) })
}

func (m *model) Read(t *rapid.T) {
	n := m.on(t)
	p := rapid.SampledFrom(modelPaths).Draw(t, "file")
	if m.has(p) {
		m.compareFile(t, n, p)
	} else {
		m.absent(n, p)
	}
}

// compareFile holds one file, as a node shows it, to the model.
func (m *model) compareFile(t *rapid.T, n *node, p string) {
	m.there(n, p)
	if got := n.read(p); got != m.files[p] { // the open compares with the store; then the rest is right, too
		t.Fatalf("node %s: %s: %q, want %q", n.Node(), p, short(got), short(m.files[p]))
	}
	info, err := n.Lookup(ctx, p)
	if err != nil || info.Size != int64(len(m.files[p])) {
		t.Fatalf("node %s: %s has %d bytes, want %d, %v", n.Node(), p, info.Size, len(m.files[p]), err)
	}
	if mode, ok := m.modes[p]; ok && info.Mode&0o777 != mode {
		t.Fatalf("node %s: %s has mode %o, want %o", n.Node(), p, info.Mode&0o777, mode)
	}
}

// Compare has both nodes commit, and holds the raw store and what both show to the model.
func (m *model) Compare(t *rapid.T) {
	m.step(t)
	m.commit(0)
	m.commit(1)
	m.compareStore(t)
	for _, n := range m.nodes {
		shown := map[string]bool{}
		m.compareDir(t, n, "run", shown)
		for p := range m.files {
			if !shown[p] {
				t.Fatalf("node %s does not list %s", n.Node(), p)
			}
		}
	}
	for _, k := range allKeys(t, m.store) {
		if strings.HasSuffix(k, ".open") {
			t.Fatalf("open marker left: %s: %s (nodes %s, %s)", k, get(t, m.store, k), m.nodes[0].Node(), m.nodes[1].Node())
		}
	}
	res, err := m.nodes[0].up.Verify(ctx, []string{""}, func(e VerifyEvent) {
		if f := e.File; f != nil && f.Status != VerifyOK && f.Status != VerifyUnverified {
			t.Logf("verify: %+v", *f)
		}
	})
	if err != nil || res.Bad() > 0 || res.Extra > 0 {
		t.Fatalf("verify: %+v, %v", res, err)
	}
}

func (m *model) compareStore(t *rapid.T) {
	want := m.below("run")
	var got []string
	for _, k := range allKeys(t, m.store) {
		if !strings.HasPrefix(k, ".trainfs/") && !strings.HasSuffix(k, "/") {
			got = append(got, k)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("the store has %v, want %v", got, want)
	}
	for _, p := range want {
		if c := get(t, m.store, p); c != m.files[p] {
			t.Fatalf("%s in the store: %q, want %q", p, short(c), short(m.files[p]))
		}
	}
}

// compareDir notes what a node lists below a directory; empty directories may stay.
func (m *model) compareDir(t *rapid.T, n *node, dir string, shown map[string]bool) {
	if n.walkTo(dir) != nil {
		return
	}
	list, err := n.ReadDir(ctx, dir)
	if err != nil {
		t.Fatalf("readdir %s on node %s: %v", dir, n.Node(), err)
	}
	for _, e := range list {
		p := dir + "/" + e.Name
		switch {
		case e.Type == syscall.S_IFDIR:
			m.compareDir(t, n, p, shown)
		case m.has(p):
			shown[p] = true
			m.compareFile(t, n, p)
		default:
			m.absent(n, p)
		}
	}
}
