package uploader

import (
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/layout"
)

// P3: that a node is dead is no reason to show the half of a checkpoint that it left.
func TestGcKeepsMarkersThatHideHalfACheckpoint(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		state string
		lost  []string // members whose objects are gone
		stays bool
	}{
		"whole":                {layout.StateOpen, nil, false},
		"half published":       {layout.StateOpen, []string{"b"}, true},
		"half deleted":         {layout.StateDeleting, []string{"b"}, true},
		"not deleted yet":      {layout.StateDeleting, nil, true},
		"deleted to the end":   {layout.StateDeleting, []string{"a", "b"}, false},
		"nothing of it is out": {layout.StateOpen, []string{"a", "b"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s)
			const unit = "run/checkpoint_000001"
			n.mkdir("run")
			n.mkdir(unit)
			n.write(unit+"/a", "a")
			n.write(unit+"/b", "b")
			n.wait()
			n.close()
			marker := `{"version":1,"node":"dead","host":"h","since":"2026-01-02T03:04:05Z","state":"` + tt.state + `"}`
			putRaw(t, s, layout.OpenKey(unit, "dead"), marker)
			for _, m := range tt.lost {
				if err := s.Delete(ctx, unit+"/"+m); err != nil {
					t.Fatal(err)
				}
			}
			var why string
			failed, err := CollectGarbage(ctx, s, GarbageOptions{OlderThan: time.Hour, DeadNodes: []string{"dead"}}, func(g Garbage) { why += g.Err })
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Head(ctx, layout.OpenKey(unit, "dead"))
			if stays := err == nil; stays != tt.stays || (failed > 0) != tt.stays || strings.Contains(why, "died") != tt.stays {
				t.Errorf("the marker stays: %v, failed: %d, %q", stays, failed, why)
			}
		})
	}
}
