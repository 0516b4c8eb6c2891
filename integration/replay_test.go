package integration

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// replay is what a framework does to its storage path, in the order in which it does it, as a
// file below testdata/frameworks says it. docs/frameworks.md explains the form.
type replay struct {
	name       string
	ranks      int               // nodes that take part
	checkpoint string            // path of the checkpoint that a step makes
	tracker    string            // path of the tracker, "" for none
	last       string            // member that no reader may see before all others, "" for none
	keep       int               // checkpoints that are left by the rotation
	finished   string            // what says that one is finished: rename, marker, close, tracker, next or quiet
	passing    string            // directory whose files come and go
	sections   map[string][]step // start, cut, resume, remove, save, rotate, tell, end
}

// step is one line: what a node does, or all do at the same time.
type step struct {
	where string // file and line
	node  int    // -1: all
	verb  string
	args  []string
}

func readReplay(t *testing.T, file string) *replay {
	t.Helper()
	content, err := os.ReadFile(file)
	must(t, err)
	r := &replay{name: strings.TrimSuffix(filepath.Base(file), ".ops"), ranks: 1, keep: 1 << 20, sections: map[string][]step{}}
	section := ""
	for i, line := range strings.Split(string(content), "\n") {
		line, _, _ = strings.Cut(line, "# ")
		words := strings.Fields(line)
		where := fmt.Sprintf("%s:%d", filepath.Base(file), i+1)
		switch {
		case len(words) == 0 || words[0] == "#":
		case strings.HasPrefix(words[0], "["):
			section = strings.Trim(words[0], "[]")
		case section == "":
			r.header(t, where, words)
		default:
			s := step{where: where, node: -1}
			if n, err := strconv.Atoi(words[0]); err == nil {
				s.node, words = n, words[1:]
			}
			s.verb, s.args = words[0], words[1:]
			if verbs[s.verb] == nil && s.verb != "barrier" || s.node >= r.ranks {
				t.Fatalf("%s: no verb %q, or no such node", where, s.verb)
			}
			r.sections[section] = append(r.sections[section], s)
		}
	}
	return r
}

func (r *replay) header(t *testing.T, where string, words []string) {
	t.Helper()
	if len(words) != 2 {
		t.Fatalf("%s: wanted a word and its value: %q", where, words)
	}
	number := func() int {
		n, err := strconv.Atoi(words[1])
		must(t, err)
		return n
	}
	switch words[0] {
	case "nodes":
		r.ranks = number()
	case "keep":
		r.keep = number()
	case "checkpoint":
		r.checkpoint = words[1]
	case "tracker":
		r.tracker = words[1]
	case "last":
		r.last = words[1]
	case "finished":
		r.finished = words[1]
	case "passing":
		r.passing = words[1]
	default:
		t.Fatalf("%s: no such word: %q", where, words[0])
	}
}

// at is the checkpoint of a step.
func (r *replay) at(n int) string { return r.fill(r.checkpoint, n, 0) }

// fill puts the numbers of a step into a text: {n} is its own, {old} that of the checkpoint
// that its rotation removes, {n:07} the same with seven digits, {node} the node's.
func (r *replay) fill(text string, n, node int) string {
	return numbers.ReplaceAllStringFunc(text, func(found string) string {
		m := numbers.FindStringSubmatch(found)
		width, _ := strconv.Atoi(m[2])
		return fmt.Sprintf("%0*d", width, map[string]int{"n": n, "old": n - r.keep, "node": node}[m[1]])
	})
}

var numbers = regexp.MustCompile(`\{(n|old|node)(?::([0-9]+))?\}`)

// play does a section of step n below the bases, one a node: what lies between two barriers
// each node does in its order, and all nodes at the same time.
func (r *replay) play(section string, n int, bases []string) error {
	for part := range parts(r.sections[section]) {
		failed := make([]error, len(bases))
		var nodes sync.WaitGroup
		for node, base := range bases {
			nodes.Go(func() { failed[node] = r.playOn(part, n, node, base) })
		}
		nodes.Wait()
		if err := errors.Join(failed...); err != nil {
			return err
		}
	}
	return nil
}

// parts yields the steps between barriers.
func parts(steps []step) func(func([]step) bool) {
	return func(yield func([]step) bool) {
		for len(steps) > 0 {
			end := slices.IndexFunc(steps, func(s step) bool { return s.verb == "barrier" })
			if end < 0 {
				end = len(steps)
			}
			if !yield(steps[:end]) {
				return
			}
			steps = steps[min(end+1, len(steps)):]
		}
	}
}

func (r *replay) playOn(steps []step, n, node int, base string) error {
	for _, s := range steps {
		if s.node >= 0 && s.node != node {
			continue
		}
		args := make([]string, len(s.args))
		for i, a := range s.args {
			args[i] = r.fill(a, n, node)
		}
		if err := verbs[s.verb](scene{base, n}, args); err != nil {
			return fmt.Errorf("%s, step %d, node %d: %s: %w", s.where, n, node, s.verb, err)
		}
	}
	return nil
}

// scene is where and when a verb is carried out.
type scene struct {
	base string
	n    int
}

func (s scene) path(name string) string { return filepath.Join(s.base, name) }

// content is the same wherever and on whatever node it is written.
func (s scene) content(name, bytes string) (string, error) {
	size, err := strconv.Atoi(bytes)
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", path.Base(name), s.n)
	return noise(size, h.Sum64()), err
}

// verbs are the operations of a replay.
var verbs = map[string]func(s scene, args []string) error{
	"mkdir": func(s scene, a []string) error { return os.MkdirAll(s.path(a[0]), 0o777) },
	"write": writeVerb, // PATH BYTES [fsync]: created or truncated, written by the MiB, perhaps fsynced, closed
	"text": func(s scene, a []string) error { // PATH WORDS…
		return copyFile(s.path(a[0]), strings.Join(a[1:], " "))
	},
	"append": func(s scene, a []string) error { // PATH WORDS…
		f, err := os.OpenFile(s.path(a[0]), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
		if err != nil {
			return err
		}
		_, err = f.WriteString(strings.Join(a[1:], " ") + "\n")
		return errors.Join(err, f.Close())
	},
	"fill": fillVerb, // PATH BYTES: set to its full size first, then written
	"map":  mapVerb,  // PATH BYTES: written through a mapping
	"h5":   h5Verb,   // PATH BYTES: opened for reading and writing, written out of order
	"fsync": func(s scene, a []string) error {
		f, err := os.Open(s.path(a[0]))
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	},
	"rename":  func(s scene, a []string) error { return os.Rename(s.path(a[0]), s.path(a[1])) },
	"symlink": func(s scene, a []string) error { return os.Symlink(a[0], s.path(a[1])) }, // TARGET PATH
	"unlink":  func(s scene, a []string) error { return os.Remove(s.path(a[0])) },
	"rmtree": func(s scene, a []string) error {
		if _, err := os.Stat(s.path(a[0])); err != nil {
			return err
		}
		return os.RemoveAll(s.path(a[0]))
	},
	"chmod": func(s scene, a []string) error {
		mode, err := strconv.ParseUint(a[1], 8, 32)
		return errors.Join(err, os.Chmod(s.path(a[0]), os.FileMode(mode)))
	},
	"stat": func(s scene, a []string) error { _, err := os.Stat(s.path(a[0])); return err },
	"list": func(s scene, a []string) error { // PATH COUNT: polled until it has so many names
		count, err := strconv.Atoi(a[1])
		return errors.Join(err, untilTrue(func() (bool, string) {
			entries, err := os.ReadDir(s.path(a[0]))
			return len(entries) == count, fmt.Sprintf("%d names, %v", len(entries), err)
		}))
	},
}

// untilTrue polls as a framework does that waits for others.
func untilTrue(ok func() (bool, string)) error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		done, what := ok()
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %s: it has %s", patience, what)
		}
	}
}

func writeVerb(s scene, a []string) error {
	content, err := s.content(a[0], a[1])
	if err != nil || len(a) < 3 {
		return errors.Join(err, copyFile(s.path(a[0]), content))
	}
	f, err := os.Create(s.path(a[0]))
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func fillVerb(s scene, a []string) error {
	content, err := s.content(a[0], a[1])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.path(a[0]), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = f.Truncate(int64(len(content)))
	if err == nil {
		_, err = f.WriteString(content)
	}
	return errors.Join(err, f.Close())
}

func h5Verb(s scene, a []string) error {
	content, err := s.content(a[0], a[1])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.path(a[0]), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	half := len(content) / 2 // the head of the file is written again at the end
	for _, from := range []int{0, half, 0} {
		if err == nil {
			_, err = f.WriteAt([]byte(content[from:min(from+half+1, len(content))]), int64(from))
		}
	}
	return errors.Join(err, f.Close())
}

func mapVerb(s scene, a []string) error {
	content, err := s.content(a[0], a[1])
	if err != nil {
		return err
	}
	f, err := os.OpenFile(s.path(a[0]), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(int64(len(content))); err != nil {
		return err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, len(content), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m, content)
	return errors.Join(unix.Msync(m, unix.MS_SYNC), unix.Munmap(m))
}
