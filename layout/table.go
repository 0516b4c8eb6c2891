package layout

// entry is what trainfs knows of one framework. All lists hold patterns for one name
// (see match): * any text, # digits, % one digit. A framework is added by adding an
// entry to the table, and its real names to the tests.
type entry struct {
	name string

	dirs     []string // checkpoint directories, precise enough to be sure of
	numbered []string // the same, but only right below a container such as checkpoints/
	files    []string // one-file checkpoints whose name says which one it is

	trackers []tracker
	controls []string // must be in the store when close returns
	logs     []string // grow while the run goes on
	markers  []string // members that are published after the data of their checkpoint

	temporaries []string // renamed or removed by the framework before it is done
	unfinished  []beside // files beside a checkpoint that exist until it is finished

	closing []closing // what says that a checkpoint in one of dirs is finished

	// For what no framework claims.
	generic    []string // checkpoint directories, if nothing precise is found on the path
	containers []string // hold checkpoint directories and are none, whatever generic says
	extensions []string // one-file checkpoints by their extension alone
}

// tracker is a small file that names the newest checkpoint.
type tracker struct {
	name  string
	names parser
}

// beside is the file <checkpoint><suffix>; its name leaves out the extensions listed.
type beside struct {
	suffix  string
	without []string
}

// closing is a framework's own last file. It lies right in the checkpoint directory:
// further down it speaks of a part of the checkpoint only.
type closing struct {
	name    string
	renamed bool // it counts only if it was renamed in; written in place it may be a copy, and more may come
}

// dcpLast is torch.distributed.checkpoint's last step: .metadata.tmp is fsynced and
// renamed once all ranks have written.
var dcpLast = closing{name: ".metadata", renamed: true}

// orbaxLast is what Orbax puts last into a directory that it does not rename.
var orbaxLast = closing{name: "commit_success.txt"}

// table is in order of precedence: of two entries that claim a name with the same sort
// of pattern, the first wins (see lookup).
var table = []entry{
	{
		// Ray Train V2. Files are copied in by all ranks at once, in any order, so
		// nothing inside the directory says that it is finished: the snapshot does.
		name:     "ray-v2",
		dirs:     []string{"checkpoint_%%%%-%%-%%*"},
		trackers: []tracker{{"*_snapshot.json", rayNames}},
		controls: []string{".validate_storage_marker"},
	},
	{
		// Ray Train V1 and Tune. trainer.pkl and tuner.pkl are controls because
		// without them nothing can be restored, and they are written once. The
		// searcher's state names no checkpoint, but belongs to the same moment as
		// the experiment state: as a tracker it is published in order with it.
		name: "ray-v1",
		dirs: []string{"checkpoint_%%%%%%"},
		trackers: []tracker{
			{"experiment_state-*.json", mentionedNames},
			{"basic-variant-state-*.json", noNames},
			{"search_gen_state-*.json", noNames},
			{"searcher-state-*.pkl", noNames},
			{"callback-states-*.pkl", noNames},
		},
		controls:    []string{"trainer.pkl", "tuner.pkl"},
		logs:        []string{"result.json", "progress.csv", "events.out.tfevents*"},
		markers:     []string{".metadata.json"},
		temporaries: []string{".tmp_*"},
	},
	{
		// Hugging Face Trainer. trainer_state.json comes late but not always last. It
		// staged in tmp-checkpoint-<n>; tmp-* at large is anybody's, tmp-test a run.
		name:        "hf-trainer",
		dirs:        []string{"checkpoint-#"},
		markers:     []string{"trainer_state.json", "pytorch_model.bin.index.json", "model.safetensors.index.json"},
		temporaries: []string{"tmp-checkpoint-*", "*.incomplete"},
	},
	{
		name: "accelerate",
		dirs: []string{"checkpoint_#"},
	},
	{
		// model.safetensors.index.json does not close a step-<n>: other programs use
		// that name too and write the optimizer after the model. Quiet closes it.
		name:    "torchtitan",
		dirs:    []string{"step-#"},
		closing: []closing{dcpLast},
	},
	{
		// DeepSpeed. The tag can be the user's own word; latest holds it as it is.
		name:     "deepspeed",
		dirs:     []string{"global_step#"},
		trackers: []tracker{{"latest", wordName}},
	},
	{
		// Megatron. With torch_dist, metadata.json is written after .metadata, so
		// only the tracker says that all is there.
		name:     "megatron",
		dirs:     []string{"iter_#"},
		trackers: []tracker{{"latest_checkpointed_iteration.txt", megatronNames}},
		markers:  []string{"metadata.json"},
	},
	{
		// Lightning. A sharded checkpoint is a directory with the file's name.
		// last.ckpt is a tracker as a symlink (its target is its content) and then
		// names a checkpoint; as a regular file it is a copy and names none, but is
		// published in order all the same.
		name:     "lightning",
		dirs:     []string{"*.ckpt"},
		files:    []string{"*epoch=#*.ckpt", "*step=#*.ckpt"},
		trackers: []tracker{{"last.ckpt", wordName}, {"last-v#.ckpt", wordName}},
		markers:  []string{"meta.pt"},
	},
	{
		// NeMo 2. <name>-unfinished is touched first and removed last.
		name:       "nemo",
		dirs:       []string{"*epoch=#*", "*step=#*"},
		unfinished: []beside{{suffix: "-unfinished", without: []string{".nemo", ".ckpt"}}},
	},
	{
		// Composer. A sharded checkpoint is a directory of torch.distributed.checkpoint.
		name:     "composer",
		dirs:     []string{"ep#-ba#"},
		files:    []string{"ep#-ba#-rank#.pt"},
		trackers: []tracker{{"latest-rank#.pt", wordName}, {"latest-rank#.pt.symlink", wordName}},
		closing:  []closing{dcpLast},
	},
	{
		// Orbax names a checkpoint by the bare step. That could be anything, a trial
		// for instance, so it counts only below a container.
		name:        "orbax",
		numbered:    []string{"#"},
		markers:     []string{"commit_success.txt", "_CHECKPOINT_METADATA"},
		temporaries: []string{"*.orbax-checkpoint-tmp*"},
		closing:     []closing{orbaxLast},
	},
	{
		// Flax, before Orbax: one file without an extension.
		name:        "flax",
		files:       []string{"checkpoint_#"},
		temporaries: []string{"checkpoint_tmp"},
	},
	{
		// DLRover stages beside the checkpoints and moves them over; which name they
		// get there depends on the framework that it serves.
		name:        "dlrover",
		trackers:    []tracker{{"dlrover_latest.txt", dlroverNames}},
		temporaries: []string{"._dlrover_ckpt_stage"},
	},
	{
		// torch.distributed.checkpoint into a directory with a name of the user's
		// own: its files are then ordered one by one, .metadata after the data.
		name:    "dcp",
		files:   []string{".metadata"},
		markers: []string{".metadata"},
	},
	{
		// TensorFlow. The plain file "checkpoint" lists prefixes; <prefix>.index is
		// what is written last of each.
		name:        "tensorflow",
		files:       []string{"ckpt-#.index", "ckpt-#.data-#-of-#"},
		trackers:    []tracker{{"checkpoint", tensorflowNames}},
		temporaries: []string{"checkpoint.tmp*", "ckpt-#_temp"},
	},
	{
		// detectron2 and mmengine keep the newest file's name or path here.
		name:     "detectron2",
		files:    []string{"model_#.pth"},
		trackers: []tracker{{"last_checkpoint", wordName}},
	},
	{
		// safetensors writes through a Rust temporary file, .tmpXXXXXX.
		name:        "safetensors",
		extensions:  []string{"*.safetensors"},
		temporaries: []string{".tmp*"},
	},
	{
		name:       "keras",
		extensions: []string{"*.keras", "*.weights.h5"},
	},
	{
		// What many scripts call a checkpoint.
		name: "numbered",
		dirs: []string{
			"step_#", "step#", "epoch-#", "epoch_#", "epoch#", "ckpt-#", "ckpt_#", "checkpoint#",
			"global_step_#", "global_step-#", "iter-#",
		},
		closing: []closing{dcpLast, orbaxLast},
	},
	{
		// What no framework claims. checkpoint and ckpt alone are containers:
		// torchtitan and many scripts put step-<n> below them.
		name: Generic,
		generic: []string{
			"checkpoint*", "ckpt*", "step-*", "step_*", "epoch*", "global_step*", "iter_*",
		},
		containers: []string{
			"checkpoint", "checkpoints*", "ckpt", "ckpts*", "epochs",
			"checkpoint_dir*", "checkpoint-dir*", "checkpoint_path", "checkpoint_root",
			"ckpt_dir*", "ckpt-dir*", "ckpt_path", "ckpt_root",
		},
		extensions:  []string{"*.ckpt", "*.pt", "*.pth", "*.distcp"},
		logs:        []string{"*.log", "*.jsonl"},
		temporaries: []string{"*.tmp", ".~*", "*._COPYING_"},
		closing:     []closing{dcpLast, orbaxLast},
	},
}

// names is the table, ready for lookups.
var names = newIndex(compile(table))

func compile(table []entry) []rule {
	var rules []rule
	for i := range table {
		e := &table[i]
		add := func(role role, patterns ...string) {
			for _, p := range patterns {
				rules = append(rules, newRule(p, role, e, nil))
			}
		}
		add(roleDir, e.dirs...)
		add(roleNumbered, e.numbered...)
		add(roleFile, e.files...)
		add(roleControl, e.controls...)
		add(roleLog, e.logs...)
		add(roleMarker, e.markers...)
		add(roleTemporary, e.temporaries...)
		add(roleGeneric, e.generic...)
		add(roleContainer, e.containers...)
		add(roleExtension, e.extensions...)
		for _, b := range e.unfinished {
			add(roleUnfinished, "*"+b.suffix)
		}
		for _, t := range e.trackers {
			rules = append(rules, newRule(t.name, roleTracker, e, t.names))
		}
	}
	return rules
}
