package integration

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// promised is what the ledger says of one file.
type promised struct {
	may    map[string]bool // hashes that the file may have; "" is that it is not there
	ever   map[string]bool // all that it had since the last settling, and then
	open   bool            // it was open for writing at the end
	ending bool            // and close had been called
	next   string          // the content it was to get
	synced bool            // fsync had returned for next, or for what it has
	at     int             // calls in the ledger before it got what it has
	left   string          // it was renamed to this, or may have been
}

// move is a rename that had not returned.
type unfinishedMove struct{ from, to, hash string }

// book is the state that the promises add up to.
type book struct {
	files    map[string]*promised
	moves    []unfinishedMove
	touched  map[string]bool // since the last settling, also by prefix
	finished []string        // checkpoint directories, in the order of their end
	started  map[string]int  // how many had ended when this one began
	calls    int             // in the ledger, since the last settling
	begun    map[string]int  // calls before this checkpoint directory began, or this content (beginning) of a file
	bytes    int64           // closed
	closed   int
	wrong    []string
	done     bool // the last workload has come to its end
}

func newBook() *book {
	return &book{files: map[string]*promised{}, touched: map[string]bool{}, started: map[string]int{}, begun: map[string]int{}}
}

func (b *book) file(p string) *promised {
	f := b.files[p]
	if f == nil {
		f = &promised{may: map[string]bool{"": true}, ever: map[string]bool{"": true}}
		b.files[p] = f
	}
	b.touched[p] = true
	return f
}

func (f *promised) is(hash string) {
	f.may = map[string]bool{hash: true}
	f.ever[hash] = true
	f.open, f.ending, f.next, f.left = false, false, "", ""
}

func (b *book) below(dir string) (list []string) {
	for p := range b.files {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

// beginning names a content of a file in begun.
func beginning(p, hash string) string { return p + " " + hash }

// add enters the ledger of one workload.
func (b *book) add(list []promise) {
	b.done = false
	for _, p := range list {
		b.touched[p.Path] = true
		b.calls++
		switch p.Op {
		case opBegin:
			b.begun[beginning(p.Path, p.Hash)] = b.calls
			f := b.file(p.Path)
			f.open, f.ending, f.next, f.synced = true, false, p.Hash, false
		case opSynced:
			b.file(p.Path).synced = true
		case opClosing:
			b.file(p.Path).ending = true
		case opClosed:
			b.file(p.Path).is(p.Hash)
			b.file(p.Path).at = b.calls
			b.bytes += p.Size
			b.closed++
		case opRemoving:
			for _, at := range b.below(p.Path) {
				b.file(at).may[""] = true
			}
		case opRemoved:
			for _, at := range b.below(p.Path) {
				b.file(at).is("")
			}
		case opMoving:
			b.moving(p)
		case opMoved:
			b.moved(p)
		case opStarted:
			b.started[p.Path], b.begun[p.Path] = len(b.finished), b.calls
		case opFinished:
			b.finished = append(b.finished, p.Path)
		case opWrong:
			b.wrong = append(b.wrong, fmt.Sprintf("%s (at %s)", p.Text, time.Unix(0, p.At).UTC().Format("15:04:05.000")))
		case opDone:
			b.done = true
		}
	}
}

func (b *book) moving(p promise) {
	b.touched[p.To] = true
	for _, at := range b.below(p.Path) {
		from, to := b.file(at), b.file(p.To+at[len(p.Path):])
		for hash := range from.may {
			if hash != "" {
				b.moves = append(b.moves, unfinishedMove{at, p.To + at[len(p.Path):], hash})
			}
			to.may[hash] = true
			to.ever[hash] = true
		}
		from.may[""] = true
		from.left = p.To + at[len(p.Path):]
	}
}

func (b *book) moved(p promise) {
	b.moves = nil
	for _, at := range b.below(p.Path) {
		from, to := b.file(at), b.file(p.To+at[len(p.Path):])
		for hash := range from.may {
			if hash != "" {
				to.is(hash)
				to.synced, to.at = from.synced, from.at
			}
		}
		from.is("")
		from.left = p.To + at[len(p.Path):]
	}
}

// waitsForTorn tells whether the store may still have a file under the name that it was
// renamed from: its new name is that of a torn unit, which does not go up as it is, and until
// then the old object is the only one of its bytes.
func (b *book) waitsForTorn(f *promised, hash, here string, torn map[string]bool) bool {
	unit, _ := unitOf(f.left)
	return f.left != "" && torn[unit] && here == "" && f.ever[hash]
}

// settle takes what is there as the state from now on.
func (b *book) settle(now map[string]string) {
	for p, f := range b.files {
		hash := now[p]
		f.is(hash)
		f.ever = map[string]bool{hash: true}
		f.synced, f.at = true, 0
		if hash == "" {
			delete(b.files, p)
		}
	}
	b.moves, b.finished, b.calls = nil, nil, 0
	clear(b.touched)
	clear(b.started)
	clear(b.begun)
}

// sure is the hash of each file of which there is no doubt; "" where it is gone.
func (b *book) sure() map[string]string {
	out := map[string]string{}
	for p, f := range b.files {
		if len(f.may) == 1 {
			out[p] = listed(f.may)[0]
		}
	}
	return out
}

// isTouched tells whether anything was done to a key since the last settling.
func (b *book) isTouched(key string) bool {
	for p := key; p != "."; p = path.Dir(p) {
		if b.touched[p] {
			return true
		}
	}
	return false
}

// members are the files of a directory that were closed for good before so many calls.
func (b *book) members(dir string, before int) map[string]string {
	out := map[string]string{}
	for _, p := range b.below(dir) {
		if f := b.files[p]; !f.open && len(f.may) == 1 && !f.may[""] && f.at <= before {
			for hash := range f.may {
				out[p] = hash
			}
		}
	}
	return out
}

func oneOf(hash string, sets ...map[string]bool) bool {
	for _, s := range sets {
		if s[hash] {
			return true
		}
	}
	return false
}

func listed(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }
