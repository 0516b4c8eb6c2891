package cache

import "syscall"

// Owner is the user on whose behalf a program creates something.
type Owner struct{ UID, GID uint32 }

// Info is what stat says of a path, local or remote.
type Info struct {
	syscall.Stat_t

	// Ident and Gen are the identity of the file: equal for hard links, and the same
	// before and after a remote file has been fetched.
	Ident, Gen uint64
}

// DirEntry is one name of a directory.
type DirEntry struct {
	Name string
	Type uint32 // syscall.S_IFDIR, S_IFREG, S_IFLNK, …; 0 if only a stat can tell
	Ino  uint64
}
