package cache

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// packedNames are entries in a few long strings, each as
//
//	name length, name, flags, size, modified (ns), ETag length, ETag [, attributes]
//
// with the numbers as varints. They are kept in memory only. One string for all would have
// to be copied whenever it grows.
type packedNames struct {
	text []string
	offs []uint32 // where each begins: which string, and where in it; in the order of the names
	seen int64    // ns, of all of them
}

const (
	textBits  = 16
	textBytes = 1 << textBits // the length of each string, but the last
	mostTexts = 1 << (32 - textBits)
)

func (p *packedNames) from(off uint32) reader {
	return reader{p.text[off>>textBits][off%textBytes:]}
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
	r := p.from(p.offs[i])
	return r.text()
}

func (p *packedNames) get(name string) (e remoteEntry, ok bool) {
	if p == nil {
		return e, false
	}
	i, ok := slices.BinarySearchFunc(p.offs, name, func(off uint32, name string) int {
		r := p.from(off)
		return strings.Compare(r.text(), name)
	})
	if !ok {
		return e, false
	}
	_, e = p.at(i)
	return e, true
}

func (p *packedNames) at(i int) (name string, e remoteEntry) {
	r := p.from(p.offs[i])
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
	text  []string        // those that are full
	last  strings.Builder // what is not
	offs  []uint32
	entry []byte
}

// add takes one entry, unless it is so long, or there are so many, that it has no place.
func (p *packer) add(name string, e *remoteEntry) bool {
	p.encode(name, e)
	if len(p.entry) > textBytes || len(p.text) == mostTexts-1 {
		return false
	}
	if p.last.Len()+len(p.entry) > textBytes {
		p.text = append(p.text, p.last.String())
		p.last = strings.Builder{}
		p.last.Grow(textBytes) // more will come
	}
	p.offs = append(p.offs, uint32(len(p.text)<<textBits|p.last.Len()))
	p.last.Write(p.entry)
	return true
}

// encode writes one entry to p.entry.
func (p *packer) encode(name string, e *remoteEntry) {
	p.entry = p.entry[:0]
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
	p.entry = append(p.entry, flags)
	p.ints(e.size, e.modified)
	p.str(etag)
	if m != nil {
		p.entry = append(p.entry, byte(m.attr.Type))
		p.ints(int64(m.attr.Mode), int64(m.attr.UID), int64(m.attr.GID), int64(m.crc), m.attr.Mtime.Unix(), int64(m.attr.Mtime.Nanosecond()))
	}
}

func (p *packer) str(s string) {
	p.ints(int64(len(s)))
	p.entry = append(p.entry, s...)
}

func (p *packer) ints(list ...int64) {
	for _, v := range list {
		p.entry = binary.AppendVarint(p.entry, v)
	}
}

// pack orders the entries, all seen at one time. It leaves out what drop says, and tells
// twice of names that are a file and a directory.
func (p *packer) pack(seen time.Time, drop func(name string, e *remoteEntry) bool, twice func(name string)) *packedNames {
	out := &packedNames{text: append(p.text, strings.Clone(p.last.String())), offs: p.offs, seen: seen.UnixNano()}
	order := func(a, b uint32) int {
		x, y := out.from(a), out.from(b)
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
