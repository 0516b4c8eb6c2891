package integration

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Longer by make stress.
var (
	stressTime = flag.Duration("stress.time", 0, "how long random operations go on, each test; 0: a few rounds")
	stressSeed = flag.Uint64("stress.seed", 0, "what is random follows from this; 0: take one and print it")
)

func seedOfStress(t *testing.T) uint64 {
	seed := *stressSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-stress.seed %d", seed)
	return seed
}

// rounds counts from 0 until the time is over, or to a few.
func rounds(few int) func(func(int) bool) {
	stop := time.Now().Add(*stressTime)
	return func(yield func(int) bool) {
		for i := 0; i < few || time.Now().Before(stop); i++ {
			if !yield(i) {
				return
			}
		}
	}
}

const (
	fsxMost  = 700_000 // bytes of the file
	fsxChunk = 70_000  // of one operation
	fsxOps   = 150     // of one round
)

// fsx does random things to one file, and to the same bytes in memory.
type fsx struct {
	t    *testing.T
	r    *rand.Rand
	path string
	f    *os.File
	data []byte
	did  []string
	ops  int
}

func (x *fsx) fatal(format string, args ...any) {
	x.t.Helper()
	x.t.Fatalf("%s\nafter:\n%s", fmt.Sprintf(format, args...), strings.Join(x.did[max(0, len(x.did)-40):], "\n"))
}

func (x *fsx) must(err error) {
	x.t.Helper()
	if err != nil {
		x.fatal("%v", err)
	}
}

func (x *fsx) note(format string, args ...any) {
	x.did = append(x.did, fmt.Sprintf(format, args...))
	x.ops++
}

func (x *fsx) open() {
	f, err := os.OpenFile(x.path, os.O_RDWR|os.O_CREATE, 0o644)
	x.must(err)
	x.f = f
}

func (x *fsx) close() { x.must(x.f.Close()) }

// room is a place to write to, which may lie behind the end.
func (x *fsx) room() (off, n int) {
	off = x.r.IntN(min(len(x.data)+fsxChunk, fsxMost-1))
	return off, 1 + x.r.IntN(min(fsxChunk, fsxMost-off))
}

// part is a place that has bytes; n is 0 if nothing has.
func (x *fsx) part() (off, n int) {
	if len(x.data) == 0 {
		return 0, 0
	}
	off = x.r.IntN(len(x.data))
	return off, 1 + x.r.IntN(min(fsxChunk, len(x.data)-off))
}

func (x *fsx) resize(n int) {
	if n <= len(x.data) {
		x.data = x.data[:n]
		return
	}
	x.data = append(x.data, make([]byte, n-len(x.data))...)
}

func (x *fsx) put(off int, b []byte) {
	x.resize(max(len(x.data), off+len(b)))
	copy(x.data[off:], b)
}

func (x *fsx) bytes(n int) []byte { return []byte(noise(n+8, x.r.Uint64())[:n]) }

func (x *fsx) write() {
	off, n := x.room()
	x.note("write %d at %d", n, off)
	b := x.bytes(n)
	_, err := x.f.WriteAt(b, int64(off))
	x.must(err)
	x.put(off, b)
}

func (x *fsx) append() {
	if len(x.data) >= fsxMost {
		return
	}
	b := x.bytes(1 + x.r.IntN(min(fsxChunk, fsxMost-len(x.data))))
	x.note("append %d at %d", len(b), len(x.data))
	f, err := os.OpenFile(x.path, os.O_WRONLY|os.O_APPEND, 0)
	x.must(err)
	_, err = f.Write(b)
	x.must(errors.Join(err, f.Close()))
	x.put(len(x.data), b)
}

func (x *fsx) read() {
	off, n := x.part()
	b := make([]byte, n+10)
	x.note("read %d at %d", len(b), off)
	got, err := x.f.ReadAt(b, int64(off))
	if err != nil && err != io.EOF {
		x.fatal("%v", err)
	}
	x.same(off, b[:got], x.data[off:min(off+len(b), len(x.data))])
}

func (x *fsx) same(off int, got, want []byte) {
	x.t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			x.fatal("at %d of %d: %#x, want %#x", off+i, len(x.data), got[i], want[i])
		}
	}
	x.fatal("%d bytes from %d, want %d", len(got), off, len(want))
}

func (x *fsx) truncate() {
	n := x.r.IntN(fsxMost)
	x.note("truncate %d to %d", len(x.data), n)
	if x.r.IntN(2) == 0 {
		x.must(x.f.Truncate(int64(n)))
	} else {
		x.must(os.Truncate(x.path, int64(n)))
	}
	x.resize(n)
}

// mapped reads or writes through a mapping, which may outlive the descriptor.
func (x *fsx) mapped() {
	off, n := x.part()
	if n == 0 {
		return
	}
	writes, outlives := x.r.IntN(2) == 0, x.r.IntN(2) == 0
	x.note("map %d at %d, writes %v, outlives the descriptor %v", n, off, writes, outlives)
	prot := unix.PROT_READ
	if writes {
		prot |= unix.PROT_WRITE
	}
	m, err := unix.Mmap(int(x.f.Fd()), 0, len(x.data), prot, unix.MAP_SHARED)
	x.must(err)
	x.same(off, m[off:off+n], x.data[off:off+n])
	if outlives {
		x.close()
	}
	if writes {
		b := x.bytes(n)
		copy(m[off:], b)
		x.put(off, b)
	}
	if x.r.IntN(2) == 0 {
		x.must(unix.Msync(m, unix.MS_SYNC))
	}
	x.must(unix.Munmap(m))
	if outlives {
		x.open()
	}
}

func (x *fsx) fallocate() {
	off, n := x.room()
	mode, name := []uint32{0, unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE},
		[]string{"allocate", "allocate, keep size,", "punch a hole of", "zero"}
	i := x.r.IntN(len(mode))
	x.note("%s %d at %d of %d", name[i], n, off, len(x.data))
	err := unix.Fallocate(int(x.f.Fd()), mode[i], int64(off), int64(n))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return
	}
	x.must(err)
	if mode[i]&unix.FALLOC_FL_KEEP_SIZE == 0 {
		x.resize(max(len(x.data), off+n))
	}
	if mode[i]&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 && off < len(x.data) {
		clear(x.data[off:min(off+n, len(x.data))])
	}
}

func (x *fsx) copy() {
	from, n := x.part()
	to, room := x.room()
	n = min(n, room)
	if n == 0 || from < to+n && to < from+n {
		return // nothing, or onto itself
	}
	x.note("copy %d from %d to %d", n, from, to)
	src, dst := int64(from), int64(to)
	for left := n; left > 0; {
		done, err := unix.CopyFileRange(int(x.f.Fd()), &src, int(x.f.Fd()), &dst, left, 0)
		x.must(err)
		if done == 0 {
			x.fatal("copied nothing")
		}
		left -= done
	}
	x.put(to, slices.Clone(x.data[from:from+n]))
}

func (x *fsx) reopen() {
	x.note("reopen")
	x.close()
	if x.r.IntN(3) == 0 {
		x.must(os.Rename(x.path, x.path+"2"))
		x.must(os.Rename(x.path+"2", x.path))
	}
	x.open()
}

func (x *fsx) sync() {
	x.note("fsync")
	x.must(x.f.Sync())
}

func (x *fsx) whole() {
	st, err := x.f.Stat()
	x.must(err)
	if st.Size() != int64(len(x.data)) {
		x.fatal("size %d, want %d", st.Size(), len(x.data))
	}
	b, err := os.ReadFile(x.path)
	x.must(err)
	x.same(0, b, x.data)
}

func (x *fsx) round() {
	do := []func(){x.write, x.write, x.append, x.read, x.read, x.truncate, x.mapped, x.mapped, x.fallocate, x.copy, x.reopen, x.sync}
	for range fsxOps {
		do[x.r.IntN(len(do))]()
	}
	x.whole()
}

// wantInStore waits for what was closed to be in the store. RELEASE, which tells that it was
// closed, is not waited for by close: until it comes, an earlier version is all there is.
func (x *fsx) wantInStore(m *mount, s *store) {
	x.t.Helper()
	for start := time.Now(); ; {
		m.wait()
		content, _ := s.get("data.bin")
		if content == string(x.data) {
			return
		}
		if time.Since(start) > patience {
			x.same(0, []byte(content), x.data)
		}
	}
}

// P5, P8: what a file holds after random writes, mappings and truncations is what a program
// reads after a restart, what the store has, and what another mount reads.
func TestRandomWritesOfOneFile(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"passthrough=auto", "passthrough=off"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := fileStore(t)
			m, other := s.mount(t, mode), s.mount(t, mode)
			seed := seedOfStress(t)
			x := &fsx{t: t, r: rand.New(rand.NewPCG(seed, 1)), path: m.path("data.bin")}
			x.open()
			for i := range rounds(4) {
				x.round()
				x.close()
				switch i % 4 {
				case 0:
					x.note("kill the daemon")
					m.kill()
					m.start()
				case 1:
					x.note("commit")
					x.wantInStore(m, s)
					eventually(t, "another mount has it", func() bool {
						b, err := os.ReadFile(other.path("data.bin"))
						return err == nil && bytes.Equal(b, x.data)
					})
				case 2:
					x.note("unmount and mount")
					m.umount()
					m.start()
				case 3:
					x.note("evict")
					x.wantInStore(m, s)
					eventually(t, "it is evicted", func() bool {
						m.wait()
						return run(t, nil, trainfs, "evict", m.dir).code == 0
					})
				}
				x.open()
				x.whole()
			}
			x.close()
			x.wantInStore(m, s)
			m.umount()
			s.wantSame(m.cache+"/tree", "")
			t.Logf("operations %d", x.ops)
		})
	}
}
