package uploader

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/mem"
)

// lateStore is a store that carries out the last request of the first upload only after a
// deletion, long after who sent it has died.
type lateStore struct {
	backend.Store
	once, deleted sync.Once
	reached       chan struct{}
	carry         func()
}

func (s *lateStore) Delete(ctx context.Context, keys ...string) error {
	err := s.Store.Delete(ctx, keys...)
	s.deleted.Do(s.carry)
	return err
}

// AbortStage takes its time.
func (s *lateStore) AbortStage(ctx context.Context, stage backend.Stage) error {
	sleep(ctx, 100*time.Millisecond)
	return s.Store.AbortStage(ctx, stage)
}

func (s *lateStore) PublishStage(ctx context.Context, stage backend.Stage, parts []backend.Part, crc uint32, o backend.PutOptions) (obj backend.Object, err error) {
	first := false
	s.once.Do(func() {
		first = true
		s.carry = func() { s.Store.PublishStage(context.Background(), stage, parts, crc, o) }
		close(s.reached)
	})
	if first {
		<-ctx.Done()
		return obj, ctx.Err()
	}
	return s.Store.PublishStage(ctx, stage, parts, crc, o)
}

// P5: a file is deleted while its last request is on its way, the daemon is killed, and the
// store carries the request out after the next one has deleted the file.
func TestFileDeletedBeforeAKillStaysAwayHoweverLateItsUploadEnds(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"artifact": "run/notes", "one-file checkpoint": "run/model.ckpt", "checkpoint": "run/checkpoint_000001/a"} {
		t.Run(name, func(t *testing.T) {
			s := &lateStore{Store: mem.New(), reached: make(chan struct{})}
			n := startNode(t, s)
			n.mkdir("run")
			if name == "checkpoint" {
				n.mkdir("run/checkpoint_000001")
			}
			n.write(file, big(1, 3<<20))
			<-s.reached
			n.unlink(file)
			if name == "checkpoint" {
				if err := n.Rmdir(ctx, "run/checkpoint_000001"); err != nil {
					t.Fatal(err)
				}
			}
			n.restart()
			n.wait()
			if got := objects(t, s); got != "" {
				t.Errorf("in the store: %s", got)
			}
		})
	}
}
