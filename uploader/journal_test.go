package uploader

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// damages are what a disk, or a person, does to a file.
var damages = map[string]func(b []byte) []byte{
	"deleted":              func([]byte) []byte { return nil },
	"emptied":              func([]byte) []byte { return []byte{} },
	"cut":                  func(b []byte) []byte { return b[:len(b)/2] },
	"scratched":            func(b []byte) []byte { return flip(b, len(b)/3, min(len(b)/3, 4096)) },
	"flipped at the front": func(b []byte) []byte { return flip(b, min(25, len(b)-1), 1) },
}

func flip(b []byte, at, n int) []byte {
	for i := at; i < len(b) && i < at+n; i++ {
		b[i] ^= 0x55
	}
	return b
}

// I2 and I6: whatever becomes of the journal, the tree is the truth, and what this node does
// not know it does not overwrite.
func TestDamagedJournalLosesNothingAndOverwritesNothing(t *testing.T) {
	for how, damage := range damages {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			for _, kind := range []string{"MANIFEST", "*.sst", "*.vlog"} {
				damagedJournal(t, false, kind, damage)
			}
			for _, kind := range []string{"MANIFEST", "*.mem"} {
				damagedJournal(t, true, kind, damage)
			}
		})
	}
}

// killed: the journal is as the death of the process leaves it.
func damagedJournal(t *testing.T, killed bool, kind string, damage func([]byte) []byte) {
	s := newFaulty()
	n, other := startNode(t, s), startNode(t, s)
	n.mkdir("run")
	n.mkdir("run/checkpoint_000000")
	n.write("run/checkpoint_000000/a", "weights")
	for p, content := range map[string]string{"run/kept": "kept", "run/changed": "first", "run/gone": "gone"} {
		n.write(p, content)
	}
	n.wait()
	if err := n.Unlink(ctx, "run/gone"); err != nil {
		t.Fatal(err)
	}
	n.wait()
	other.write("run/gone", "the other's")
	other.wait()
	s.Offline(false)
	n.write("run/changed", "second")
	n.write("run/new", "new")
	journal := filepath.Join(n.cfg.Dir, "journal")
	if killed {
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(journal)); err != nil {
			t.Fatal(err)
		}
		n.close()
		if err := os.RemoveAll(journal); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(journal, os.DirFS(copied)); err != nil {
			t.Fatal(err)
		}
	} else {
		n.close()
	}
	files, err := filepath.Glob(filepath.Join(journal, kind))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if b = damage(b); b == nil {
			err = os.Remove(f)
		} else {
			err = os.WriteFile(f, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	s.Online()
	n.start()
	n.wait()
	for p, want := range map[string]string{
		"run/checkpoint_000000/a": "weights", "run/kept": "kept", "run/gone": "the other's", "run/new": "new",
	} {
		if got := get(t, s, p); got != want {
			t.Errorf("%s: the store has %q under %s, want %q", kind, got, p, want)
		}
	}
	if got := get(t, s, "run/changed"); got != "second" {
		aside, err := filepath.Glob(filepath.Join(n.cfg.Dir, "lost+found", "run%2Fchanged*"))
		if err != nil || len(aside) != 1 || got != "first" {
			t.Errorf("%s: the store has %q, and set aside is %q", kind, got, aside)
		} else if b, err := os.ReadFile(aside[0]); string(b) != "second" {
			t.Errorf("%s: set aside is %q, %v", kind, b, err)
		}
	}
	if strings.Contains(objects(t, s), ".open") {
		t.Errorf("%s: a marker is left", kind)
	}
	n.close()
	other.close()
}

// I3: a journal from a backup has deletions that were carried out long ago.
func TestJournalPutBackFromACopyDeletesNothing(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n, other := startNode(t, s), startNode(t, s)
	n.mkdir("run")
	n.write("run/gone", "gone")
	n.write("run/kept", "kept")
	n.wait()
	s.Offline(false)
	if err := n.Unlink(ctx, "run/gone"); err != nil {
		t.Fatal(err)
	}
	n.close()
	journal, copied := filepath.Join(n.cfg.Dir, "journal"), t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(journal)); err != nil {
		t.Fatal(err)
	}
	s.Online()
	n.start()
	n.wait()
	n.close()
	other.write("run/gone", "the other's")
	other.wait()
	if err := os.RemoveAll(journal); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(journal, os.DirFS(copied)); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.wait()
	for p, want := range map[string]string{"run/gone": "the other's", "run/kept": "kept"} {
		if got := get(t, s, p); got != want {
			t.Errorf("the store has %q under %s, want %q", got, p, want)
		}
	}
}
