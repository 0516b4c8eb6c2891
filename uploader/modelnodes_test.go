package uploader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgregory.net/rapid"

	"github.com/trainfs/trainfs/backend"
)

// What happens to nodes and to the store.

// commit has node i commit, while the other one looks at its checkpoints.
func (m *model) commit(i int) {
	if !m.dirty[i] {
		return
	}
	m.noteUnits()
	done := make(chan error, 1)
	n := m.nodes[i]
	go func() { done <- n.commitAll() }()
	for ended := false; !ended; {
		m.whole(m.nodes[1-i])
		select {
		case err := <-done:
			if err != nil {
				m.t.Fatalf("node %d does not commit: %v", i, err)
			}
			ended = true
		case <-time.After(time.Millisecond):
		}
	}
	m.dirty[i] = false
	m.past, m.left = map[string][]string{}, map[string][]string{}
	m.noteUnits()
	time.Sleep(2 * n.cfg.ListTTL)
}

func (m *model) commitNode(n *node) {
	if err := n.commitAll(); err != nil {
		m.t.Fatal(err)
	}
}

func (n *node) commitAll() error {
	if err := n.up.Commit(ctx, []string{""}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := n.up.Wait(ctx, []string{""}, nil)
	if err != nil {
		err = fmt.Errorf("%w\n%+v", err, n.up.Status().Units)
	}
	return err
}

// Restart ends a node as a kill does, and starts it again.
func (m *model) Restart(t *rapid.T) {
	m.step(t)
	m.nodes[rapid.IntRange(0, 1).Draw(t, "node")].restart()
}

// KillWhileCommitting ends it while it is at work.
func (m *model) KillWhileCommitting(t *rapid.T) {
	m.step(t)
	i := rapid.IntRange(0, 1).Draw(t, "node")
	if !m.dirty[i] {
		t.Skip("it has nothing to do")
	}
	m.noteUnits()
	n := m.nodes[i]
	if err := n.up.Commit(ctx, []string{""}); err != nil {
		t.Fatal(err)
	}
	h := m.store.Hold(rapid.SampledFrom(modelOps).Draw(t, "at"), rapid.IntRange(1, 4).Draw(t, "call"))
	select {
	case <-h.Reached():
	case <-time.After(30 * time.Millisecond):
	}
	n.close()
	h.Release()
	n.start()
	m.whole(m.nodes[1-i])
}

var modelOps = []string{backend.OpPut, backend.OpCopy, backend.OpDelete, backend.OpPutPart, backend.OpPublishStage, backend.OpList, backend.OpHead}

// CommitWithFault has a call to the store fail while a node commits, before or after its work
// was done.
func (m *model) CommitWithFault(t *rapid.T) {
	m.step(t)
	i := rapid.IntRange(0, 1).Draw(t, "node")
	if !m.dirty[i] {
		t.Skip("it has nothing to do")
	}
	op, nth := rapid.SampledFrom(modelOps).Draw(t, "op"), rapid.IntRange(1, 4).Draw(t, "call")
	fault := errors.New("injected")
	if rapid.Bool().Draw(t, "after its work") {
		m.store.FailAfter(op, nth, fault)
	} else {
		m.store.Fail(op, nth, fault)
	}
	defer m.store.Clear()
	m.noteUnits()
	m.commitNode(m.nodes[i])
	m.store.Clear()
	m.commit(i)
}

func (m *model) Evict(t *rapid.T) {
	m.step(t)
	n := m.nodes[rapid.IntRange(0, 1).Draw(t, "node")]
	p := rapid.SampledFrom(append([]string{""}, modelDirs...)).Draw(t, "path")
	if p != "" && n.walkTo(p) != nil {
		t.Skip("not there")
	}
	if _, _, err := n.Evict(ctx, []string{p}); err != nil {
		t.Fatal(err)
	}
}

// OtherTool puts, replaces or deletes an artifact in the bucket, while both nodes are clean.
func (m *model) OtherTool(t *rapid.T) {
	m.step(t)
	m.commit(0)
	m.commit(1)
	p := rapid.SampledFrom(modelPlain).Draw(t, "file")
	if m.has(p) && rapid.Bool().Draw(t, "delete") {
		if err := m.store.Delete(ctx, p); err != nil {
			t.Fatal(err)
		}
		m.gone(p)
	} else {
		c := m.content()
		putRaw(t, m.store, p, c)
		m.gone(p)
		m.files[p] = c
	}
	time.Sleep(2 * m.nodes[0].cfg.ListTTL)
}
