package integration

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/backend"
)

func TestFlushUploadsWhatADeadMountHasLeft(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		// Options that decide what goes up are those of the mount, though nobody gives them again.
		m := s.mount(t, "settle=10m", "exclude=*.secret", "checkpoint=mine*")
		write(t, filepath.Join(mkdir(t, m.path("run/mine1")), "model.pt"), noise(6*mib, 1))
		write(t, m.path("run/mine1/meta.json"), "{}")
		write(t, m.path("run/a.secret"), "not for the store")
		m.kill()
		must(t, unix.Unmount(m.dir, unix.MNT_DETACH))

		before := len(s.objects(""))
		r := run(t, m.env, trainfs, "flush", "--cache-dir", m.cache, "--dry-run", "--json")
		var told struct {
			Units []struct{ Path string } `json:"units"`
			Bytes int64                   `json:"bytes"`
		}
		if err := json.Unmarshal([]byte(r.output), &told); err != nil || r.code != 0 || len(told.Units) != 1 || told.Bytes < 6*mib {
			t.Errorf("dry run: exit code %d, %v\n%s", r.code, err, r.output)
		}
		want(t, "objects after a dry run", len(s.objects("")), before)

		r = run(t, m.env, trainfs, "flush", "--cache-dir", m.cache, "--timeout", "60s", "--quiet", "--json")
		var did struct {
			DryRun bool                    `json:"dry_run"`
			Units  []struct{ Path string } `json:"units"`
			Left   *struct{ Units int }    `json:"left"`
		}
		if err := json.Unmarshal([]byte(r.output), &did); err != nil || r.code != 0 || did.DryRun || len(did.Units) != 1 || did.Left == nil || did.Left.Units != 0 {
			t.Errorf("flush: exit code %d, %v\n%s", r.code, err, r.output)
		}
		r = run(t, m.env, trainfs, "flush", "--cache-dir", m.cache)
		if r.code != 0 || !strings.Contains(r.output, "all committed") || !strings.Contains(r.output, "0 units") {
			t.Errorf("flush again: exit code %d\n%s", r.code, r.output)
		}
		s.wantKeys("run/mine1/model.pt", "run/mine1/meta.json")
		s.wantNoOpenMarkers()
		m.start() // and the cache directory is as good as before
		m.wait()
	})
}

func TestFlushTellsWhatIsTornAndWhatItCannotDo(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	m := s.mount(t, "settle=10m")
	f, err := os.Create(filepath.Join(mkdir(t, m.path("run/checkpoint_000001")), "model.pt"))
	must(t, err)
	write(t, m.path("run/notes"), "whole")
	r := run(t, m.env, trainfs, "flush", "--cache-dir", m.cache)
	if r.code != 1 || !strings.Contains(r.output, m.cache) || !strings.Contains(r.output, "trainfs wait") {
		t.Errorf("flush beside a daemon: exit code %d\n%s", r.code, r.output)
	}
	m.kill()
	f.Close()
	must(t, unix.Unmount(m.dir, unix.MNT_DETACH))
	r = run(t, m.env, trainfs, "flush", "--cache-dir", m.cache)
	if r.code != 1 || !strings.Contains(r.output, "torn") || !strings.Contains(r.output, "run/checkpoint_000001") {
		t.Errorf("flush with something torn: exit code %d\n%s", r.code, r.output)
	}
	s.wantKeys("run/notes")

	empty := t.TempDir()
	r = run(t, m.env, trainfs, "flush", "--cache-dir", empty)
	if r.code != 1 || !strings.Contains(r.output, "no cache directory") || len(names(t, empty)) != 0 {
		t.Errorf("flush of a directory of somebody else's: exit code %d, left %v\n%s", r.code, names(t, empty), r.output)
	}
}

func TestFsckNamesWhatIsNotComplete(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t, "settle=10m")
		for _, c := range []string{"run/checkpoint_000001", "run/checkpoint_000002"} {
			mkdir(t, m.path(c))
			write(t, m.path(c, "a"), "content")
			write(t, m.path(c, "b"), "content")
		}
		m.commit("run/checkpoint_000001", "run/checkpoint_000002")
		write(t, filepath.Join(mkdir(t, m.path("run/checkpoint_000003")), "a"), "begun")
		eventually(t, "the open marker is there", func() bool {
			for key := range s.objects(".trainfs/") {
				if strings.HasSuffix(key, ".open") {
					return true
				}
			}
			return false
		})
		r := run(t, m.env, trainfs, "fsck", s.source)
		if r.code != 0 || !strings.Contains(r.output, "run/checkpoint_000003\n  is being written by node") {
			t.Errorf("fsck: exit code %d\n%s", r.code, r.output)
		}
		must(t, s.raw.Delete(context.Background(), "run/checkpoint_000002/b"))
		r = run(t, m.env, trainfs, "fsck", s.source)
		if r.code != 1 || !strings.Contains(r.output, "missing: run/checkpoint_000002/b\n") || strings.Contains(r.output, "checkpoint_000001") {
			t.Errorf("fsck with a file missing: exit code %d\n%s", r.code, r.output)
		}
		r = run(t, m.env, trainfs, "fsck", "--dry-run", "--json", s.source) // it never changes anything
		want(t, "exit code", r.code, 1)
		complete := map[string]bool{}
		for line := range strings.Lines(r.output) {
			var u struct {
				Unit     string
				Complete bool
			}
			if json.Unmarshal([]byte(line), &u) == nil {
				complete[u.Unit] = u.Complete
			}
		}
		want(t, "units", len(complete), 3)
		want(t, "the whole one is complete", complete["run/checkpoint_000001"], true)
		want(t, "the broken one is complete", complete["run/checkpoint_000002"], false)
	})
}

func TestGcRemovesWhatDeadNodesHaveLeftAndNothingElse(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		ctx := context.Background()
		m := s.mount(t)
		write(t, filepath.Join(mkdir(t, m.path("run/checkpoint_000001")), "a"), "content")
		m.wait()
		m.umount()

		_, err := s.raw.BeginStage(ctx, "run/checkpoint_000002/orphan", 20*mib, 5*mib, backend.Attr{Mode: 0o644})
		must(t, err)
		marker := `{"version":1,"node":"deadnode","host":"gone","since":"2026-01-02T03:04:05Z","state":"open"}`
		s.put(".trainfs/v1/units/run/checkpoint_000001/deadnode.open", marker)
		empty := `{"version":1,"unit":"run/checkpoint_000009","node":"deadnode","generation":1,"sealed":"2026-01-02T03:04:05Z",` +
			`"files":[{"path":"gone","type":"file","size":5,"crc32c":1,"mode":420,"uid":0,"gid":0,"mtime":"2026-01-02T03:04:05Z"}]}`
		s.put(".trainfs/v1/units/run/checkpoint_000009/deadnode.json", empty)
		before := len(s.objects(""))

		dry := []string{"gc", "--dry-run", "--json", "--older-than", "0s", "--dead-node", "deadnode", s.source}
		for _, args := range [][]string{{"gc", s.source}, dry} {
			r := run(t, m.env, trainfs, args...)
			want(t, "exit code", r.code, 0)
			if told := strings.Count(r.output, `"removed":false`); slices.Equal(args, dry) && told != 3 {
				t.Errorf("a dry run names %d things\n%s", told, r.output)
			}
			want(t, "objects after "+strings.Join(args, " "), len(s.objects("")), before)
		}
		stages, err := s.raw.ListStages(ctx, "")
		must(t, err)
		want(t, "unfinished uploads before", len(stages), 1)

		r := run(t, m.env, trainfs, "gc", "--json", "--older-than", "0s", "--dead-node", "deadnode", s.source)
		kinds := map[string]int{}
		for line := range strings.Lines(r.output) {
			var g struct {
				Kind, Error string
				Removed     bool
			}
			must(t, json.Unmarshal([]byte(line), &g))
			want(t, "removed, or "+g.Error, g.Removed, true)
			kinds[g.Kind]++
		}
		if r.code != 0 || kinds["upload"] != 1 || kinds["marker"] != 1 || kinds["manifest"] != 1 || len(kinds) != 3 {
			t.Errorf("gc: exit code %d\n%s", r.code, r.output)
		}
		stages, err = s.raw.ListStages(ctx, "")
		must(t, err)
		want(t, "unfinished uploads after", len(stages), 0)
		s.wantKeys("run/checkpoint_000001/a")
		s.wantNoOpenMarkers()
		s.wantNoTraces("run/checkpoint_000009")
		if r := run(t, m.env, trainfs, "gc", "--older-than", "0s", s.source); r.code != 0 || !strings.Contains(r.output, "nothing to remove") {
			t.Errorf("gc again: exit code %d\n%s", r.code, r.output)
		}
	})
}
