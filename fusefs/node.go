package fusefs

import (
	"context"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/trainfs/trainfs/cache"
)

// nameMax is NAME_MAX: a longer name is not worth asking the store for.
const nameMax = 255

// Node is a file, directory or symbolic link of the mount.
type Node struct {
	fs.Inode
	s *Server

	mu struct {
		sync.Mutex
		told syscall.Stat_t // what the kernel was last told

		// The open files, all of one kind, see admit. The rest speaks of these.
		open    []*handle
		backing int32 // the kernel's number for passthrough
		settled bool  // the kernel's pages are of this file, see settle
		whole   bool  // one was not streaming, so that all of the file is here
	}
}

// path is where the node is. It is gone (false) once its last name, or a directory
// above it, has been removed; a descriptor may still be open. go-fuse's own Path
// would make up a name then, and the cache would ask the store for it.
func (n *Node) path() (string, bool) {
	root := n.Root()
	if n.EmbeddedInode() == root {
		return "", true
	}
	var parts []string
	for p := n.EmbeddedInode(); p != root; {
		name, parent := p.Parent()
		if parent == nil {
			return "", false
		}
		parts = append(parts, name)
		p = parent
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, "/"), true
}

// childPath is where a name in this directory is.
func (n *Node) childPath(name string) (string, syscall.Errno) {
	if len(name) > nameMax {
		return "", syscall.ENAMETOOLONG
	}
	dir, ok := n.path()
	switch {
	case !ok:
		return "", syscall.ENOENT
	case dir == "":
		return name, 0
	}
	return dir + "/" + name, 0
}

func stableAttr(info *cache.Info) fs.StableAttr {
	return fs.StableAttr{Mode: info.Mode & syscall.S_IFMT, Ino: info.Ident, Gen: info.Gen}
}

// entry answers a request for the entry name with what is there according to info. A
// known node is used again; otherwise go-fuse finds the node of a hard link.
func (n *Node) entry(ctx context.Context, name string, info *cache.Info, out *fuse.EntryOut) *fs.Inode {
	attr := stableAttr(info)
	if known := n.GetChild(name); known != nil && known.StableAttr() == attr {
		if child, ok := known.Operations().(*Node); ok {
			child.tell(&info.Stat_t, &out.Attr)
			return known
		}
	}
	return n.newEntry(ctx, info, out)
}

// newEntry is entry for what was made just now, which nobody can know.
func (n *Node) newEntry(ctx context.Context, info *cache.Info, out *fuse.EntryOut) *fs.Inode {
	child := &Node{s: n.s}
	inode := n.NewInode(ctx, child, stableAttr(info))
	child.tell(&info.Stat_t, &out.Attr)
	return inode
}

// owner is who asks.
func owner(ctx context.Context) cache.Owner {
	if caller, ok := fuse.FromContext(ctx); ok {
		return cache.Owner{UID: caller.Uid, GID: caller.Gid}
	}
	return cache.Owner{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
}
