package uploader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/cache"
)

func checkDir(t *testing.T, n *node, repair bool) *cache.DirReport {
	t.Helper()
	r, err := cache.CheckDir(n.cfg.Dir, repair)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFsckOfACacheDirectorySaysWhatWaitsAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	if _, err := cache.CheckDir(n.cfg.Dir, true); !errors.Is(err, cache.ErrLocked) {
		t.Errorf("while it is mounted: %v", err)
	}
	n.mkdir("run")
	n.write("run/kept", "kept")
	n.write("run/gone", "gone")
	n.wait()
	s.Offline(false)
	n.write("run/new", "new!")
	if err := n.Unlink(ctx, "run/gone"); err != nil {
		t.Fatal(err)
	}
	n.close()
	for range 2 {
		r := checkDir(t, n, true)
		if !r.Sound() || r.Files != 2 || r.Dirty != 1 || r.Bytes != 4 || r.Deletions != 1 || r.Node == "" || len(r.Problems) > 0 {
			t.Errorf("%+v", r)
		}
	}
	s.Online()
	n.start()
	n.wait()
	if got := objects(t, s); !strings.HasSuffix(got, "run/kept run/new") {
		t.Errorf("the store has %s", got)
	}
}

func TestFsckOfACacheDirectorySetsADamagedJournalAside(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, journal string){
		"a table": func(t *testing.T, journal string) {
			list, _ := filepath.Glob(journal + "/*.sst")
			if len(list) == 0 {
				t.Fatal("no table")
			}
			for _, f := range list {
				b, err := os.ReadFile(f)
				if err == nil {
					err = os.WriteFile(f, flip(b, len(b)/2, 100), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		},
		"all of it": func(t *testing.T, journal string) {
			if err := os.RemoveAll(journal); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(journal, 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newFaulty()
			n := startNode(t, s)
			n.mkdir("run")
			n.write("run/kept", "kept")
			n.wait()
			s.Offline(false)
			n.write("run/new", "new")
			n.close()
			damage(t, filepath.Join(n.cfg.Dir, "journal"))
			for range 2 { // and changes nothing
				if r := checkDir(t, n, false); r.Sound() || len(r.Problems) != 1 || len(r.LostFound) > 0 {
					t.Errorf("dry run: %+v", r)
				}
			}
			if r := checkDir(t, n, true); !r.Sound() || len(r.Problems) != 1 || len(r.LostFound) != 1 {
				t.Errorf("repair: %+v", r)
			}
			s.Online()
			n.start()
			n.wait()
			for p, want := range map[string]string{"run/kept": "kept", "run/new": "new"} {
				if got := get(t, s, p); got != want {
					t.Errorf("the store has %q under %s, want %q", got, p, want)
				}
			}
			n.close()
			if r := checkDir(t, n, true); !r.Sound() || len(r.Problems) > 0 {
				t.Errorf("later: %+v", r)
			}
		})
	}
}

// An older trainfs refuses what a newer one has written, says what to do, and changes nothing.
func TestNewerFormatIsRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	s := newFaulty()
	n := startNode(t, s)
	n.mkdir("run")
	n.write("run/a", "a")
	n.wait()
	n.close()
	name := filepath.Join(n.cfg.Dir, "node.json")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	newer := strings.Replace(string(b), `"format": 1`, `"format": 99`, 1)
	if err := os.WriteFile(name, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	_, mounted := cache.Open(ctx, n.cfg)
	_, checked := cache.CheckDir(n.cfg.Dir, true)
	for _, err := range []error{mounted, checked} {
		if !errors.Is(err, cache.ErrFormat) || !strings.Contains(err.Error(), "99") || !strings.Contains(err.Error(), "another cache_dir") {
			t.Errorf("%v", err)
		}
	}
	if now, err := os.ReadFile(name); err != nil || string(now) != newer {
		t.Errorf("node.json is now %s, %v", now, err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.wait()
	if _, err := s.Head(ctx, "run/a"); err != nil {
		t.Error(err)
	}
}
