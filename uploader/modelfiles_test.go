package uploader

import (
	"path"
	"strings"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// What programs do to single files, in and out of checkpoints.

func (m *model) Write(t *rapid.T) {
	n := m.on(t)
	p := rapid.SampledFrom(modelPaths).Draw(t, "file")
	m.ensureDir(n, path.Dir(p))
	if !m.has(p) {
		m.absent(n, p)
	}
	c := m.content()
	m.emptied(n, p)
	n.write(p, c)
	m.files[p] = c
	if got := n.read(p); got != c {
		t.Fatalf("%s: read %q after writing %q", p, short(got), short(c))
	}
}

// edit opens a file without truncating it.
func (m *model) edit(n *node, p string, at int, what string) {
	m.there(n, p)
	h, err := n.Open(ctx, p, unix.O_RDWR)
	if err != nil {
		m.t.Fatalf("open %s: %v", p, err)
	}
	if _, err := h.File().WriteAt([]byte(what), int64(at)); err != nil {
		m.t.Fatal(err)
	}
	n.closeHandle(h)
	c := m.files[p]
	m.files[p] = c[:at] + what + c[min(len(c), at+len(what)):]
}

func (m *model) Append(t *rapid.T) {
	n := m.on(t)
	p := m.any()
	m.edit(n, p, len(m.files[p]), "+")
}

func (m *model) Overwrite(t *rapid.T) {
	n := m.on(t)
	p := m.any()
	m.edit(n, p, len(m.files[p])/2, "!")
}

func (m *model) Truncate(t *rapid.T) {
	n := m.on(t)
	p := m.any()
	size := rapid.SampledFrom([]int{0, 3, 1500, 2 << 20}).Draw(t, "to")
	m.there(n, p)
	if size == 0 {
		m.emptied(n, p)
	}
	if err := n.Truncate(ctx, p, int64(size)); err != nil {
		t.Fatalf("truncate %s: %v", p, err)
	}
	c := m.files[p]
	m.files[p] = c[:min(size, len(c))] + strings.Repeat("\x00", max(0, size-len(c)))
}

func (m *model) Chmod(t *rapid.T) {
	n := m.on(t)
	p := m.any()
	mode := rapid.SampledFrom([]uint32{0o600, 0o644, 0o755}).Draw(t, "mode")
	m.there(n, p)
	if err := n.Chmod(ctx, p, mode); err != nil {
		t.Fatalf("chmod %s: %v", p, err)
	}
	m.modes[p], m.by[p] = mode, n
	m.compareFile(t, n, p)
}

func (m *model) Unlink(t *rapid.T) {
	n := m.on(t)
	p := m.any()
	m.there(n, p)
	n.unlink(p)
	m.gone(p)
	m.absent(n, p)
}

// Rename goes within a directory, into a checkpoint, out of one, and across.
func (m *model) Rename(t *rapid.T) {
	n := m.on(t)
	old := m.any()
	new := rapid.SampledFrom(modelPaths).Draw(t, "new")
	if old == new {
		t.Skip("the same")
	}
	m.ensureDir(n, path.Dir(new))
	if !m.has(new) {
		m.absent(n, new)
	}
	m.rename(n, old, new)
	m.moved(old, new)
	m.absent(n, old)
	m.compareFile(t, n, new)
}

func (m *model) rename(n *node, old, new string) {
	m.there(n, old)
	m.left[path.Dir(old)] = append(m.left[path.Dir(old)], path.Base(old))
	n.walkTo(new)
	if err := n.Rename(ctx, old, new, 0); err != nil {
		m.t.Fatalf("rename %s %s: %v", old, new, err)
	}
}

// ReplaceByRename is how most programs write.
func (m *model) ReplaceByRename(t *rapid.T) {
	n := m.on(t)
	p := m.any()
	tmp := path.Dir(p) + "/tmp-" + path.Base(p)
	c := m.content()
	m.there(n, path.Dir(p))
	n.write(tmp, c)
	m.rename(n, tmp, p)
	m.gone(p)
	m.files[p] = c
}

// LinkAndUnlink is how some programs rename.
func (m *model) LinkAndUnlink(t *rapid.T) {
	n := m.on(t)
	old := m.any()
	new := m.free(n, "new")
	m.there(n, old)
	if _, err := n.Link(ctx, old, new); err != nil {
		t.Fatalf("link %s %s: %v", old, new, err)
	}
	if rapid.Bool().Draw(t, "write through one of them") {
		m.edit(n, old, len(m.files[old])/2, "=")
	}
	m.files[new] = m.files[old]
	m.compareFile(t, n, new)
	if rapid.Bool().Draw(t, "commit between") {
		if mode, ok := m.modes[old]; ok {
			m.modes[new], m.by[new] = mode, m.by[old]
		}
		m.noteUnits()
		m.commitNode(n)
		m.compareStore(t)
		m.there(n, old)
	}
	n.unlink(old)
	m.moved(old, new)
}
