// Package fusefs serves package cache as a Linux file system: it turns the kernel's
// FUSE requests into calls of [VFS] and errors into errno, and does nothing else.
//
// # Promises
//
//   - A program sees the errors of the local disk and of a commit where POSIX lets it
//     see them: at open, write, fsync and close. Nothing that can fail is left to RELEASE.
//   - An operation is cancelled through its context when its program is killed or
//     interrupted; no other signal makes a system call fail (interrupt.go).
//   - A panic in a request is one logged EIO, not a dead mount.
//   - Listing a directory costs one [VFS.ReadDir] and no lookup of its entries.
//   - Where passthrough can be had, reads and writes never reach this process. Where it
//     cannot, everything works without it, and [Server.Passthrough] says why.
//   - A file that is still being fetched can be read, mapped and copied as one that is
//     whole. That its fetch ends is seen by no program, and the first open after the last
//     close is by passthrough.
//
// # Imports
//
// Package cache for its types, package backend for its error sentinels, go-fuse. No
// other package of this module imports go-fuse.
//
// # How it is put together
//
// A [Node] is a name in the tree: it has no data but knows its path, as go-fuse keeps
// it through renames. A handle is an open file: go-fuse's LoopbackFile around the
// cache's descriptor, which does the I/O, and the cache's handle, which is told of it.
// A guard around go-fuse's bridge holds what must be true of every answer.
//
// # Traps of the kernel and of go-fuse that are stepped around
//
//   - While an inode has a passthrough handle, the kernel fails any other kind of open
//     of it with EIO, and the reverse. So all open files of a node are of one kind, as
//     the first of them was (iomode.go). Whether the mount has passthrough at all is
//     decided before the first request, by registering a file of the cache directory on
//     trial (passthrough.go).
//   - An open that does not keep the kernel's pages of the file waits, unkillable, for
//     those that are being read. Read-ahead is not interrupted by any signal, and holds
//     up the RELEASE (iomode.go, stream.go).
//   - The first ENOSYS to a FLUSH or FSYNC makes the kernel answer that request with
//     success for ever, without asking. No ENOSYS leaves errnoOf, nor the guard.
//   - Without FUSE_HANDLE_KILLPRIV_V2 the kernel asks for security.capability before
//     every write. With it, stripping set-user-id bits is left to us, and writing as
//     root does not strip them: so the mount is always nosuid.
//   - Without FUSE_ATOMIC_O_TRUNC the kernel opens a file and truncates it in a second
//     request: opening a remote file to overwrite it would first download it.
//   - The kernel keeps a file's size for the attribute timeout, also across an open. If
//     the file that was opened is not the one that the kernel knows, its attributes are
//     invalidated before the open is answered. Only the attributes: invalidating names or
//     data from inside a request on the same inode deadlocks (attr.go).
//   - Byte range and flock locks stay in the kernel. Sent to the daemon, go-fuse turns
//     them into locks of the open file: a process would conflict with itself, closing
//     one descriptor would not unlock, and a waiting process could not be killed.
//   - go-fuse would pass any ioctl to the file below, with the daemon's privileges. None is.
//   - A process that is killed while it uses its own mount hangs for ever, and with it
//     the mount. So nothing here does, but for go-fuse's WaitMount.
//   - The context of a request is only good until the request is answered: its
//     channel serves the next one.
package fusefs
