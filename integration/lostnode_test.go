package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A node goes away for good in the middle of a save of two nodes: who looks for the reason
// why nothing goes forward finds the checkpoint and the node.
func TestFsckAndStatusNameTheCheckpointThatALostNodeHasLeft(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	a, lost := s.mount(t), s.mount(t)
	const (
		whole = "run/checkpoint_2026-11-25_15-00-01.000000"
		half  = "run/checkpoint_2026-11-25_15-00-02.000000"
		snap  = "run/checkpoint_manager_snapshot.json"
	)
	save := func(m *mount, dir, name string) *os.File {
		f, err := os.Create(filepath.Join(mkdir(t, m.path(dir)), name))
		must(t, err)
		_, err = f.WriteString("content")
		must(t, err)
		return f
	}
	names := func(dir string) string {
		return `{"checkpoint_results": [{"checkpoint_dir_name": "` + filepath.Base(dir) + `"}]}`
	}
	must(t, save(a, whole, "rank0.pt").Close())
	must(t, save(lost, whole, "rank1.pt").Close())
	lost.wait(whole)
	a.wait(whole)
	write(t, a.path(snap), names(whole))
	a.wait(snap)

	open := save(lost, half, "rank1.pt")
	eventually(t, "the open marker is there", func() bool { return len(openMarkers(s)) > 0 })
	must(t, save(a, half, "rank0.pt").Close())
	a.commit(half)
	write(t, a.path(snap), names(half))
	lost.kill()
	_ = open.Close() // nobody is there any more to say that it is done
	must(t, unix.Unmount(lost.dir, unix.MNT_DETACH))

	eventually(t, "status says what the tracker waits for", func() bool {
		_, reason := a.unit(snap)
		return strings.Contains(reason, filepath.Base(half))
	})
	content, _ := s.get(snap)
	want(t, "the tracker in the store", content, names(whole))

	var id struct{ Node string }
	must(t, json.Unmarshal([]byte(read(t, filepath.Join(lost.cache, "node.json"))), &id))
	r := run(t, a.env, trainfs, "fsck", s.source)
	if r.code != 0 || !strings.Contains(r.output, half+"\n  is being written by node "+id.Node) || strings.Contains(r.output, whole) {
		t.Errorf("fsck does not name node %s: exit code %d\n%s", id.Node, r.code, r.output)
	}
}

func openMarkers(s *store) (keys []string) {
	for key := range s.objects(".trainfs/") {
		if strings.HasSuffix(key, ".open") {
			keys = append(keys, key)
		}
	}
	return keys
}
