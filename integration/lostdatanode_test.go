package integration

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/minihdfs"
)

// The only data node of an HDFS dies in the middle of a block of a checkpoint: status names it,
// nothing of the checkpoint shows, and all of it arrives once the node is back.
func TestDataNodeIsLostWhileACheckpointGoesUp(t *testing.T) {
	t.Parallel()
	cluster, nodes := minihdfs.StartNodes(t, 1)
	node, source := nodes[0], cluster.URL("runs/a?replication=1&default_block_size=1048576")
	s := &store{t: t, source: source, raw: openRaw(t, source, nil)}
	writer, other := s.mount(t, "settle=1h"), s.mount(t)
	first, second := "exp/trial/checkpoint_000001", "exp/trial/checkpoint_000002"
	saveSome(t, writer, first, 1)
	writer.wait()
	eventually(t, "the other mount has the first", func() bool { return exists(other.path(first, "model.pt")) })

	stop := watch(20*time.Millisecond, func() { wantNothingOrAll(t, other, second) })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	caught := make(chan error, 1)
	go func() { caught <- node.PauseWriting(ctx) }()
	saveSome(t, writer, second, 2)
	if err := <-caught; err != nil {
		t.Fatal("the upload was not caught in the middle of a block")
	}
	node.Stop()
	eventually(t, "status names the data node", func() bool {
		_, reason := writer.unit(second)
		return strings.Contains(reason, "data node "+node.Address)
	})
	for _, key := range s.keys() {
		if strings.HasPrefix(key, second) {
			t.Errorf("in the store without the rest: %s", key)
		}
	}

	node.Restart()
	writer.wait()
	eventually(t, "the other mount has the second", func() bool { return exists(other.path(second, "model.pt")) })
	stop()
	for _, dir := range []string{first, second} {
		s.wantSame(writer.path(dir), dir+"/")
		wantRestored(t, writer, other, dir)
	}
	stages, err := s.raw.ListStages(context.Background(), "")
	must(t, err)
	want(t, "unfinished uploads in the store", len(stages), 0)
}
