package integration

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// layoutOf says what trainfs takes a path of the workload for.
func unitOf(p string) (unit string, tears bool) {
	dir := path.Dir(p)
	switch {
	case strings.HasPrefix(path.Base(dir), "checkpoint_"):
		return dir, true
	case path.Base(p) == "latest":
		return p, true
	}
	return p, false
}

func isTemporary(p string) bool { return strings.Contains(p, "/tmp-") }

// snapshot is the raw store at one moment: hash by key, without trainfs's own objects.
type snapshot struct {
	hashes map[string]string
	latest map[string]string // trial -> what its tracker says
	open   map[string]bool   // checkpoint directories with an open marker
}

func (s *store) snapshot() (out snapshot, err error) {
	out = snapshot{hashes: map[string]string{}, latest: map[string]string{}, open: map[string]bool{}}
	objects, err := s.list("")
	if err != nil {
		return out, err
	}
	for key := range objects {
		switch {
		case strings.HasPrefix(key, ".trainfs/"):
			if strings.HasSuffix(key, ".open") {
				out.open[strings.TrimPrefix(path.Dir(key), ".trainfs/v1/units/")] = true
			}
		case !strings.HasSuffix(key, "/"):
			content, ok := s.get(key)
			if !ok {
				continue // deleted since the listing
			}
			out.hashes[key] = sum(content)
			if path.Base(key) == "latest" {
				out.latest[path.Dir(key)] = content
			}
		}
	}
	return out, nil
}

// checkOrder holds the raw store against P4: where seen shows something, s has what was closed
// before. They are the same of a store that a kill has left; of one that goes on changing s was read
// after seen.
func (b *book) checkOrder(seen, s snapshot) (wrong []string) {
	for trial, name := range seen.latest {
		dir := trial + "/" + name
		// What is written to the checkpoint after its tracker is none of the tracker's business.
		for p, hash := range b.members(dir, b.begun[beginning(trial+"/latest", sum(name))]) {
			if s.hashes[p] != hash {
				wrong = append(wrong, fmt.Sprintf("P4: the store's %s/latest names %s, and %s is not there (hash %q, want %q)", trial, name, p, s.hashes[p], hash))
			}
		}
	}
	for i, later := range b.finished {
		if !seen.anyOf(later) {
			continue
		}
		for _, earlier := range b.finished[:i] {
			if path.Dir(earlier) != path.Dir(later) || b.started[later] < slices.Index(b.finished, earlier)+1 {
				continue // of another trial, or not over when the later one began
			}
			for p, hash := range b.members(earlier, b.begun[later]) {
				if s.hashes[p] != hash {
					wrong = append(wrong, fmt.Sprintf("P4: %s is visible, and %s, closed before it, is not", later, p))
				}
			}
		}
	}
	return wrong
}

func (s snapshot) anyOf(dir string) bool {
	for key := range s.hashes {
		if strings.HasPrefix(key, dir+"/") {
			return true
		}
	}
	return false
}

// checkAll holds store and mount, after everything that goes up has gone, against the
// ledger. torn are the units that status calls so.
func (b *book) checkAll(s snapshot, local map[string]string, torn map[string]bool) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for key := range s.hashes {
		if b.files[key] == nil {
			say("P2: the store has %s, which nobody wrote", key)
		}
	}
	guilty := map[string]bool{} // units that may be torn
	for p, f := range b.files {
		if unit, tears := unitOf(p); f.open && tears {
			guilty[unit] = true
		}
	}
	for unit := range torn {
		if !guilty[unit] {
			say("P5: %s is torn, and none of its files was open", unit)
		}
	}
	for p, f := range b.files {
		unit, tears := unitOf(p)
		remote, here := s.hashes[p], local[p]
		switch {
		case isTemporary(p):
			if remote != "" {
				say("temporary %s is in the store", p)
			}
			if !f.open && !f.may[here] {
				say("P5: temporary %s has hash %q here, want one of %q", p, here, listed(f.may))
			}
		case !f.open && torn[unit]:
			if !f.may[here] {
				say("P5: %s of a torn unit has hash %q here, want one of %q", p, here, listed(f.may))
			}
			if !oneOf(remote, f.may, f.ever) {
				say("P6: %s of a torn unit has hash %q in the store, want one of %q", p, remote, listed(f.ever))
			}
		case !f.open && b.waitsForTorn(f, remote, here, torn):
		case !f.open:
			if !f.may[remote] {
				say("P5: %s has hash %q in the store, want one of %q", p, remote, listed(f.may))
			}
			if remote != here {
				say("P8: %s has hash %q in the store and %q in the mount", p, remote, here)
			}
		case !tears:
			if remote != here {
				say("P5: %s, which was open, has hash %q in the store and %q here", p, remote, here)
			}
		case torn[unit]:
			if !f.ever[remote] {
				say("P6: torn %s has hash %q in the store, want one of %q", p, remote, listed(f.ever))
			}
		case !f.ending && here != "" && !f.ever[here]:
			say("P6: %s was open, its unit is not torn, and the store has %q", p, remote)
		case remote != here || !f.ever[remote] && remote != f.next:
			say("P6: %s was being closed; the store has %q, here is %q, want %q or one of %q", p, remote, here, f.next, listed(f.ever))
		}
	}
	for _, m := range b.moves {
		if s.hashes[m.from] != m.hash && s.hashes[m.to] != m.hash && !isTemporary(m.from) {
			say("P5: renamed from %s to %s, and the store has it under neither", m.from, m.to)
		}
	}
	for unit := range s.open {
		if !torn[unit] {
			say("P3: an open marker of %s is left", unit)
		}
	}
	slices.Sort(wrong)
	return wrong
}
