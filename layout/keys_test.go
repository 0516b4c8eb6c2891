package layout

import (
	"strings"
	"testing"
)

func TestUnitKeys(t *testing.T) {
	if got, want := ManifestKey("run/checkpoint-5", "n1"), ".trainfs/v1/units/run/checkpoint-5/n1.json"; got != want {
		t.Errorf("manifest key %q, want %q", got, want)
	}
	if got, want := OpenKey("run/checkpoint-5", "n1"), ".trainfs/v1/units/run/checkpoint-5/n1.open"; got != want {
		t.Errorf("open key %q, want %q", got, want)
	}
	if got, want := UnitsPrefix(""), ".trainfs/v1/units/"; got != want {
		t.Errorf("prefix %q, want %q", got, want)
	}
	if got, want := UnitsPrefix("run"), ".trainfs/v1/units/run/"; got != want {
		t.Errorf("prefix %q, want %q", got, want)
	}
}

func TestParseUnitKeyRefuses(t *testing.T) {
	for _, key := range []string{
		"", "run/n1.json", ".trainfs/v2/units/a/n1.json", ".trainfs/v1/units/", ".trainfs/v1/units/n1.json",
		".trainfs/v1/units/a/n1", ".trainfs/v1/units/a/.json", ".trainfs/v1/units/a/...json", ".trainfs/v1/units/a/.open",
		".trainfs/v1/units/../n1.json", ".trainfs/v1/units/a//n1.json", ".trainfs/v1/units//n1.json",
		".trainfs/v1/units/a/b\x00.json",
	} {
		if unit, node, _, ok := ParseUnitKey(key); ok {
			t.Errorf("%q: unit %q, node %q", key, unit, node)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for path, want := range map[string]string{
		"a":                                "",
		"a/b c/ü":                          "",
		"a/..b/...":                        "",
		strings.Repeat("a", 255):           "",
		"":                                 "empty part",
		"/a":                               "empty part",
		"a/":                               "empty part",
		"a//b":                             "empty part",
		"a/./b":                            `part "."`,
		"../a":                             `part ".."`,
		"a\x00":                            "NUL",
		strings.Repeat("a", 256):           "longer than 255",
		strings.Repeat("a/", 2048) + "abc": "longer than 4096",
	} {
		err := CheckPath(path)
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", path, err, want)
		}
	}
}

func FuzzUnitKey(f *testing.F) {
	f.Add("run/checkpoint-5", "n1", ".trainfs/v1/units/a/n.open")
	f.Add("a.json", "b.open", ".trainfs/v1/units/a/b.json/c.json")
	f.Add("a/b", "n", ".trainfs/v1/units/a/n.deleted")
	f.Add("..", "", ".trainfs/v1/units/../n.json")
	f.Fuzz(func(t *testing.T, unit, node, key string) {
		node = base(node) // a node with a slash is the caller's mistake
		valid := CheckPath(unit) == nil && checkNode(node) == nil
		u, n, open, ok := ParseUnitKey(ManifestKey(unit, node))
		if ok != valid || ok && (u != unit || n != node || open) {
			t.Errorf("manifest of %q, %q: %q, %q, %v, %v", unit, node, u, n, open, ok)
		}
		u, n, open, ok = ParseUnitKey(OpenKey(unit, node))
		if ok != valid || ok && (u != unit || n != node || !open) {
			t.Errorf("marker of %q, %q: %q, %q, %v, %v", unit, node, u, n, open, ok)
		}
		u, n, ok = ParseDeletedKey(DeletedKey(unit, node))
		if ok != valid || ok && (u != unit || n != node) {
			t.Errorf("word of %q, %q: %q, %q, %v", unit, node, u, n, ok)
		}
		if u, n, ok := ParseDeletedKey(key); ok && DeletedKey(u, n) != key {
			t.Errorf("%q comes back as %q", key, DeletedKey(u, n))
		}
		if u, n, open, ok := ParseUnitKey(key); ok {
			back := ManifestKey(u, n)
			if open {
				back = OpenKey(u, n)
			}
			if back != key {
				t.Errorf("%q comes back as %q", key, back)
			}
		}
	})
}
