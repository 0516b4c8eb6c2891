package layout

import (
	"slices"
	"strings"
	"testing"
)

func TestCloses(t *testing.T) {
	l := mustNew(t, "best")
	for _, c := range []struct {
		path  string // trailing slash: a directory
		event Event
		unit  string
		ok    bool
	}{
		{"out/checkpoint-500/", RenamedIn, "out/checkpoint-500", true},
		{"out/checkpoint-500/trainer_state.json", Closed, "out/checkpoint-500", false},
		{"out/checkpoint-500/global_step500/", RenamedIn, "out/checkpoint-500", false},
		{"run/checkpoints/100/", RenamedIn, "run/checkpoints/100", true},
		{"run/checkpoints/100/commit_success.txt", Closed, "run/checkpoints/100", true},
		{"run/checkpoints/100/default/commit_success.txt", Closed, "run/checkpoints/100", false},
		{"tt/step-10/.metadata", RenamedIn, "tt/step-10", true},
		{"tt/step-10/.metadata", Closed, "tt/step-10", false},
		{"tt/step-10/optim/.metadata", RenamedIn, "tt/step-10", false},
		{"tt/step-10/.metadata.tmp", Closed, "", false},
		{"best/.metadata", RenamedIn, "best", true},
		{"epoch_1/.metadata", RenamedIn, "epoch_1", true},
		{"run/ep0-ba10/.metadata", RenamedIn, "run/ep0-ba10", true},
		// Ray copies in any order, Megatron writes more afterwards.
		{"exp/checkpoint_000001/.metadata", RenamedIn, "exp/checkpoint_000001", false},
		{"mg/iter_0000100/.metadata", RenamedIn, "mg/iter_0000100", false},
		{"a/model.pt", Closed, "a/model.pt", true},
		{"a/model.safetensors", RenamedIn, "a/model.safetensors", true},
		{"a/config.json", Closed, "", false},
		{"a/latest", Closed, "", false},
		{"a/", RenamedIn, "", false},
	} {
		path, dir := strings.CutSuffix(c.path, "/")
		if unit, ok := l.Closes(path, dir, c.event); unit != c.unit || ok != c.ok {
			t.Errorf("%s, event %d: %q, %v; want %q, %v", c.path, c.event, unit, ok, c.unit, c.ok)
		}
	}
}

func TestHeldByNeMoMarkers(t *testing.T) {
	l := mustNew(t)
	for unit, want := range map[string][]string{
		"a/epoch=1":      {"a/epoch=1-unfinished"},
		"a/epoch=1.ckpt": {"a/epoch=1.ckpt-unfinished", "a/epoch=1-unfinished"},
	} {
		got := l.HeldBy(unit)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", unit, got, want)
		}
		for _, path := range got {
			if c := l.Classify(path, false); c.Kind != Temporary {
				t.Errorf("%s is held by %s, which is a %v", unit, path, c.Kind)
			}
		}
	}
}
