// Package killpoint names the steps of trainfs's protocols, so that a test can kill the
// daemon at any one of them.
//
// The code calls At when a step has just been done. In a program that people get, At is
// empty and the compiler leaves nothing of it. Built with the tag killpoint it counts, and
// the process dies by SIGKILL at the n-th crossing of the step that TRAINFS_KILL_AT=STEP:N
// names: no deferred call, no buffer and no other goroutine gets a chance.
//
// The same build takes its boot id from TRAINFS_BOOT_ID, so that a test can say that the
// machine has been down. A program that people get must not know that variable either: one
// left set would make a power cut look like a kill, and publish what the disk has lost half of.
//
// Steps lists all of them, in the order of "Crash argument" in docs/guarantees.md.
//
// This package imports the standard library only, and everything may import it.
package killpoint

// Step is a moment between two durable effects.
type Step string

// The steps. Each is named after what has just been done.
const (
	CreateSlot    Step = "create-slot"    // the opens table has the name; there is no file
	CreateFile    Step = "create-file"    // the file is made, the table has no inode
	CreateInode   Step = "create-inode"   // the table has the inode
	OpenSlot      Step = "open-slot"      // the table has the name of a file that is there
	OpenTakenOver Step = "open-takenover" // a fetched file is noted as written here
	OpenInode     Step = "open-inode"     // the table has the inode, nothing is cut yet
	OpenCut       Step = "open-cut"       // O_TRUNC is done

	CloseNoted    Step = "close-noted"    // FLUSH has noted size and mtime in the table
	CloseVersion  Step = "close-version"  // FLUSH has put a tracker's version into the journal
	CloseRelease  Step = "close-release"  // RELEASE has come, the slot is taken
	CloseReleased Step = "close-released" // the slot is free

	SealRead    Step = "seal-read"    // every file is read and fsynced
	SealNames   Step = "seal-names"   // their directories are fsynced
	SealJournal Step = "seal-journal" // the manifest is in the journal, synced

	StageBegun   Step = "stage-begun"   // the store has begun an upload, the journal does not know
	StageJournal Step = "stage-journal" // the journal knows its id
	StagePart    Step = "stage-part"    // a part is in the store
	StageDone    Step = "stage-done"    // every byte of a file is

	MarkerIntent Step = "marker-intent" // the journal says that an open marker may be there
	MarkerPut    Step = "marker-put"    // it is there

	PublishBegin    Step = "publish-begin"    // "publishing" is in the journal, synced
	PublishManifest Step = "publish-manifest" // the manifest is in the store
	PublishObject   Step = "publish-object"   // one object is visible
	PublishBurst    Step = "publish-burst"    // all are
	PublishRemoved  Step = "publish-removed"  // the objects of removed members are gone
	PublishShown    Step = "publish-shown"    // the open marker is deleted, the journal does not know
	PublishUnmarked Step = "publish-unmarked" // the journal knows
	PublishRecords  Step = "publish-records"  // the clean records are written

	TrackerPut     Step = "tracker-put"     // a version is in the store
	TrackerRecords Step = "tracker-records" // its record is written
	PlainPut       Step = "plain-put"       // an artifact is in the store
	PlainRecords   Step = "plain-records"   // its record is written

	UnlinkTomb   Step = "unlink-tomb"   // the tombstone is written
	UnlinkTree   Step = "unlink-tree"   // the local file is gone
	UnlinkStore  Step = "unlink-store"  // the object is gone
	UnlinkForget Step = "unlink-forget" // the tombstone is gone

	RmdirTomb    Step = "rmdir-tomb"    // the tombstone of a checkpoint directory is written, synced
	RmdirTree    Step = "rmdir-tree"    // the local directory is gone
	RmdirHidden  Step = "rmdir-hidden"  // a marker with state deleting is in the store
	RmdirObjects Step = "rmdir-objects" // the objects are gone
	RmdirUnits   Step = "rmdir-units"   // the manifests and the markers of others are gone
	RmdirMarker  Step = "rmdir-marker"  // our marker is gone, the journal does not know
	RmdirForget  Step = "rmdir-forget"  // the records are gone

	RenamePlanted Step = "rename-planted" // tombstones, hints and intent are written
	RenameTree    Step = "rename-tree"    // the tree has changed
	RenameFinish  Step = "rename-finish"  // the old records are gone
	RenameAdopted Step = "rename-adopted" // the new units are known in memory

	HydrateBlock   Step = "hydrate-block"   // a block is below fetch/
	HydrateChecked Step = "hydrate-checked" // the whole is checked and has its attributes
	HydrateRecord  Step = "hydrate-record"  // its record is written
	HydrateMoved   Step = "hydrate-moved"   // it is in the tree

	EvictFile Step = "evict-file" // one local copy is gone
	EvictUnit Step = "evict-unit" // those of a whole unit are

	RecoverOpened  Step = "recover-opened"  // the table is read, nothing is changed
	RecoverScanned Step = "recover-scanned" // the tree is walked, old tombstones are void
	RecoverTorn    Step = "recover-torn"    // the torn units are in the journal, synced
	RecoverCleared Step = "recover-cleared" // the table is empty
)

// Steps are all of them.
var Steps = []Step{
	CreateSlot, CreateFile, CreateInode, OpenSlot, OpenTakenOver, OpenInode, OpenCut,
	CloseNoted, CloseVersion, CloseRelease, CloseReleased,
	SealRead, SealNames, SealJournal,
	StageBegun, StageJournal, StagePart, StageDone,
	MarkerIntent, MarkerPut,
	PublishBegin, PublishManifest, PublishObject, PublishBurst, PublishRemoved, PublishShown, PublishUnmarked, PublishRecords,
	TrackerPut, TrackerRecords, PlainPut, PlainRecords,
	UnlinkTomb, UnlinkTree, UnlinkStore, UnlinkForget,
	RmdirTomb, RmdirTree, RmdirHidden, RmdirObjects, RmdirUnits, RmdirMarker, RmdirForget,
	RenamePlanted, RenameTree, RenameFinish, RenameAdopted,
	HydrateBlock, HydrateChecked, HydrateRecord, HydrateMoved,
	EvictFile, EvictUnit,
	RecoverOpened, RecoverScanned, RecoverTorn, RecoverCleared,
}

// Env is the variable that says where to die.
const Env = "TRAINFS_KILL_AT"

// BootEnv is the variable that stands in for the boot id of the kernel.
const BootEnv = "TRAINFS_BOOT_ID"
