package layout

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var when = time.Date(2026, 11, 23, 6, 24, 1, 123456789, time.UTC)

func goldenManifest() *Manifest {
	return &Manifest{
		Version: 1, Unit: "run/checkpoint_000003", Node: "n-4f2a", Generation: 2, Sealed: when,
		Files: []File{
			{Path: "", Type: TypeDir, Mode: 0o755, UID: 1000, GID: 1000, Mtime: when},
			{Path: "rank_0", Type: TypeDir, Mode: 0o750, UID: 1000, GID: 1000, Mtime: when},
			{Path: "rank_0/model <a&b>.pt", Type: TypeFile, Size: 1 << 34, CRC32C: 0xdeadbeef, Mode: 0o640, UID: 1000, GID: 1000, Mtime: when},
			{Path: "rank_0.latest", Type: TypeSymlink, Target: "rank_0", Mode: 0o777, UID: 1000, GID: 1000, Mtime: when},
		},
		Removed: []Removed{{Path: "old.pt", Node: "n-77aa", Sealed: when.Add(-time.Minute)}},
	}
}

func goldenMarker() *OpenMarker {
	return &OpenMarker{Version: 1, Node: "n-4f2a", Host: "worker-7", Since: when, State: StateOpen}
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s", path, got)
	}
}

func TestManifestGolden(t *testing.T) {
	m := goldenManifest()
	slices.Reverse(m.Files)
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest.json", b)
	if m.Files[3].Path != "" {
		t.Error("Encode changed its receiver")
	}
	back, err := DecodeManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, goldenManifest()) {
		t.Errorf("decoded %+v", back)
	}
}

func TestOpenMarkerGolden(t *testing.T) {
	b, err := goldenMarker().Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "open.json", b)
	back, err := DecodeOpenMarker(b)
	if err != nil {
		t.Fatal(err)
	}
	if *back != *goldenMarker() {
		t.Errorf("decoded %+v", back)
	}
}

func TestDeletionGolden(t *testing.T) {
	want := Deletion{Version: 1, Node: "n-4f2a", Host: "worker-7", Age: 3.25}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "deleted.json", b)
	if back, err := DecodeDeletion(b); err != nil || *back != want {
		t.Errorf("decoded %+v, %v", back, err)
	}
}

func TestNewerVersionIsNotCalledDamaged(t *testing.T) {
	for _, doc := range []string{`{"version":2,"files":"elsewhere"}`, `{"version":2,"state":7}`} {
		_, err := DecodeManifest([]byte(doc))
		_, err2 := DecodeOpenMarker([]byte(doc))
		_, err3 := DecodeDeletion([]byte(doc))
		for _, err := range []error{err, err2, err3} {
			if !errors.Is(err, ErrVersion) || errors.Is(err, ErrFormat) {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
}

func TestDamagedDocumentsAreRefused(t *testing.T) {
	edit := func(name, old, new string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(b, []byte(old)) {
			t.Fatalf("%s has no %s", name, old)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
	for _, c := range []struct{ old, new string }{
		{`"version": 1`, `"version": 0`},
		{`"version": 1`, `"version": -1`},
		{`"version": 1`, `"version": "1"`},
		{`"unit": "run/checkpoint_000003"`, `"unit": ""`},
		{`"unit": "run/checkpoint_000003"`, `"unit": "run/../../etc"`},
		{`"unit": "run/checkpoint_000003"`, `"unit": ".trainfs/v1"`},
		{`"node": "n-4f2a"`, `"node": "a/b"`},
		{`"node": "n-4f2a"`, `"node": ""`},
		{`"path": "rank_0"`, `"path": "../rank_0"`},
		{`"path": "rank_0"`, `"path": "/rank_0"`},
		{`"path": "rank_0"`, `"path": "rank_0.latest"`},
		{`"path": "rank_0.latest"`, `"path": "rank_0/model <a&b>.pt/x"`},
		{`"path": "rank_0"`, `"path": "` + strings.Repeat("a/", 2040) + `a"`},
		{`"type": "dir"`, `"type": "pipe"`},
		{`"type": "symlink"`, `"type": "file"`},
		{`"target": "rank_0"`, `"target": ""`},
		{`"target": "rank_0"`, `"target": "a\u0000"`},
		{`"size": 0`, `"size": 5`},
		{`"size": 17179869184`, `"size": -1`},
		{`"mode": 416`, `"mode": 33184`},
		{`"files": [`, `"files": {`},
		{`}`, ``},
	} {
		if _, err := DecodeManifest(edit("manifest.json", c.old, c.new)); !errors.Is(err, ErrFormat) {
			t.Errorf("%.60s instead of %s: %v", c.new, c.old, err)
		}
	}
	for _, c := range []struct{ old, new string }{
		{`"state": "open"`, `"state": "ajar"`},
		{`"node": "n-4f2a"`, `"node": ".."`},
		{`"host": "worker-7"`, `"host": "` + strings.Repeat("x", maxMarkerBytes) + `"`},
	} {
		if _, err := DecodeOpenMarker(edit("open.json", c.old, c.new)); !errors.Is(err, ErrFormat) {
			t.Errorf("%.60s instead of %s: %v", c.new, c.old, err)
		}
	}
}

func TestDecodeDeletionRefuses(t *testing.T) {
	for _, doc := range []string{
		`{"version":1,"node":"..","age":1}`, `{"version":1,"node":"n","age":-1}`, `{"version":1,"node":"n","age":1e300}`,
		`{"version":1,"node":"n","age":"1"}`, `{"version":1,"node":"n","age":1`, ``,
	} {
		if d, err := DecodeDeletion([]byte(doc)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, %v", doc, d, err)
		}
	}
}

// A name that JSON cannot hold would come back as another one.
func TestEncodeRefusesWhatWouldNotComeBack(t *testing.T) {
	for name, change := range map[string]func(*Manifest){
		"not UTF-8":       func(m *Manifest) { m.Files[1].Path = "a\xff" },
		"twice":           func(m *Manifest) { m.Files[1].Path = m.Files[3].Path },
		"below one file":  func(m *Manifest) { m.Files[0].Type = TypeFile },
		"file type bits":  func(m *Manifest) { m.Files[1].Mode |= 0o40000 },
		"unit not UTF-8":  func(m *Manifest) { m.Unit = "\xff" },
		"node is no name": func(m *Manifest) { m.Node = "a/b" },
	} {
		m := goldenManifest()
		change(m)
		if _, err := m.Encode(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneFileUnit(t *testing.T) {
	m := &Manifest{Unit: "a/model.pt", Node: "n", Files: []File{{Type: TypeFile, Size: 3, Mode: 0o600}}}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeManifest(b); err != nil {
		t.Error(err)
	}
}

// Nothing keeps a program from setting a file's time to the year 292277026596.
func TestOddTimesDoNotPreventACommit(t *testing.T) {
	for _, odd := range []time.Time{time.Unix(1<<62, 0), time.Unix(-1<<60, 0), {}, when.In(time.FixedZone("x", 3600*23+61))} {
		m := goldenManifest()
		m.Sealed, m.Files[0].Mtime = odd, odd
		b, err := m.Encode()
		if err != nil {
			t.Errorf("%v: %v", odd, err)
			continue
		}
		if _, err := DecodeManifest(b); err != nil {
			t.Errorf("%v: %v", odd, err)
		}
	}
}

func FuzzDecodeManifest(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("testdata", "manifest.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":2}`))
	f.Add([]byte(`{"version":1,"unit":"a","node":"n","files":[{"path":"","type":"file"},{"path":"a","type":"dir"}]}`))
	f.Add([]byte(`{"version":1,"unit":"a","node":"n","sealed":"9999-12-31T23:59:59-23:00"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeManifest(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrVersion) {
				t.Errorf("neither malformed nor newer: %v", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, file := range m.Files {
			if file.Path != "" && CheckPath(file.Path) != nil || seen[file.Path] {
				t.Errorf("path %q", file.Path)
			}
			seen[file.Path] = true
		}
		first, err := m.Encode()
		if err != nil {
			t.Fatalf("decoded, but does not encode: %v", err)
		}
		again, err := DecodeManifest(first)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(first, second) {
			t.Errorf("not stable: %v\n%s\n%s", err, first, second)
		}
	})
}
