package uploader

import (
	"path"
	"strings"
	"syscall"

	"pgregory.net/rapid"
)

// What programs do to directories: checkpoints written as a whole, renamed, removed.

// Checkpoint writes all files of a checkpoint directory, in place or under a temporary name.
func (m *model) Checkpoint(t *rapid.T) {
	n := m.on(t)
	u := rapid.SampledFrom(modelUnits).Draw(t, "unit")
	in := u
	if len(m.below(u)) == 0 && rapid.Bool().Draw(t, "under a temporary name") {
		in = path.Dir(u) + "/tmp-" + path.Base(u)
		if !m.vacant(n, u) {
			t.Skip("directories are left")
		}
	}
	for _, f := range []string{"f0", "f1", "sub/f2"} {
		m.ensureDir(n, path.Dir(in+"/"+f))
		c := m.content()
		m.emptied(n, u+"/"+f)
		n.write(in+"/"+f, c)
		m.files[u+"/"+f] = c
	}
	if in != u {
		n.walkTo(u)
		if err := n.Rename(ctx, in, u, 0); err != nil {
			t.Fatalf("rename %s %s: %v", in, u, err)
		}
	}
	for _, p := range m.below(u) {
		m.compareFile(t, n, p)
	}
}

// Remove is rm -r.
func (m *model) Remove(t *rapid.T) {
	n := m.on(t)
	d := rapid.SampledFrom(modelDirs).Draw(t, "directory")
	if len(m.below(d)) == 0 {
		t.Skip("nothing there")
	}
	m.there(n, d)
	m.removeTree(n, d)
	for _, p := range m.below(d) {
		m.gone(p)
	}
	m.absent(n, d)
}

func (m *model) removeTree(n *node, dir string) {
	list, err := n.ReadDir(ctx, dir)
	if err != nil {
		m.t.Fatalf("readdir %s: %v", dir, err)
	}
	for _, e := range list {
		p := dir + "/" + e.Name
		if _, err := n.Lookup(ctx, p); err != nil { // another tool has deleted it
			continue
		}
		if e.Type == syscall.S_IFDIR {
			m.removeTree(n, p)
		} else if err := n.Unlink(ctx, p); err != nil {
			m.t.Fatalf("unlink %s: %v", p, err)
		}
	}
	if err := n.Rmdir(ctx, dir); err != nil {
		m.t.Fatalf("rmdir %s: %v", dir, err)
	}
}

// vacant tells whether a directory can be renamed to a path: nothing is there, or an empty
// directory.
func (m *model) vacant(n *node, p string) bool {
	m.ensureDir(n, path.Dir(p))
	if n.walkTo(p) != nil {
		return true
	}
	list, err := n.ReadDir(ctx, p)
	for _, e := range list {
		if e.Type != syscall.S_IFDIR {
			m.absent(n, p+"/"+e.Name)
		}
	}
	return err == nil && len(list) == 0
}

// RenameDirectory renames a checkpoint, a trial with its checkpoints, or a directory that is
// none and becomes one.
func (m *model) RenameDirectory(t *rapid.T) {
	n := m.on(t)
	old := rapid.SampledFrom(modelDirs).Draw(t, "old")
	new := rapid.SampledFrom(modelDirs).Draw(t, "new")
	within := strings.HasPrefix(new+"/", old+"/") || strings.HasPrefix(old+"/", new+"/")
	if within || len(m.below(old)) == 0 || len(m.below(new)) > 0 {
		t.Skip("not possible")
	}
	m.there(n, old)
	if !m.vacant(n, new) {
		t.Skip("directories are left")
	}
	m.rename(n, old, new)
	for _, p := range m.below(old) {
		m.moved(p, new+p[len(old):])
	}
	m.absent(n, old)
	for _, p := range m.below(new) {
		m.compareFile(t, n, p)
	}
}
