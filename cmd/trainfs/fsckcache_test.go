package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFsckOfACacheDirectory(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	if err := fsckCacheDir(dir, false, false, &out); err == nil || !strings.Contains(err.Error(), "no cache directory") {
		t.Errorf("an empty directory: %v", err)
	}
	for _, sub := range []string{"tree/run", "journal"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"tree/run/notes": "notes", "node.json": "{not", "journal/MANIFEST": "nonsense"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := fsckCacheDir(dir, true, false, &out); err == nil {
		t.Error("--dry-run says that all is well")
	}
	for _, want := range []string{"node.json cannot be read", "the journal cannot be read", "next mount or fsck without --dry-run", "no file is lost"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
	out.Reset()
	if err := fsckCacheDir(dir, false, true, &out); err != nil {
		t.Fatal(err)
	}
	var r struct {
		Problems []struct{ Repaired bool } `json:"problems"`
	}
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || len(r.Problems) != 2 || !r.Problems[0].Repaired || !r.Problems[1].Repaired {
		t.Errorf("%v: %s", err, &out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "tree/run/notes")); err != nil || string(b) != "notes" {
		t.Errorf("the file is now %q, %v", b, err)
	}
	out.Reset()
	if err := fsckCacheDir(dir, false, false, &out); err == nil && !strings.Contains(out.String(), "set aside: ") {
		t.Errorf("afterwards: %s", &out)
	}
}
