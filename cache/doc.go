// Package cache is the local side of a mount: the files themselves, the memory of what
// of them the store has, and the names that only the store has.
//
//	CACHE/
//	  tree/        the namespace as plain files, same names as in the mount
//	  fetch/       downloads that are not complete
//	  journal/     Badger: what is already safe (records.go)
//	  opens        which files are open for writing, mapped shared (opens.go)
//	  lost+found/  what was set aside
//	  node.json    node id, storage path, format version
//	  lock         one daemon a cache directory
//
// # What it promises
//
// Everything under tree/ is whole, real data (I1). The tree is the truth, the journal
// only remembers what is safe: a file without a clean record is dirty and goes up
// (I2). What is missing locally was not deleted: only a tombstone deletes in the
// store (I3). A step that spans tree, journal and store writes its intent first, and
// may be done again (I4). A file whose history this node does not know replaces
// nothing (I6). Nothing that a program waits for waits for the network, but for a
// name that only the store can know, the content of a remote file, and the close of
// a control file.
//
// # Where to read
//
//	open, close    handle.go, create.go, close.go, opens.go, tracker.go
//	names          make.go, remove.go, rename.go and move.go; lookup.go, names.go, probe.go,
//	               listing.go, view.go, reach.go (outages)
//	hydrate        hydrate.go, fetch.go (one download), fetchrun.go and fetchwork.go (its
//	               requests), fetchread.go (its readers), fetchend.go (the check), prefetch.go
//	evict          evict.go, reserve.go
//	recover        recover.go, torn.go
//	units          units.go, due.go (whose turn it is), named.go (what a tracker waits for)
//	commit         the uploader's side, in order: snapshot.go, pipeline.go, committed.go; pending.go
//
// # Locks
//
// Cache.mu guards units and handles; it may be held for a look at the tree or the
// journal, never for a call to the store. names.mu, fetches.mu, idents.mu and
// openTable.mu are taken after it, alone, and only for memory. Handle.flush keeps two
// snapshots of one tracker apart and is taken before Cache.mu.
//
// cache imports backend and layout; it alone imports Badger. fusefs and uploader meet
// in it and do not know each other.
package cache
