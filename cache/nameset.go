package cache

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// nameSet is what is known of the names of one directory: those of the last listing, packed,
// for there may be a million of them, and what has been learnt since.
type nameSet struct {
	packed  *packedNames // never changes; may be nil
	changed map[string]*remoteEntry
}

// get finds a name.
func (s *nameSet) get(name string) (remoteEntry, bool) {
	if e, ok := s.changed[name]; ok {
		if e == nil {
			return remoteEntry{}, false
		}
		return *e, true
	}
	return s.packed.get(name)
}

func (s *nameSet) set(name string, e remoteEntry) {
	if s.changed == nil {
		s.changed = map[string]*remoteEntry{}
	}
	s.changed[name] = &e
}

func (s *nameSet) remove(name string) {
	if _, ok := s.packed.get(name); !ok {
		delete(s.changed, name)
		return
	}
	if s.changed == nil {
		s.changed = map[string]*remoteEntry{}
	}
	s.changed[name] = nil
}

// len is about how many names it holds.
func (s *nameSet) len() int { return s.packed.len() + len(s.changed) }

// clone is a set that does not change with s.
func (s *nameSet) clone() nameSet {
	c := nameSet{packed: s.packed, changed: make(map[string]*remoteEntry, len(s.changed))}
	for name, e := range s.changed {
		c.changed[name] = e // entries are replaced, not changed
	}
	return c
}

// each calls f with every name.
func (s *nameSet) each(f func(name string, e *remoteEntry)) {
	for name, e := range s.changed {
		if e != nil {
			f(name, e)
		}
	}
	for i := range s.packed.len() {
		name, e := s.packed.at(i)
		if _, newer := s.changed[name]; !newer {
			f(name, &e)
		}
	}
}

// packedNames are entries in one string, each as
//
//	name length, name, flags, size, modified (ns), ETag length, ETag [, attributes]
//
// with the numbers as varints, in the order of the names. It is kept in memory only.
type packedNames struct {
	text string
	offs []uint32 // where each begins
	seen int64    // ns, of all of them
}

const (
	packedDir  = 1 << iota // a directory
	packedHex              // the ETag is hexadecimal, and kept as bytes
	packedMore             // attributes follow
	packedCRC
	packedMarker
	packedAsked
	packedMtime // there is one
)

func (p *packedNames) len() int {
	if p == nil {
		return 0
	}
	return len(p.offs)
}

func (p *packedNames) name(i int) string {
	r := reader{p.text[p.offs[i]:]}
	return r.text()
}

func (p *packedNames) get(name string) (e remoteEntry, ok bool) {
	if p == nil {
		return e, false
	}
	i, ok := slices.BinarySearchFunc(p.offs, name, func(off uint32, name string) int {
		r := reader{p.text[off:]}
		return strings.Compare(r.text(), name)
	})
	if !ok {
		return e, false
	}
	_, e = p.at(i)
	return e, true
}

func (p *packedNames) at(i int) (name string, e remoteEntry) {
	r := reader{p.text[p.offs[i]:]}
	name = r.text()
	flags := r.byte()
	e.seen, e.dir = p.seen, flags&packedDir != 0
	e.size, e.modified, e.etag = r.int(), r.int(), r.text()
	if flags&packedHex != 0 {
		e.etag = hex.EncodeToString([]byte(e.etag))
	}
	if flags&packedMore == 0 {
		return name, e
	}
	m := &entryMore{hasCRC: flags&packedCRC != 0, marker: flags&packedMarker != 0, asked: flags&packedAsked != 0}
	m.attr.Type, m.attr.Mode = backend.FileType(r.byte()), uint32(r.int())
	m.attr.UID, m.attr.GID, m.crc = uint32(r.int()), uint32(r.int()), uint32(r.int())
	if sec, ns := r.int(), r.int(); flags&packedMtime != 0 {
		m.attr.Mtime = time.Unix(sec, ns)
	}
	e.more = m
	return name, e
}

// reader takes apart what packer put together.
type reader struct{ s string }

func (r *reader) byte() byte {
	b := r.s[0]
	r.s = r.s[1:]
	return b
}

// int is binary.Varint of a string.
func (r *reader) int() int64 {
	var u uint64
	for shift := 0; ; shift += 7 {
		b := r.byte()
		u |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return int64(u>>1) ^ -int64(u&1)
		}
	}
}

func (r *reader) text() string {
	n := r.int()
	t := r.s[:n]
	r.s = r.s[n:]
	return t
}

// packer collects entries in any order; of those with one name a directory counts, else
// the last.
type packer struct {
	text strings.Builder
	offs []uint32
	num  []byte
}

// add takes one entry, unless there are so many that they cannot be numbered.
func (p *packer) add(name string, e *remoteEntry) bool {
	if p.text.Len() > math.MaxUint32-1<<20 {
		return false
	}
	p.offs = append(p.offs, uint32(p.text.Len()))
	p.str(name)
	flags, etag := byte(0), e.etag
	if e.dir {
		flags |= packedDir
	}
	if b, err := hex.DecodeString(etag); err == nil && hex.EncodeToString(b) == etag {
		flags, etag = flags|packedHex, string(b)
	}
	m := e.more
	if m != nil {
		flags |= packedMore
		for flag, on := range map[byte]bool{packedCRC: m.hasCRC, packedMarker: m.marker, packedAsked: m.asked, packedMtime: !m.attr.Mtime.IsZero()} {
			if on {
				flags |= flag
			}
		}
	}
	p.text.WriteByte(flags)
	p.ints(e.size, e.modified)
	p.str(etag)
	if m != nil {
		p.text.WriteByte(byte(m.attr.Type))
		p.ints(int64(m.attr.Mode), int64(m.attr.UID), int64(m.attr.GID), int64(m.crc), m.attr.Mtime.Unix(), int64(m.attr.Mtime.Nanosecond()))
	}
	return true
}

func (p *packer) str(s string) {
	p.ints(int64(len(s)))
	p.text.WriteString(s)
}

func (p *packer) ints(list ...int64) {
	for _, v := range list {
		p.num = binary.AppendVarint(p.num[:0], v)
		p.text.Write(p.num)
	}
}

// pack orders the entries, all seen at one time. It leaves out what drop says, and tells
// twice of names that are a file and a directory.
func (p *packer) pack(seen time.Time, drop func(name string, e *remoteEntry) bool, twice func(name string)) *packedNames {
	out := &packedNames{text: p.text.String(), offs: p.offs, seen: seen.UnixNano()}
	order := func(a, b uint32) int {
		x, y := reader{out.text[a:]}, reader{out.text[b:]}
		return strings.Compare(x.text(), y.text())
	}
	if !slices.IsSortedFunc(out.offs, order) { // listings are in the order of keys
		slices.SortStableFunc(out.offs, order)
	}
	kept := out.offs[:0]
	last, lastDir := "", false
	for i := range out.offs {
		name, e := out.at(i)
		if drop(name, &e) {
			continue
		}
		off := out.offs[i]
		switch {
		case len(kept) == 0 || name != last:
			kept = append(kept, off)
		case e.dir != lastDir:
			twice(name)
			if e.dir {
				kept[len(kept)-1] = off
			}
		default:
			kept[len(kept)-1] = off
		}
		last, lastDir = name, e.dir || name == last && lastDir
	}
	out.offs = kept
	return out
}
