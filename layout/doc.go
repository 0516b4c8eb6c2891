// Package layout knows what the files of a training run are from their paths: which
// of them are one checkpoint, which are trackers, logs or leftovers, when a checkpoint
// is finished, and under which keys trainfs writes down what it has published.
//
// Everything here is a pure function of paths, events and the content of small files:
// no file system, no store, no clock. The package imports the standard library only.
// A Layout is immutable and safe for concurrent use.
//
// Paths are relative to the mount's root, which is the storage path: separated by '/',
// without a leading one, "" for the root itself.
//
// # What a path is
//
// Classify sorts a path into a Kind and finds its unit, which is what is committed
// together. Of the directories on the path,
//
//   - the topmost that a user's glob names is the unit,
//   - else the topmost with a precise name of some framework (checkpoint_000003,
//     global_step100), so that checkpoint-500/global_step500 belongs to checkpoint-500,
//   - else the topmost that has the look of a checkpoint (checkpoint-best) and is none
//     of the usual containers (checkpoints, ckpts, checkpoint_dir).
//
// In a unit of the first two sorts every file is a member, a log or a tracker too. The
// third is a guess: in ckpt-exp/checkpoint_000001 it is the name of an experiment.
// Such a unit has Generic as its Framework; controls, trackers, logs with a name of
// their own and numbered one-file checkpoints below it stay what they are.
//
// A name that no table entry knows is an artifact. That errs on the safe side: an
// artifact is uploaded, only not atomically with others. For the same reason names
// count as temporary, hence as not to be uploaded, only if a framework is known to use
// them so.
//
// # When a checkpoint is finished
//
// Closes judges single events, Named reads from a tracker which checkpoints its writer
// takes for finished, HeldBy names the files that contradict both. None of them looks
// at sizes. What none of them says, quiet decides, which is not this package's affair.
//
// # What is promised about untrusted input
//
// Keys, manifests, open markers and trackers come from a bucket that anyone may have
// written to. CheckPath, ParseUnitKey, DecodeManifest, DecodeOpenMarker and Named do
// bounded work, never panic, and never let out a path that leaves its directory. A
// document of a version that is not known is ErrVersion, a damaged one ErrFormat.
//
// # Adding a framework
//
// Add one entry to the table in table.go: the names of its checkpoint directories,
// one-file checkpoints, trackers with the function that reads them, controls, logs,
// temporaries, and the file that it writes last, if nothing follows that. Say in a
// comment what it does and why an entry is not the obvious one. Then add the names of
// a real run to the table in classify_test.go, its tracker to tracker_test.go, and a row
// to docs/frameworks.md, which the tests compare with the table.
package layout
