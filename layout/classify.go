package layout

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Kind says how a path is treated on its way to the store.
type Kind uint8

// The kinds of paths.
const (
	Artifact   Kind = iota // any other file, and directories that are no checkpoint
	Log                    // growing log: uploaded periodically even while open
	Control                // goes up synchronously at close
	Tracker                // names the newest checkpoint
	Checkpoint             // member of a checkpoint directory, the directory itself, or a one-file checkpoint
	Temporary              // never uploaded
	Internal               // .trainfs/ and below: never shown, never written by programs
)

var kinds = [...]string{"artifact", "log", "control", "tracker", "checkpoint", "temporary", "internal"}

// String returns the kind's name in lower case.
func (k Kind) String() string {
	if int(k) < len(kinds) {
		return kinds[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Class is what a path is.
type Class struct {
	Kind Kind

	// Unit is the path that is committed together: the checkpoint directory for
	// its members, else the path itself. A temporary inside a checkpoint directory
	// is no member, but names that directory here: as long as a program works on
	// it, the checkpoint is not quiet.
	Unit string

	// Trial is the directory whose checkpoints and trackers are ordered among each
	// other: the parent of a checkpoint unit, a tracker's own directory. It says
	// something only with a checkpoint, a tracker, or a temporary in a checkpoint.
	Trial string

	// Marker is set for members that are published after their unit's data files.
	Marker bool

	// Framework names the table entry that decided, "" for none, User for a glob
	// of Options, Generic for an educated guess.
	Framework string
}

// Values of Class.Framework that are no framework's name.
const (
	User = "user" // a glob of Options decided

	// Generic says that only the look of a name decided. A directory may then turn
	// out to be a container, when a checkpoint of its own appears below it.
	Generic = "generic"
)

// Options is what the user adds to the table.
type Options struct {
	// Checkpoints are globs, in the syntax of path.Match, for checkpoint
	// directories. Without a slash they speak of a name anywhere, with one of a
	// path relative to the root. On a directory they win over the table. A plain
	// file that they match is a one-file checkpoint, unless the table knows it as
	// a control file, a tracker or a log.
	Checkpoints []string

	// Exclude are globs, in the same syntax, for files and directories that are
	// never uploaded: they, and all below them, are Temporary. They win over
	// everything but Internal.
	Exclude []string

	// NotCheckpoint are globs for names that are never checkpoint directories;
	// what is in them is uploaded all the same. They win over Checkpoints and the
	// table.
	NotCheckpoint []string
}

// glob is one of Options.Checkpoints or Options.Exclude.
type glob struct {
	pattern string
	whole   bool // has a slash: speaks of the whole path
	meant   bool // spells a temporary name itself ("*.tmp"), so a temporary is what it means
}

// Layout answers what paths are. It is immutable and safe for concurrent use.
type Layout struct {
	globs         []glob
	exclude       []glob
	notCheckpoint []string
}

// New returns the layout for o. Its error names a glob that cannot be used.
func New(o Options) (*Layout, error) {
	l := &Layout{}
	for _, pattern := range o.Checkpoints {
		g, err := newGlob(pattern)
		if err != nil {
			return nil, fmt.Errorf("checkpoint glob %q: %w", pattern, err)
		}
		var found roles
		names.lookup(path.Base(g.pattern), &found)
		g.meant = found[roleTemporary] != nil
		l.globs = append(l.globs, g)
	}
	for _, pattern := range o.Exclude {
		g, err := newGlob(pattern)
		if err != nil {
			return nil, fmt.Errorf("exclude glob %q: %w", pattern, err)
		}
		l.exclude = append(l.exclude, g)
	}
	for _, pattern := range o.NotCheckpoint {
		g, err := newGlob(pattern)
		if err == nil && g.whole {
			err = errors.New("speaks of a name, so it cannot hold a slash")
		}
		if err != nil {
			return nil, fmt.Errorf("not_checkpoint glob %q: %w", pattern, err)
		}
		l.notCheckpoint = append(l.notCheckpoint, g.pattern)
	}
	return l, nil
}

// newGlob takes a glob as the user wrote it: checkpoints/ means checkpoints.
func newGlob(pattern string) (glob, error) {
	pattern = strings.TrimSuffix(pattern, "/")
	return glob{pattern: pattern, whole: strings.Contains(pattern, "/")}, checkGlob(pattern)
}

func checkGlob(g string) error {
	if g == "" {
		return errors.New("is empty")
	}
	if g[0] == '/' {
		return errors.New("must be relative to the mount's root")
	}
	for name := range strings.SplitSeq(g, "/") {
		if name == "" || name == "." || name == ".." { // it would silently speak of nothing
			return fmt.Errorf("no path has the part %q", name)
		}
	}
	_, err := path.Match(g, "")
	return err
}

// span is a candidate for the unit: the path up to end. The zero span is none.
type span struct {
	end   int
	entry *entry // nil if a user glob decided
}

// units are the candidates found on a path so far, each the topmost of its sort.
type units struct {
	user, precise, general span
}

// best returns the candidate that wins.
func (u *units) best() span {
	switch {
	case u.user.end > 0:
		return u.user
	case u.precise.end > 0:
		return u.precise
	}
	return u.general
}

// sure reports whether the best candidate is more than an educated guess.
func (u *units) sure() bool { return u.user.end > 0 || u.precise.end > 0 }

// Classify says what path is; dir tells whether its last component is a directory.
// A path's unit is its topmost component that a user glob names, else the topmost
// precise one, else the topmost generic one. Classify does not allocate.
func (l *Layout) Classify(path string, dir bool) Class {
	if path == internal || strings.HasPrefix(path, Prefix) {
		return Class{Kind: Internal, Unit: path}
	}
	var (
		above       units
		found       roles
		inContainer bool
	)
	for start, end := 0, 0; end < len(path); start = end + 1 {
		end = len(path)
		if i := strings.IndexByte(path[start:], '/'); i >= 0 {
			end = start + i
		}
		name, isDir := path[start:end], dir || end < len(path)
		if len(l.exclude) > 0 && anyOf(l.exclude, path[:end], name) {
			return insideTemporary(path, User, above.best())
		}
		names.lookup(name, &found)
		byUser, meant := l.globbed(path[:end], name)
		if r := temporary(&found, isDir); r != nil && !meant {
			return insideTemporary(path, r.entry.name, above.best())
		}
		if !isDir {
			return fileClass(path, &found, byUser, &above)
		}
		if l.neverCheckpoint(name) {
			inContainer = false
			continue
		}
		above.add(end, &found, byUser, inContainer)
		inContainer = found[roleContainer] != nil
	}
	if unit := above.best(); unit.end > 0 {
		return member(path, unit, false)
	}
	return Class{Kind: Artifact, Unit: path}
}

// add notes what the directory that ends at end is.
func (u *units) add(end int, found *roles, byUser, inContainer bool) {
	if byUser && u.user.end == 0 {
		u.user = span{end: end}
	}
	if u.precise.end == 0 {
		if r := found[roleDir]; r != nil {
			u.precise = span{end, r.entry}
		} else if r := found[roleNumbered]; r != nil && inContainer {
			u.precise = span{end, r.entry}
		}
	}
	if r := found[roleGeneric]; r != nil && u.general.end == 0 && found[roleContainer] == nil {
		u.general = span{end, r.entry}
	}
}

// temporary returns the rule by which a name is temporary, nil for none.
func temporary(found *roles, dir bool) *rule {
	if r := found[roleUnfinished]; r != nil && !dir {
		return r
	}
	return found[roleTemporary]
}

// insideTemporary classifies a temporary, and all below it.
func insideTemporary(path, framework string, unit span) Class {
	if unit.end == 0 {
		return Class{Kind: Temporary, Unit: path, Framework: framework}
	}
	c := member(path, unit, false)
	c.Kind, c.Framework = Temporary, framework
	return c
}

// fileClass classifies a plain file that is no temporary, below the directories that
// above speaks of. A directory that only looks like a checkpoint may be an experiment
// (ckpt-exp/), so what is certain from a file's own name is not swallowed by it:
// controls, trackers, logs by more than their extension, numbered one-file checkpoints.
func fileClass(path string, found *roles, byUser bool, above *units) Class {
	marker := found[roleMarker] != nil || found[roleTracker] != nil
	unit := above.best()
	if above.sure() {
		return member(path, unit, marker)
	}
	inGeneric := unit.end > 0
	switch {
	case found[roleControl] != nil:
		return Class{Kind: Control, Unit: path, Framework: found[roleControl].entry.name}
	case found[roleTracker] != nil:
		return Class{Kind: Tracker, Unit: path, Trial: parent(path), Framework: found[roleTracker].entry.name}
	case found[roleLog] != nil && (!inGeneric || found[roleLog].pat[0] != '*'):
		return Class{Kind: Log, Unit: path, Framework: found[roleLog].entry.name}
	case byUser:
		return member(path, span{end: len(path)}, false)
	case found[roleFile] != nil && !(inGeneric && marker):
		return member(path, span{len(path), found[roleFile].entry}, false)
	case inGeneric:
		return member(path, unit, marker)
	case found[roleExtension] != nil:
		return member(path, span{len(path), found[roleExtension].entry}, false)
	}
	return Class{Kind: Artifact, Unit: path}
}

// member is the class of what belongs to a unit, and of the unit itself.
func member(path string, unit span, marker bool) Class {
	c := Class{Kind: Checkpoint, Unit: path[:unit.end], Marker: marker, Framework: User}
	c.Trial = parent(c.Unit)
	if unit.entry != nil {
		c.Framework = unit.entry.name
	}
	return c
}

// speaksOf reports whether g matches the path p, whose last component is name.
func (g *glob) speaksOf(p, name string) bool {
	if g.whole {
		name = p
	}
	ok, _ := path.Match(g.pattern, name)
	return ok
}

func anyOf(globs []glob, p, name string) bool {
	for i := range globs {
		if globs[i].speaksOf(p, name) {
			return true
		}
	}
	return false
}

// globbed reports whether a user glob speaks of path, whose last component is name,
// and whether it means even a temporary name.
func (l *Layout) globbed(p, name string) (byUser, meant bool) {
	for i := range l.globs {
		if g := &l.globs[i]; g.speaksOf(p, name) {
			byUser, meant = true, meant || g.meant
		}
	}
	return byUser, meant
}

func (l *Layout) neverCheckpoint(name string) bool {
	for _, g := range l.notCheckpoint {
		if ok, _ := path.Match(g, name); ok {
			return true
		}
	}
	return false
}

// parent returns the directory that p lies in, "" for the root.
func parent(p string) string {
	return p[:max(strings.LastIndexByte(p, '/'), 0)]
}

// base returns p's last component.
func base(p string) string {
	return p[strings.LastIndexByte(p, '/')+1:]
}
