package integration

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// powerBook is what a ledger promises for the time after a power cut. A kill takes nothing
// of what was closed; a power cut leaves what was synced, and of the rest anything between
// all and nothing.
type powerBook struct {
	files    map[string]*powerFile
	moves    []*powerMove
	finished map[string]bool // checkpoint directories, until something is done to them again
	ops      []promise       // since the last settling
	synced   int             // files that were promised by fsync
	bytes    int64           // closed
}

// powerFile is what the disk may have of one file.
type powerFile struct {
	may    map[string]bool // whole contents; "" is that it is not there
	ever   map[string]bool // all whole contents since the last settling: what the store may have
	half   bool            // or a part of one
	next   string          // what it is to get
	latest string          // after the last call that has returned; unsure if one had not
	safe   bool            // fsync has returned for next
}

const unsure = "?"

// powerMove is a content that is under one of several names.
type powerMove struct {
	names []string
	hash  string
}

func newPowerBook(there map[string]string) *powerBook {
	b := &powerBook{files: map[string]*powerFile{}, finished: map[string]bool{}}
	for p, hash := range there {
		f := b.file(p)
		f.may, f.ever, f.latest = map[string]bool{hash: true}, map[string]bool{hash: true}, hash
	}
	return b
}

func (b *powerBook) file(p string) *powerFile {
	if b.files[p] == nil {
		b.files[p] = &powerFile{may: map[string]bool{"": true}, ever: map[string]bool{"": true}}
	}
	return b.files[p]
}

func (b *powerBook) below(dir string) (list []string) {
	for p := range b.files {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			list = append(list, p)
		}
	}
	return list
}

// whole says that the disk may have all of a content.
func (f *powerFile) whole(hash string) { f.may[hash], f.ever[hash] = true, true }

func (b *powerBook) add(list []promise) {
	b.ops = append(b.ops, list...)
	for _, p := range list {
		switch p.Op {
		case opBegin:
			f := b.file(p.Path)
			f.half, f.next, f.latest, f.safe = true, p.Hash, unsure, false
			b.disturb(p.Path)
		case opSynced:
			f := b.file(p.Path)
			f.may, f.half, f.safe = map[string]bool{}, false, true
			f.whole(f.next)
			b.synced++
		case opClosing:
			b.file(p.Path).whole(b.file(p.Path).next)
		case opClosed:
			f := b.file(p.Path)
			if f.safe && p.Hash != f.next {
				f.safe, f.half = false, true
			}
			f.whole(p.Hash)
			f.latest = p.Hash
			b.bytes += p.Size
		case opRemoving:
			b.disturb(p.Path)
			for _, at := range b.below(p.Path) {
				b.file(at).may[""] = true
				b.file(at).latest = unsure
			}
		case opRemoved:
			for _, at := range b.below(p.Path) {
				b.file(at).latest = ""
			}
		case opMoving:
			b.moving(p)
		case opMoved:
			for _, at := range b.below(p.Path) {
				from, to := b.file(at), b.file(p.To+at[len(p.Path):])
				to.latest, from.latest, from.next = from.next, "", ""
			}
		case opFinished:
			b.finished[p.Path] = true
		}
	}
}

func (b *powerBook) moving(p promise) {
	delete(b.finished, p.To)
	for _, at := range b.below(p.Path) {
		to := p.To + at[len(p.Path):]
		b.move(at, to)
		f, g := b.file(at), b.file(to)
		for hash := range f.may {
			if hash != "" {
				g.whole(hash)
			}
		}
		g.half = g.half || f.half
		f.may[""] = true
		f.next = f.latest // until the call has returned
		f.latest, g.latest = unsure, unsure
	}
}

// move notes that a content which is surely there is from now under either name.
func (b *powerBook) move(from, to string) {
	b.moves = slices.DeleteFunc(b.moves, func(m *powerMove) bool { return slices.Contains(m.names, to) })
	for _, m := range b.moves {
		if slices.Contains(m.names, from) {
			m.names = append(m.names, to)
			return
		}
	}
	if f := b.file(from); !f.half && len(f.may) == 1 && !f.may[""] {
		b.moves = append(b.moves, &powerMove{[]string{from, to}, listed(f.may)[0]})
	}
}

// disturb says that what was sure of a path, and of all below, is no more.
func (b *powerBook) disturb(p string) {
	b.moves = slices.DeleteFunc(b.moves, func(m *powerMove) bool {
		return slices.ContainsFunc(m.names, func(at string) bool { return at == p || strings.HasPrefix(at, p+"/") })
	})
	for dir := range b.finished {
		if dir == p || strings.HasPrefix(dir, p+"/") || strings.HasPrefix(p, dir+"/") {
			delete(b.finished, dir)
		}
	}
}

// touched tells whether any of the given calls was about a path or something at, above or below it.
func touchedBy(list []promise, p string) bool {
	for _, o := range list {
		for _, at := range []string{o.Path, o.To} {
			if at != "" && (at == p || strings.HasPrefix(at, p+"/") || strings.HasPrefix(p, at+"/")) {
				return true
			}
		}
	}
	return false
}

// check holds what store and mount have, after a power cut and all uploads since, against
// the book. before is the store as the power cut left it; held are units that are not in the
// store, with reason; sealed are units that status called safe, and the number of calls in the
// ledger by then.
func (b *powerBook) check(before, after snapshot, local map[string]string, torn, held map[string]bool, sealed map[string]int) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for unit := range torn {
		if !touchedBy(b.ops, unit) {
			say("P5: %s is torn, and nobody had touched it", unit)
		}
	}
	for unit, n := range sealed {
		if torn[unit] && !touchedBy(b.ops[n:], unit) {
			say("P5: %s was sealed before the power cut, and is torn", unit)
		}
	}
	for key := range after.hashes {
		if b.files[key] == nil {
			say("P2: the store has %s, which nobody wrote", key)
		}
	}
	for p, f := range b.files {
		b.checkFile(p, f, before, after.hashes[p], local[p], torn, held, say)
	}
	for _, m := range b.moves {
		if !slices.ContainsFunc(m.names, func(p string) bool { return local[p] == m.hash }) {
			say("P5: renamed, and under none of %q", m.names)
		}
	}
	for dir := range b.finished {
		if torn[dir] || !after.anyOf(dir) {
			continue
		}
		for _, p := range b.below(dir) {
			if path.Dir(p) == dir && b.files[p].latest != "" && after.hashes[p] != b.files[p].latest {
				say("P6: %s is published, and %s has hash %q there, want %q", dir, p, after.hashes[p], b.files[p].latest)
			}
		}
	}
	for unit := range after.open {
		if !torn[unit] && !waitsForTracker(unit, held) {
			say("P3: an open marker of %s is left", unit)
		}
	}
	slices.Sort(wrong)
	return slices.Compact(wrong)
}

// waitsForTracker tells whether the deletion of a checkpoint waits for a tracker that still
// may name it, and that itself is held by a torn unit.
func waitsForTracker(unit string, held map[string]bool) bool {
	return held[path.Join(path.Dir(unit), "latest")]
}

func (b *powerBook) checkFile(p string, f *powerFile, before snapshot, remote, here string, torn, held map[string]bool, say func(string, ...any)) {
	unit, tears := unitOf(p)
	if !f.half && !f.may[here] {
		say("P5: %s was synced, or committed, and has hash %q here, want one of %q", p, here, listed(f.may))
	}
	if isTemporary(p) {
		if remote != "" {
			say("temporary %s is in the store", p)
		}
		return
	}
	if was := before.hashes[p]; was != "" && was == f.latest && !before.open[unit] {
		if remote != was {
			say("P5: %s was committed before the power cut, and has hash %q in the store, want %q", p, remote, was)
		}
		if torn[unit] && !b.disturbed(unit, p) {
			say("P5: %s of %s was committed before the power cut, and is torn", p, unit)
		}
	}
	waits := here == "" && waitsForTracker(unit, held)
	if !held[unit] && !waits && remote != here {
		say("P8: %s has hash %q in the store and %q in the mount", p, remote, here)
	}
	if tears && remote != "" && !f.ever[remote] {
		say("P6: %s has hash %q in the store, want one of %q", p, remote, listed(f.ever))
	}
	if tears && !torn[unit] && here != "" && !f.ever[here] {
		say("P6: %s is half written, hash %q, and its unit is not torn", p, here)
	}
}

// disturbed tells whether a file of a unit other than p was not finished.
func (b *powerBook) disturbed(unit, p string) bool {
	for _, at := range b.below(unit) {
		if at != p && (b.files[at].half || b.files[at].latest == unsure) {
			return true
		}
	}
	return false
}

// sure counts the files that the disk or the store must have.
func (b *powerBook) sure() (n int) {
	for _, f := range b.files {
		if !f.half && len(f.may) == 1 && !f.may[""] {
			n++
		}
	}
	return n
}

func hashesOf(contents map[string]string) map[string]string {
	out := maps.Clone(contents)
	for p, content := range contents {
		out[p] = sum(content)
	}
	return out
}
