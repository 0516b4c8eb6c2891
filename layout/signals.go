package layout

import "strings"

// Event is something that happened to a path.
type Event uint8

// The events that can finish a checkpoint.
const (
	Closed    Event = iota // the last writer closed it under its final name
	RenamedIn              // renamed to this name
)

// Closes tells that this event says that a checkpoint unit is finished: a directory
// was renamed to its final name, a framework's own last file is there, a one-file
// checkpoint was closed or renamed in. What HeldBy lists comes first all the same.
func (l *Layout) Closes(path string, dir bool, e Event) (unit string, ok bool) {
	c := l.Classify(path, dir)
	switch {
	case c.Kind != Checkpoint:
		return "", false
	case path == c.Unit:
		return c.Unit, !dir || e == RenamedIn
	case dir || parent(path) != c.Unit:
		return c.Unit, false
	}
	for _, last := range closings(c.Framework) {
		if last.name == base(path) && (e == RenamedIn || !last.renamed) {
			return c.Unit, true
		}
	}
	return c.Unit, false
}

// closings returns the closing signals of a framework. What a user glob found obeys
// those of the generic entry.
func closings(framework string) []closing {
	if framework == User {
		framework = Generic
	}
	for i := range table {
		if table[i].name == framework {
			return table[i].closing
		}
	}
	return nil
}

// HeldBy lists paths which, as long as one of them exists, say that unit is not
// finished. They lie beside the unit.
func (l *Layout) HeldBy(unit string) []string {
	var held []string
	for i := range table {
		for _, b := range table[i].unfinished {
			held = append(held, unit+b.suffix)
			for _, ext := range b.without {
				if stem, cut := strings.CutSuffix(unit, ext); cut {
					held = append(held, stem+b.suffix)
				}
			}
		}
	}
	return held
}
