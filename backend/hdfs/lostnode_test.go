package hdfs_test

import (
	"bytes"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/hdfs"
	"github.com/trainfs/trainfs/backend/storetest/minihdfs"
	"github.com/trainfs/trainfs/backend/storetest/toxiproxy"
)

const mib = 1 << 20

// noise gives n bytes, others for another seed.
func noise(seed byte, n int) []byte {
	p := make([]byte, n)
	mathrand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

// whole is content that is there.
func whole(data []byte) backend.Content { return interrupted(data, len(data), nil) }

// interrupted is content in whose middle something happens.
func interrupted(data []byte, at int, happens func()) backend.Content {
	return backend.Content{R: &interruptedReader{data: data, at: at, happens: happens}, Size: int64(len(data)), CRC32C: crc32c.Checksum(data)}
}

type interruptedReader struct {
	data    []byte
	at      int
	happens func()
	once    sync.Once
}

func (r *interruptedReader) ReadAt(p []byte, off int64) (int, error) {
	if off < int64(r.at) {
		p = p[:min(len(p), r.at-int(off))]
	} else if r.happens != nil {
		r.once.Do(r.happens)
	}
	n := copy(p, r.data[off:])
	if int(off)+n == len(r.data) {
		return n, io.EOF
	}
	return n, nil
}

// lossy is a cluster whose data nodes get lost, and a store in it.
type lossy struct {
	*testing.T
	cluster *minihdfs.Cluster
	nodes   []*minihdfs.Node
	store   *hdfs.Store
	dialled *atomic.Value // the data node that was connected to last
}

const lossyRoot = "runs/lossy"

// in is the same, for a subtest.
func (l *lossy) in(t *testing.T) *lossy {
	return &lossy{T: t, cluster: l.cluster, nodes: l.nodes, store: l.store, dialled: l.dialled}
}

func startLossy(t *testing.T, nodes int, params string) *lossy {
	l := &lossy{T: t, dialled: new(atomic.Value)}
	l.cluster, l.nodes = minihdfs.StartNodes(t, nodes)
	loc, err := backend.ParseLocation(l.cluster.URL(lossyRoot) + params)
	if err != nil {
		t.Fatal(err)
	}
	if l.store, err = hdfs.Open(t.Context(), loc, hdfs.Options{SkipCheck: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.store.Close() })
	hdfs.WatchDataNodes(l.store, 5*time.Second, func(address string) { l.dialled.Store(address) })
	return l
}

// pipeline gives the data node that a block is being sent to, and one that gets it from there.
func (l *lossy) pipeline() (first, next *minihdfs.Node) {
	for _, n := range l.nodes {
		if n.Address == l.dialled.Load() {
			first = n
		} else {
			next = n
		}
	}
	return first, next
}

// wantContent fails unless the key has these bytes, and a checksum that speaks of them.
func (l *lossy) wantContent(key string, want []byte) {
	l.Helper()
	body, obj, err := l.store.Get(l.Context(), key, backend.GetOptions{})
	if err != nil {
		l.Fatal(err)
	}
	defer body.Close()
	got, err := io.ReadAll(body)
	if err != nil || !bytes.Equal(got, want) || !obj.HasCRC32C || obj.CRC32C != crc32c.Checksum(want) {
		l.Errorf("%s: %d bytes with %08x, %v; want %d with %08x", key, len(got), crc32c.Checksum(got), err, len(want), crc32c.Checksum(want))
	}
}

// wantPassing fails unless err names a data node in one line, and may heal.
func (l *lossy) wantPassing(err error) {
	l.Helper()
	if err == nil || backend.Permanent(err) || !strings.Contains(err.Error(), "data node") || strings.Contains(err.Error(), "\n") {
		l.Errorf("%v; want one line on a data node, that may heal", err)
	}
}

// wantNothingLeft fails if the staging directory has what no key and no stage names, or the
// client still waits for a data node.
func (l *lossy) wantNothingLeft() {
	l.Helper()
	for _, name := range namesIn(l.T, l.cluster, "/"+lossyRoot+"/.trainfs/v1/staging") {
		l.Errorf("left in the staging directory: %s", name)
	}
	stacks := make([]byte, mib)
	if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte("blockWriteStream")) {
		l.Errorf("left of a write:\n%s", stacks)
	}
}

// again does what the uploader does: it goes on until it succeeds.
func (l *lossy) again(f func() error) {
	l.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if backend.Permanent(err) || time.Now().After(deadline) {
			l.Fatalf("not again: %v", err)
		}
	}
}

func (l *lossy) put(key string, c backend.Content) error {
	_, err := l.store.Put(l.Context(), key, c, backend.PutOptions{})
	return err
}

// A data node that gets lost in the middle of a block costs the attempt, and nothing else:
// what was under the key stays, and the next attempts succeed without the node, as soon as
// the name node knows. A read goes on at another.
func TestOneOfTwoDataNodesIsLost(t *testing.T) {
	l := startLossy(t, 2, "?replication=2&default_block_size=1048576")
	for i, c := range []struct {
		name string
		lose func(first, next *minihdfs.Node) (lost *minihdfs.Node)
	}{
		{"the one that is written to", func(first, _ *minihdfs.Node) *minihdfs.Node { first.Stop(); return first }},
		{"the one behind it", func(_, next *minihdfs.Node) *minihdfs.Node { next.Stop(); return next }},
		{"the one that is written to hangs", func(first, _ *minihdfs.Node) *minihdfs.Node { first.Pause(); return first }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := l.in(t)
			old, data := noise(byte(i), 3*mib), noise(byte(i+100), 8*mib)
			l.again(func() error { return l.put("model.pt", whole(old)) })

			var lost *minihdfs.Node
			l.wantPassing(l.put("model.pt", interrupted(data, 3*mib+mib/2, func() { lost = c.lose(l.pipeline()) })))
			l.wantContent("model.pt", old)
			l.wantNothingLeft()

			l.again(func() error { return l.put("model.pt", whole(data)) })
			l.wantContent("model.pt", data)
			l.wantNothingLeft()
			lost.Stop()
			lost.Restart()
			l.cluster.WaitForNodes(t, 2)
		})
	}
	t.Run("during a read", func(t *testing.T) {
		l := l.in(t)
		data := noise(1, 8*mib)
		l.again(func() error { return l.put("model.pt", whole(data)) })
		body, _, err := l.store.Get(t.Context(), "model.pt", backend.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer body.Close()
		got := make([]byte, len(data))
		if _, err := io.ReadFull(body, got[:3*mib+mib/2]); err != nil {
			t.Fatal(err)
		}
		first, _ := l.pipeline()
		first.Stop()
		if _, err := io.ReadFull(body, got[3*mib+mib/2:]); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%v, or other bytes", err)
		}
	})
}

// The same, of a part of a stage, and without another node: nothing can be written until it
// is back, and then what was acknowledged before is still there.
func TestTheOnlyDataNodeIsLostDuringAWrite(t *testing.T) {
	l := startLossy(t, 1, "?replication=1&default_block_size=1048576")
	data := noise(1, 8*mib)
	if err := l.put("before.pt", whole(data[:mib])); err != nil {
		t.Fatal(err)
	}
	st, err := l.store.BeginStage(t.Context(), "model.pt", int64(len(data)), int64(len(data)), backend.Attr{})
	if err != nil {
		t.Fatal(err)
	}
	var part backend.Part
	putPart := func(c backend.Content) (err error) {
		part, err = l.store.PutPart(t.Context(), st, 1, c)
		return err
	}
	node := l.nodes[0]
	l.wantPassing(putPart(interrupted(data, 3*mib+mib/2, node.Stop)))
	if parts, err := l.store.StagedParts(t.Context(), st); err != nil || len(parts) != 0 {
		t.Errorf("parts whose data node was lost: %v, %v", parts, err)
	}
	if _, err := l.store.PublishStage(t.Context(), st, []backend.Part{{Number: 1, Size: int64(len(data)), CRC32C: crc32c.Checksum(data)}}, crc32c.Checksum(data), backend.PutOptions{}); err == nil {
		t.Error("published what is not there")
	}
	if _, err := l.store.Head(t.Context(), "model.pt"); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("%v", err)
	}
	// The name node sends clients to a dead node until it knows, and then nowhere.
	for err = nil; err == nil || !strings.Contains(err.Error(), "0 datanode(s) running"); {
		if err = putPart(whole(data)); err == nil || backend.Permanent(err) || strings.Contains(err.Error(), "\n") {
			t.Fatalf("without a data node: %v", err)
		}
	}
	node.Restart()
	l.again(func() error { return putPart(whole(data)) })
	if _, err := l.store.PublishStage(t.Context(), st, []backend.Part{part}, crc32c.Checksum(data), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	l.wantContent("model.pt", data)
	l.wantContent("before.pt", data[:mib])
	l.wantNothingLeft()
}

// A data node that takes a block, and cannot tell the name node: the file is never whole
// there. Once it can, the next attempt succeeds.
func TestDataNodeIsCutOffFromTheNameNode(t *testing.T) {
	l := startLossy(t, 0, "?replication=1")
	line := toxiproxy.Start(t, l.cluster.Address)
	l.cluster.StartNode(t, "fs.defaultFS=hdfs://"+strings.TrimPrefix(line.Endpoint, "http://"))
	l.cluster.WaitForNodes(t, 1)
	data := noise(1, mib)
	l.wantPassing(l.put("model.pt", interrupted(data, 0, func() { line.Enable(false) })))
	if _, err := l.store.Head(t.Context(), "model.pt"); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("%v", err)
	}
	l.wantNothingLeft()
	line.Enable(true)
	l.again(func() error { return l.put("model.pt", whole(data)) })
	l.wantContent("model.pt", data)
}
