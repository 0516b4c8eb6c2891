package layout

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const raySnapshot = `{"version":0,"checkpoint_results":[` +
	`{"version":0,"checkpoint_dir_name":"checkpoint_2026-11-23_06-24-03.1","metrics":{"loss":NaN,"note":"\"checkpoint_dir_name\":\"no\""}},` +
	`{"version":0, "checkpoint_dir_name" : "my best","metrics":{}},` +
	`{"version":0,"checkpoint_dir_name":"checkpoint_2026-11-23_06-24-02.1","metrics":{}}],` +
	`"latest_checkpoint_result":{"version":0,"checkpoint_dir_name":"checkpoint_2026-11-23_06-24-03.1","metrics":{}}}`

// tuneState has a name in plain text, one inside JSON inside JSON, and one in a pickle.
var tuneState = `{"trial_data":[["{\"last_result\":{\"checkpoint_dir_name\":\"checkpoint_000002\"}}",` +
	`"{\"_type\":\"CLOUDPICKLE_FALLBACK\",\"value\":\"` +
	hex.EncodeToString([]byte("\x80\x05\x95\x00\x00\x8c\x04path\x94\x8c\x41/mnt/train/exp/TorchTrainer_5f1c2_00000_0_2026-11-23/checkpoint_000003\x94")) +
	`\"}"]],"n":"\ncheckpoint_000001\t"}`

func TestNamed(t *testing.T) {
	for _, c := range []struct {
		name, tracker, content string
		want                   []string
	}{
		{"deepspeed", "a/latest", "global_step100", []string{"global_step100"}},
		{"deepspeed newline", "latest", "global_step100\n", []string{"global_step100"}},
		{"symlink to a directory", "a/latest", "/mnt/a/checkpoint-5/", []string{"checkpoint-5"}},
		{"upward", "a/latest", "..", nil},
		{"root", "a/latest", "/", nil},
		{"empty", "a/latest", "", nil},
		{"two lines", "a/latest", "a\nb", nil},
		{"megatron", "latest_checkpointed_iteration.txt", "100", []string{"iter_0000100"}},
		{"megatron large", "latest_checkpointed_iteration.txt", "12345678\n", []string{"iter_12345678"}},
		{"megatron release", "latest_checkpointed_iteration.txt", "release", []string{"release"}},
		{"megatron garbage", "latest_checkpointed_iteration.txt", "-1", nil},
		{"lightning link", "c/last.ckpt", "epoch=9-step=100.ckpt", []string{"epoch=9-step=100.ckpt"}},
		{"lightning copy", "c/last.ckpt", "PK\x03\x04" + strings.Repeat("\x00", 9000), nil},
		{"composer", "latest-rank0.pt", "ep1-ba100-rank0.pt", []string{"ep1-ba100-rank0.pt"}},
		{"dlrover", "dlrover_latest.txt", "100", []string{"100", "checkpoint-100", "global_step100", "iter_0000100"}},
		{"detectron2", "last_checkpoint", "model_0004999.pth", []string{"model_0004999.pth"}},
		{"tensorflow", "checkpoint", "model_checkpoint_path: \"ckpt-2\"\nall_model_checkpoint_paths: \"ckpt-1\"\nall_model_checkpoint_paths: \"/tf/ckpt-2\"\n", []string{"ckpt-1.index", "ckpt-2.index"}},
		{"ray v2", "run/checkpoint_manager_snapshot.json", raySnapshot, []string{"my best", "checkpoint_2026-11-23_06-24-02.1", "checkpoint_2026-11-23_06-24-03.1"}},
		{"ray v2 torn", "run/checkpoint_manager_snapshot.json", raySnapshot[:150], []string{"checkpoint_2026-11-23_06-24-03.1"}},
		{"ray v2 hostile", "run/checkpoint_manager_snapshot.json", `{"checkpoint_dir_name":"../../etc/.."}`, nil},
		{"ray v1", "exp/experiment_state-2026.json", tuneState, []string{"checkpoint_000002", "checkpoint_000003", "checkpoint_000001"}},
		{"ray v1 searcher", "exp/basic-variant-state-2026.json", tuneState, nil},
		{"no tracker", "exp/config.json", "checkpoint_000001", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mustNew(t).Named(c.tracker, []byte(c.content)); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNamedKnowsUserGlobs(t *testing.T) {
	got := mustNew(t, "best_*").Named("experiment_state-1.json", []byte(`"path":"/mnt/exp/trial/best_7"`))
	if !slices.Equal(got, []string{"best_7"}) {
		t.Errorf("got %q", got)
	}
}

func TestNamedKeepsTheNewestOfTooMany(t *testing.T) {
	var content strings.Builder
	for i := range maxNames + 10 {
		fmt.Fprintf(&content, `{"checkpoint_dir_name":"c%d"}`, i)
	}
	got := mustNew(t).Named("checkpoint_manager_snapshot.json", []byte(content.String()))
	if len(got) != maxNames || got[0] != "c10" || got[maxNames-1] != fmt.Sprint("c", maxNames+9) {
		t.Errorf("%d names, %s to %s", len(got), got[0], got[len(got)-1])
	}
}

func FuzzNamed(f *testing.F) {
	for _, tracker := range []string{"latest", "latest_checkpointed_iteration.txt", "dlrover_latest.txt", "checkpoint",
		"checkpoint_manager_snapshot.json", "experiment_state-1.json", "last.ckpt", "x"} {
		for _, content := range []string{"", "100", "release", "..", "a/b\n", raySnapshot, tuneState, `"checkpoint_dir_name":"\`,
			"model_checkpoint_path: \"ckpt-2\"\n"} {
			f.Add(tracker, []byte(content))
		}
	}
	l := mustNew(f, "best*")
	f.Fuzz(func(t *testing.T, tracker string, content []byte) {
		seen := map[string]bool{}
		for _, name := range l.Named(tracker, content) {
			if CheckPath(name) != nil || strings.Contains(name, "/") || seen[name] {
				t.Errorf("%q names %q", tracker, name)
			}
			seen[name] = true
		}
	})
}

func BenchmarkNamedExperimentState(b *testing.B) {
	content := []byte(strings.Repeat(tuneState, maxTrackerBytes/len(tuneState)))
	l := mustNew(b)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		l.Named("experiment_state-1.json", content)
	}
}
