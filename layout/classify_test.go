package layout

import (
	"strings"
	"testing"
)

// mustNew returns the layout for user globs.
func mustNew(t testing.TB, globs ...string) *Layout {
	t.Helper()
	l, err := New(Options{Checkpoints: globs})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// classCase is one path. A trailing slash makes it a directory. An empty unit means the
// path itself.
type classCase struct {
	path      string
	kind      Kind
	unit      string
	framework string
	marker    bool
}

func checkClasses(t *testing.T, l *Layout, cases []classCase) {
	t.Helper()
	for _, c := range cases {
		path, dir := strings.CutSuffix(c.path, "/")
		want := Class{Kind: c.kind, Unit: c.unit, Framework: c.framework, Marker: c.marker}
		if want.Unit == "" {
			want.Unit = path
		}
		got := l.Classify(path, dir)
		trial := got.Trial
		got.Trial = ""
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.path, got, want)
		}
		switch got.Kind {
		case Checkpoint:
			if trial != parent(got.Unit) {
				t.Errorf("%s: trial %q is not the parent of unit %q", c.path, trial, got.Unit)
			}
		case Tracker:
			if trial != parent(path) {
				t.Errorf("%s: trial %q is not the tracker's directory", c.path, trial)
			}
		}
	}
}

func TestClassifyRealRuns(t *testing.T) {
	const v2 = "run/checkpoint_2026-11-23_06-24-01.123456"
	const v1 = "exp/TorchTrainer_5f1c2_00000_0_lr=0.1_2026-11-23_06-24-01"
	const nemo = "nemo/default/2026-11-23_06-24-01/checkpoints/default--val_loss=5.03-epoch=0-consumed_samples=320.0"
	for name, cases := range map[string][]classCase{
		"ray-v2": {
			{"run/", Artifact, "", "", false},
			{"run/.validate_storage_marker", Control, "", "ray-v2", false},
			{"run/checkpoint_manager_snapshot.json", Tracker, "", "ray-v2", false},
			{v2 + "/", Checkpoint, v2, "ray-v2", false},
			{v2 + "/model.pt", Checkpoint, v2, "ray-v2", false},
			{v2 + "/rank0/", Checkpoint, v2, "ray-v2", false},
			{v2 + "/train.log", Checkpoint, v2, "ray-v2", false},
			{v2 + "/__0_0.distcp", Checkpoint, v2, "ray-v2", false},
			{v2 + "/.metadata", Checkpoint, v2, "ray-v2", true},
			{v2 + "/.metadata.tmp", Temporary, v2, "generic", false},
		},
		"ray-v1": {
			{"exp/trainer.pkl", Control, "", "ray-v1", false},
			{"exp/tuner.pkl", Control, "", "ray-v1", false},
			{"exp/experiment_state-2026-11-23_06-24-01.json", Tracker, "", "ray-v1", false},
			{"exp/basic-variant-state-2026-11-23_06-24-01.json", Tracker, "", "ray-v1", false},
			{"exp/.tmp_generator", Temporary, "", "ray-v1", false},
			{v1 + "/", Artifact, "", "", false},
			{v1 + "/result.json", Log, "", "ray-v1", false},
			{v1 + "/progress.csv", Log, "", "ray-v1", false},
			{v1 + "/params.json", Artifact, "", "", false},
			{v1 + "/events.out.tfevents.1700000000.host", Log, "", "ray-v1", false},
			{v1 + "/checkpoint_000000/", Checkpoint, v1 + "/checkpoint_000000", "ray-v1", false},
			{v1 + "/checkpoint_000000/.metadata.json", Checkpoint, v1 + "/checkpoint_000000", "ray-v1", true},
			{v1 + "/checkpoint_000000/result.json", Checkpoint, v1 + "/checkpoint_000000", "ray-v1", false},
		},
		"experiment that looks like a checkpoint": {
			{"ckpt-exp/", Checkpoint, "ckpt-exp", "generic", false},
			{"ckpt-exp/result.json", Log, "", "ray-v1", false},
			{"ckpt-exp/.validate_storage_marker", Control, "", "ray-v2", false},
			{"ckpt-exp/checkpoint_manager_snapshot.json", Tracker, "", "ray-v2", false},
			{"ckpt-exp/latest", Tracker, "", "deepspeed", false},
			{"ckpt-exp/checkpoint_000001/model.pt", Checkpoint, "ckpt-exp/checkpoint_000001", "ray-v1", false},
			{"ckpt-exp/epoch=1-step=10.ckpt", Checkpoint, "", "lightning", false},
			{"ckpt-exp/train.log", Checkpoint, "ckpt-exp", "generic", false},
			{"ckpt-exp/model.pt", Checkpoint, "ckpt-exp", "generic", false},
			{"ckpt-exp/.metadata", Checkpoint, "ckpt-exp", "generic", true},
		},
		"hf-trainer": {
			{"out/checkpoint-500/trainer_state.json", Checkpoint, "out/checkpoint-500", "hf-trainer", true},
			{"out/checkpoint-500/model.safetensors", Checkpoint, "out/checkpoint-500", "hf-trainer", false},
			{"out/checkpoint-500/model.safetensors.index.json", Checkpoint, "out/checkpoint-500", "hf-trainer", true},
			{"out/checkpoint-500/global_step500/mp_rank_00_model_states.pt", Checkpoint, "out/checkpoint-500", "hf-trainer", false},
			{"out/checkpoint-500/latest", Checkpoint, "out/checkpoint-500", "hf-trainer", true},
			{"out/tmp-checkpoint-500/", Temporary, "", "hf-trainer", false},
			{"out/tmp-checkpoint-500/model.safetensors", Temporary, "", "hf-trainer", false},
			{"out/tmp-checkpoint-500/checkpoint-500/x", Temporary, "", "hf-trainer", false},
			{"out/model-00001-of-00002.safetensors", Checkpoint, "", "safetensors", false},
			{"out/config.json", Artifact, "", "", false},
			{"out/runs/Nov23_host/events.out.tfevents.1700000000.host.1.0", Log, "", "ray-v1", false},
		},
		"accelerate": {
			{"proj/checkpoints/", Artifact, "", "", false},
			{"proj/checkpoints/checkpoint_3/model.safetensors", Checkpoint, "proj/checkpoints/checkpoint_3", "accelerate", false},
			{"proj/checkpoints/checkpoint_3/random_states_0.pkl", Checkpoint, "proj/checkpoints/checkpoint_3", "accelerate", false},
		},
		"torchtitan": {
			{"outputs/checkpoint/", Artifact, "", "", false},
			{"outputs/checkpoint/step-100/", Checkpoint, "outputs/checkpoint/step-100", "torchtitan", false},
			{"outputs/checkpoint/step-100/.metadata", Checkpoint, "outputs/checkpoint/step-100", "torchtitan", true},
		},
		"deepspeed": {
			{"ds/latest", Tracker, "", "deepspeed", false},
			{"ds/latest/", Artifact, "", "", false},
			{"ds/global_step100/zero_pp_rank_0_mp_rank_00_optim_states.pt", Checkpoint, "ds/global_step100", "deepspeed", false},
			{"ds/zero_to_fp32.py", Artifact, "", "", false},
		},
		"megatron": {
			{"mg/latest_checkpointed_iteration.txt", Tracker, "", "megatron", false},
			{"mg/iter_0000100/mp_rank_00/model_optim_rng.pt", Checkpoint, "mg/iter_0000100", "megatron", false},
			{"mg/iter_0000100/metadata.json", Checkpoint, "mg/iter_0000100", "megatron", true},
		},
		"lightning": {
			{"lightning_logs/version_0/checkpoints/epoch=9-step=100.ckpt", Checkpoint, "", "lightning", false},
			{"lightning_logs/version_0/checkpoints/last.ckpt", Tracker, "", "lightning", false},
			{"lightning_logs/version_0/checkpoints/best.ckpt", Checkpoint, "", "generic", false},
			{"lightning_logs/version_0/checkpoints/epoch=9-step=100.ckpt/meta.pt", Checkpoint, "lightning_logs/version_0/checkpoints/epoch=9-step=100.ckpt", "lightning", true},
			{"lightning_logs/version_0/checkpoints/last.ckpt/", Checkpoint, "", "lightning", false},
			{"lightning_logs/version_0/hparams.yaml", Artifact, "", "", false},
			{"lightning_logs/version_0/metrics.csv", Artifact, "", "", false},
		},
		"nemo": {
			{nemo + "/weights/__0_0.distcp", Checkpoint, nemo, "nemo", false},
			{nemo + "/context/io.json", Checkpoint, nemo, "nemo", false},
			{nemo + "-unfinished", Temporary, "", "nemo", false},
			{"task-unfinished/", Artifact, "", "", false},
		},
		"composer": {
			{"ep1-ba100-rank0.pt", Checkpoint, "", "composer", false},
			{"latest-rank0.pt", Tracker, "", "composer", false},
			{"ep1-ba100/__0_0.distcp", Checkpoint, "ep1-ba100", "composer", false},
		},
		"orbax": {
			{"run/checkpoints/100/default/manifest.ocdbt", Checkpoint, "run/checkpoints/100", "orbax", false},
			{"run/checkpoints/100/commit_success.txt", Checkpoint, "run/checkpoints/100", "orbax", true},
			{"run/checkpoints/100.orbax-checkpoint-tmp-1700000000/default/d", Temporary, "", "orbax", false},
			{"run/100/", Artifact, "", "", false},
			{"run/100/events.out.tfevents.1", Log, "", "ray-v1", false},
			{"run/checkpoints/notes/100/", Artifact, "", "", false},
		},
		"dlrover": {
			{"d/dlrover_latest.txt", Tracker, "", "dlrover", false},
			{"d/._dlrover_ckpt_stage/100/rank_0.pt", Temporary, "", "dlrover", false},
			{"d/._dlrover_ckpt_stage/100.done/0", Temporary, "", "dlrover", false},
			{"d/checkpoint-100/rng_state.pth", Checkpoint, "d/checkpoint-100", "hf-trainer", false},
		},
		"dcp": {
			{"weights/__0_0.distcp", Checkpoint, "", "generic", false},
			{"weights/.metadata", Checkpoint, "", "dcp", false},
			{"weights/.metadata.tmp", Temporary, "", "generic", false},
		},
		"one file": {
			{"model.keras", Checkpoint, "", "keras", false},
			{"model.weights.h5", Checkpoint, "", "keras", false},
			{"data.h5", Artifact, "", "", false},
			{"a/model.pt", Checkpoint, "", "generic", false},
			{"a/model.pth", Checkpoint, "", "generic", false},
			{"a/.tmpAb3dEf", Temporary, "", "safetensors", false},
			{"flax/checkpoint_1000", Checkpoint, "", "flax", false},
			{"tf/checkpoint", Tracker, "", "tensorflow", false},
			{"tf/ckpt-5.data-00000-of-00001", Checkpoint, "", "tensorflow", false},
			{"tf/ckpt-5.index", Checkpoint, "", "tensorflow", false},
			{"d2/model_0004999.pth", Checkpoint, "", "detectron2", false},
			{"d2/last_checkpoint", Tracker, "", "detectron2", false},
		},
		"only a name": {
			{"epoch.txt", Artifact, "", "", false},
			{"checkpoint.json", Artifact, "", "", false},
			{"step_log.csv", Artifact, "", "", false},
			{"checkpoint-best", Artifact, "", "", false},
			{"tmpfile", Artifact, "", "", false},
			{"tmp/", Artifact, "", "", false},
			{"tmp_results/a", Artifact, "", "", false},
			{"tmp-test/", Artifact, "", "", false},
			{"tmp-test/checkpoint-5/model.pt", Checkpoint, "tmp-test/checkpoint-5", "hf-trainer", false},
			{"tmp-checkpoint/a", Artifact, "", "", false},
			{"train.log", Log, "", "generic", false},
			{"metrics.jsonl", Log, "", "generic", false},
			{"upload._COPYING_", Temporary, "", "generic", false},
			{"", Artifact, "", "", false},
		},
		"generic directories": {
			{"checkpoint-best/model.pt", Checkpoint, "checkpoint-best", "generic", false},
			{"epoch_3/model.pt", Checkpoint, "epoch_3", "numbered", false},
			{"step_100/model.pt", Checkpoint, "step_100", "numbered", false},
			{"step_100/result.json", Checkpoint, "step_100", "numbered", false},
			{"ckpts/ckpt_5/a", Checkpoint, "ckpts/ckpt_5", "numbered", false},
			{"checkpoints/readme.md", Artifact, "", "", false},
			{"checkpoint_dir/model.bin", Artifact, "", "", false},
			{"stepwise/model.bin", Artifact, "", "", false},
		},
		"internal": {
			{".trainfs/", Internal, "", "", false},
			{".trainfs/v1/units/a/n.json", Internal, "", "", false},
			{".trainfs2/a", Artifact, "", "", false},
			{"a/.trainfs/b", Artifact, "", "", false},
		},
	} {
		t.Run(name, func(t *testing.T) { checkClasses(t, mustNew(t), cases) })
	}
}

func TestUserGlobsWin(t *testing.T) {
	checkClasses(t, mustNew(t, "best*", "runs/*/final", "keep.tmp"), []classCase{
		{"exp/best_model/a.log", Checkpoint, "exp/best_model", "user", false},
		{"exp/best_model/latest", Checkpoint, "exp/best_model", "user", true},
		{"exp/best_model/checkpoint_000001/a", Checkpoint, "exp/best_model", "user", false},
		{"checkpoint_000001/best/a", Checkpoint, "checkpoint_000001/best", "user", false},
		{"runs/1/final/a", Checkpoint, "runs/1/final", "user", false},
		{"other/1/final/a", Artifact, "", "", false},
		{"exp/best.bin", Checkpoint, "", "user", false},
		{"exp/best.log", Log, "", "generic", false},
		{"exp/best.tmp/a", Temporary, "", "generic", false},
		{"exp/best/a.tmp", Temporary, "exp/best", "generic", false},
		{"exp/keep.tmp/a", Checkpoint, "exp/keep.tmp", "user", false},
		{".trainfs/best/a", Internal, "", "", false},
	})
}

func TestExcludedIsNeverUploaded(t *testing.T) {
	l, err := New(Options{
		Checkpoints: []string{"best*", "keep.tmp"},
		Exclude:     []string{"*.secret", "scratch/", "runs/*/debug", "best.bak", "keep.tmp"},
	})
	if err != nil {
		t.Fatal(err)
	}
	checkClasses(t, l, []classCase{
		{"a.secret", Temporary, "", "user", false},
		{"exp/a.secret", Temporary, "", "user", false},
		{"a.secret.txt", Artifact, "", "", false},
		{"scratch/", Temporary, "", "user", false},
		{"exp/scratch/deep/model.pt", Temporary, "", "user", false},
		{"exp/scratch/checkpoint_000001/model.pt", Temporary, "", "user", false},
		{"exp/scratch", Temporary, "", "user", false},
		{"runs/1/debug/latest", Temporary, "", "user", false},
		{"runs/1/other/latest", Tracker, "", "deepspeed", false},
		{"other/runs/1/debug/latest", Tracker, "", "deepspeed", false},
		{"best.bak/model.pt", Temporary, "", "user", false},
		{"keep.tmp/model.pt", Temporary, "", "user", false},
		{"best/model.pt", Checkpoint, "best", "user", false},
		{"checkpoint_000001/a.secret", Temporary, "checkpoint_000001", "user", false},
		{"checkpoint_000001/scratch/a", Temporary, "checkpoint_000001", "user", false},
		{"checkpoint_000001/a.tmp/b.secret", Temporary, "checkpoint_000001", "generic", false},
		{"checkpoint_000001/model.pt", Checkpoint, "checkpoint_000001", "ray-v1", false},
		{".trainfs/a.secret", Internal, "", "", false},
	})
	for _, event := range []Event{Closed, RenamedIn} {
		if unit, ok := l.Closes("scratch/model.pt", false, event); ok {
			t.Errorf("an excluded file closes %q", unit)
		}
	}
}

func TestNotCheckpointNamesAreNeverCheckpoints(t *testing.T) {
	l, err := New(Options{Checkpoints: []string{"c*"}, NotCheckpoint: []string{"checkpoint_viz/", "step-*"}})
	if err != nil {
		t.Fatal(err)
	}
	checkClasses(t, l, []classCase{
		{"checkpoint_viz/a", Artifact, "", "", false},
		{"checkpoint_viz/", Artifact, "", "", false},
		{"step-100/a", Artifact, "", "", false},
		{"step-100/checkpoint_000001/a", Checkpoint, "step-100/checkpoint_000001", "user", false},
	})
}

func TestNewNamesTheBadGlob(t *testing.T) {
	for _, o := range []Options{
		{Checkpoints: []string{"ok*", "bad["}},
		{Checkpoints: []string{"/bad["}},
		{Exclude: []string{"bad["}},
		{Exclude: []string{"ok/bad["}},
		{NotCheckpoint: []string{"bad["}},
		{NotCheckpoint: []string{"bad[x]/x"}},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), "bad[") {
			t.Errorf("New(%+v): %v, want an error that names the glob", o, err)
		}
	}
	for _, o := range []Options{
		{Checkpoints: []string{""}}, {Checkpoints: []string{"/a"}}, {NotCheckpoint: []string{""}},
		{Exclude: []string{""}}, {Exclude: []string{"/"}}, {Exclude: []string{"/a"}},
		{Exclude: []string{"./a"}}, {Exclude: []string{"a/../b"}}, {Exclude: []string{"a//b"}}, {Exclude: []string{".."}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v): no error", o)
		}
	}
}

func TestClassifyDoesNotAllocate(t *testing.T) {
	globbed, err := New(Options{
		Checkpoints: []string{"best*"}, Exclude: []string{"*.secret", "runs/*/debug"}, NotCheckpoint: []string{"viz"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range []*Layout{mustNew(t), globbed} {
		if n := testing.AllocsPerRun(100, func() { l.Classify(benchPaths[0], false) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

var benchPaths = []string{
	"exp/TorchTrainer_5f1c2_00000_0_lr=0.1/checkpoint_000003/rank_0/model-00001-of-00008.safetensors",
	"run/checkpoint_2026-11-23_06-24-01.123456/.metadata",
	"out/runs/Nov23_host/events.out.tfevents.1700000000.host.1.0",
	"data/shard/images/train/0001234.jpg",
}

func BenchmarkClassify(b *testing.B) {
	l := mustNew(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Classify(benchPaths[i%len(benchPaths)], false)
	}
}

func BenchmarkClassifyWithGlobs(b *testing.B) {
	l := mustNew(b, "best*", "runs/*/final")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Classify(benchPaths[i%len(benchPaths)], false)
	}
}

func FuzzClassify(f *testing.F) {
	for _, p := range append(benchPaths, "", "/", "//a", "a/", ".trainfs", "checkpoint-500/global_step500/x",
		"ckpt-exp/latest", "tmp-checkpoint-5/a", "a\x00b/\xff", "checkpoints/100/a", "epoch=1-step=2.ckpt") {
		f.Add(p, true)
		f.Add(p, false)
	}
	plain, globbed := mustNew(f), mustNew(f, "*best*", "a/*/c")
	excluding, err := New(Options{Checkpoints: []string{"*best*"}, Exclude: []string{"*x", "a/*/c"}, NotCheckpoint: []string{"c*"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string, dir bool) {
		for _, l := range []*Layout{plain, globbed, excluding} {
			c := l.Classify(path, dir)
			if !within(path, c.Unit) || !within(c.Unit, c.Trial) {
				t.Errorf("%q: unit %q, trial %q", path, c.Unit, c.Trial)
			}
			if c != l.Classify(path, dir) {
				t.Errorf("%q: not the same twice", path)
			}
			if c.Kind == Checkpoint && c.Unit != path {
				if u := l.Classify(c.Unit, true); u.Unit != c.Unit || u.Kind != Checkpoint || u.Trial != c.Trial {
					t.Errorf("%q: its unit %q is none: %+v", path, c.Unit, u)
				}
			}
			if unit, ok := l.Closes(path, dir, RenamedIn); ok && unit != c.Unit {
				t.Errorf("%q: closes %q", path, unit)
			}
		}
	})
}

// within reports whether p is dir or lies below it.
func within(p, dir string) bool {
	return dir == "" || p == dir || strings.HasPrefix(p, dir+"/")
}
