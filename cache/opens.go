package cache

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// openTable remembers which files are open for writing in a file that is mapped
// shared: a store to it costs nothing and survives the death of the process, so
// that the next start tells whole files from torn ones exactly.
//
//	header, 64 bytes: magic | heartbeat | hash of the boot id | …
//	slot, 64 bytes:   inode | name hash | flushed at | size at flush | mtime at flush | …
//
// A slot is taken with the hash of the name before the file is opened or made, and gets
// the inode right after: at no moment is a file open without one or the other.
//
// A program's close sends FLUSH, which it waits for, and RELEASE, which it does not.
// After a kill between the two the slot is still taken. FLUSH therefore notes what
// the file looked like and when: a file that still looks so, and whose flush was the
// last thing that this process lived to see, had been closed. The kernel queues RELEASE
// before close returns, so had the process lived releaseGrace longer, no slot would be
// left but for a copy of the descriptor that is still open somewhere (a shell's
// redirection, a child that has inherited it). That time is counted in heartbeats, which
// stand still where the machine leaves the process no time to run: it takes no release then
// either.
//
// The table says nothing about a power cut: seals do.
type openTable struct {
	mem  []byte
	file *os.File

	mu   sync.Mutex
	free []int32
}

const (
	openMagic     = 0x7472_6169_6e66_7301 // "trainfs", version 1
	openSlotBytes = 64
	openSlots     = 32 << 10
	openTableSize = openSlotBytes * (openSlots + 1) // the first holds magic and heartbeat
	releaseGrace  = 100 * time.Millisecond
	heartbeatTime = 10 * time.Millisecond
)

type openSlot struct {
	ino, name, flushed atomic.Uint64
	size, mtime        atomic.Int64
	_                  [24]byte
}

type openHeader struct {
	magic, heartbeat atomic.Uint64
	boot             atomic.Uint64 // hash of the boot id
}

// openEntry is what a slot said at the last death.
type openEntry struct {
	ino, name   uint64
	size, mtime int64
	closing     bool // flushed, and the release may have been on its way
}

// loadOpenTable reads what the last process left and starts an empty table.
//
// rebooted tells that the machine went down since: then what the table says of open files
// is worth nothing, for its pages were never synced. It is asked of the table and not of
// the journal, which may be lost.
func loadOpenTable(path, boot string) (t *openTable, left []openEntry, rebooted bool, err error) {
	t, err = mapOpenTable(path)
	if err != nil {
		return nil, nil, false, err
	}
	h := t.header()
	if m := h.magic.Load(); m != 0 && m != openMagic {
		t.close()
		return nil, nil, false, fmt.Errorf("%s: %w", path, ErrFormat)
	}
	if rebooted = h.boot.Load() != nameHash(boot); !rebooted {
		left = t.entries()
	}
	for i := int32(openSlots); i >= 1; i-- {
		t.free = append(t.free, i)
	}
	return t, left, rebooted, nil
}

func mapOpenTable(path string) (*openTable, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(openTableSize); err != nil {
		f.Close()
		return nil, err
	}
	// Without the blocks behind it, a store to the mapping on a full disk is a SIGBUS.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, openTableSize); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		f.Close()
		return nil, fmt.Errorf("reserve %s: %w", path, err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, openTableSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return &openTable{mem: mem, file: f}, nil
}

// clear forgets the last process, once its torn units are in the journal.
func (t *openTable) clear(boot string) {
	for i := 1; i <= openSlots; i++ {
		t.slot(int32(i)).reset()
	}
	t.header().boot.Store(nameHash(boot))
	t.header().magic.Store(openMagic)
	t.beat()
}

func (t *openTable) close() error {
	return errors.Join(unix.Munmap(t.mem), t.file.Close())
}

func (t *openTable) header() *openHeader { return (*openHeader)(unsafe.Pointer(&t.mem[0])) }

func (t *openTable) slot(i int32) *openSlot {
	return (*openSlot)(unsafe.Pointer(&t.mem[int(i)*openSlotBytes]))
}

// beat notes that the process is alive, and runs; called every heartbeatTime, or less often on
// a busy machine.
func (t *openTable) beat() { t.header().heartbeat.Add(uint64(heartbeatTime)) }

func (t *openTable) entries() []openEntry {
	alive := int64(t.header().heartbeat.Load())
	var out []openEntry
	for i := int32(1); i <= openSlots; i++ {
		s := t.slot(i)
		e := openEntry{ino: s.ino.Load(), name: s.name.Load(), size: s.size.Load(), mtime: s.mtime.Load()}
		if e.ino == 0 && e.name == 0 {
			continue
		}
		flushed := int64(s.flushed.Load())
		e.closing = flushed != 0 && alive-flushed < int64(releaseGrace)
		out = append(out, e)
	}
	return out
}

// take reserves a slot for the file that is about to be opened under this name.
func (t *openTable) take(name string) (int32, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.free)
	if n == 0 {
		return 0, fmt.Errorf("%d files are open for writing: %w", openSlots, unix.ENFILE)
	}
	i := t.free[n-1]
	t.free = t.free[:n-1]
	t.slot(i).name.Store(nameHash(name))
	return i, nil
}

// opened says which inode it became.
func (t *openTable) opened(i int32, ino uint64) {
	s := t.slot(i)
	s.ino.Store(ino)
	s.name.Store(0)
}

// flushed notes the file as a returning close leaves it.
func (t *openTable) flushed(i int32, size, mtime int64) {
	s := t.slot(i)
	s.size.Store(size)
	s.mtime.Store(mtime)
	s.flushed.Store(t.header().heartbeat.Load())
}

// sinceFlush is how long ago that was, in heartbeats.
func (t *openTable) sinceFlush(i int32) time.Duration {
	return time.Duration(t.header().heartbeat.Load() - t.slot(i).flushed.Load())
}

func (t *openTable) release(i int32) {
	t.slot(i).reset()
	t.mu.Lock()
	t.free = append(t.free, i)
	t.mu.Unlock()
}

func (s *openSlot) reset() {
	s.flushed.Store(0)
	s.name.Store(0)
	s.ino.Store(0)
}

// nameHash must give the same value in the next process, and never 0.
func nameHash(name string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return h | 1
}
