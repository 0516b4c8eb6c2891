package fusefs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// How an open file is read and written: by passthrough, or cached, which is through the
// kernel's page cache and this process.
//
// The kernel fails with EIO, past recall, an open that makes an inode both, or that
// gives it a second file for passthrough (fuse_file_io_open in the kernel's
// fs/fuse/iomode.c). So all open files of a node are of one kind and of one file below,
// the first to come decides, and one counts from before its open is answered until its
// RELEASE is handled, which the kernel sends when it has uncounted it.
//
// go-fuse's own bookkeeping of backing files cannot be had with that: a RELEASE there
// gives up a reference whether or not its open took one, after our Release has returned.

var (
	errTwoModes = fmt.Errorf("a file that is still being fetched is open as one that is whole: %w", syscall.ESTALE)
	errTwoFiles = fmt.Errorf("another file of the same identity is open: %w", syscall.ESTALE)
)

// admit decides how h is read and written and counts it among the node's open files,
// until dismiss. It returns the flags of the answer to the open.
func (n *Node) admit(h *handle) (flags uint32, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.mu.open) == 0 {
		n.mu.settled, n.mu.whole = false, false
		h.through = !h.Streaming() && n.register(h)
	} else {
		first := n.mu.open[0]
		switch {
		case first.below != h.below:
			return 0, errTwoFiles
		case first.through && h.Streaming():
			return 0, errTwoModes
		}
		h.through = first.through
	}
	n.mu.open = append(n.mu.open, h)
	n.mu.whole = n.mu.whole || !h.Streaming()
	switch {
	case h.through:
		return fuse.FOPEN_PASSTHROUGH | n.s.backings.pass(n.mu.backing), nil
	case n.mu.settled:
		return fuse.FOPEN_KEEP_CACHE, nil
	}
	return 0, nil
}

// register gives the kernel h's file for passthrough. Callers hold n.mu.
func (n *Node) register(h *handle) bool {
	if on, _ := n.s.Passthrough(); !on {
		return false
	}
	err := h.control(func(fd int) error {
		id, errno := n.s.fuse.RegisterBackingFd(&fuse.BackingMap{Fd: int32(fd)})
		if errno != 0 {
			return errno
		}
		n.mu.backing = id
		return nil
	})
	if err != nil {
		n.s.passthrough.lost(n.s, err)
		return false
	}
	return true
}

// dismiss takes h from the open files, if it is there.
func (n *Node) dismiss(h *handle) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, o := range n.mu.open {
		if o != h {
			continue
		}
		last := len(n.mu.open) - 1
		n.mu.open[i] = n.mu.open[last]
		n.mu.open[last] = nil
		n.mu.open = n.mu.open[:last]
		if last == 0 && h.through {
			n.s.fuse.UnregisterBackingFd(n.mu.backing) // fails if the mount, and with it the number, is gone
		}
		return
	}
}

// settle notes that the kernel has begun to use h, which is cached: it has dropped the
// pages of before and will use those that it reads from now on. Opens that come while
// files stay open may keep them. All that changes the file changes them too, as it goes
// through the page cache or there would be passthrough handles.
//
// Such an open must keep them: dropping pages waits for those that are being read, so
// that one reader's slow store would hold up all others in their open, unkillable. Before
// the first open is known to be through with its own dropping, a second one could use
// pages that the first is yet to drop.
func (n *Node) settle(h *handle) {
	if h.through || h.used.Load() || h.used.Swap(true) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.settled = true
}

// anyWhole is an open file of this node that is all here, or nil: all that is left of
// one whose name is gone.
func (n *Node) anyWhole() *handle {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.mu.open) == 0 || !n.mu.whole {
		return nil
	}
	return n.mu.open[0]
}

// clash answers an open that admit refuses. With ESTALE the kernel looks the name up
// again and finds the file that is there now, unless the cache gives two files one
// identity: that breaks the contract of VFS.
func (n *Node) clash(ctx context.Context, p string, err error) syscall.Errno {
	if !errors.Is(err, syscall.ESTALE) {
		return n.s.fail("open", p, err)
	}
	if info, serr := n.s.vfs.Stat(ctx, p); serr == nil && stableAttr(&info) == n.StableAttr() {
		n.s.clashed.Do(func() {
			n.s.log.Error("a file cannot be opened (told once)", "path", p, "ident", info.Ident, "err", err)
		})
	}
	return syscall.ESTALE
}

// backings carry the kernel's numbers of backing files from admit to the guard, past
// go-fuse, which hands on only the flags of an answer. What is free in these is the key.
type backings struct {
	mu   sync.Mutex
	last uint32
	ids  map[uint32]int32
}

const (
	openFlagBits = 16 // the kernel defines 8
	openFlagMask = 1<<openFlagBits - 1
)

func (b *backings) pass(id int32) (key uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ids == nil {
		b.ids = map[uint32]int32{}
	}
	for taken := true; taken; _, taken = b.ids[b.last] {
		b.last = (b.last + 1<<openFlagBits) &^ openFlagMask
	}
	b.ids[b.last] = id
	return b.last
}

// answer completes the answer to an open.
func (b *backings) answer(out *fuse.OpenOut) {
	if out.OpenFlags&fuse.FOPEN_PASSTHROUGH == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	key := out.OpenFlags &^ openFlagMask
	out.OpenFlags &= openFlagMask
	out.BackingID = b.ids[key]
	delete(b.ids, key)
}
