package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPathsOutsideAnyMountAreNamed(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := locate(dir); err == nil || !strings.Contains(err.Error(), dir+" does not lie in a trainfs mount") {
		t.Errorf("%v", err)
	}
	if _, err := findMountPoint(dir); err == nil || !strings.Contains(err.Error(), dir+" is not a mount point of trainfs") {
		t.Errorf("%v", err)
	}
	if _, err := byMount(nil); exitCode(err) != exitUsage {
		t.Errorf("%v", err)
	}
}

func TestAbsoluteFollowsLinksOnTheWayButNotAtTheEnd(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"way": "real", "real/end": "elsewhere"} {
		if err := os.MkdirAll(filepath.Join(dir, "real"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := absolute(filepath.Join(dir, "way/end")); err != nil || got != filepath.Join(dir, "real/end") {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHoldersOfADirectoryAreFound(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "open"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := heldBy(os.Getpid(), dir); got != f.Name() {
		t.Errorf("%q", got)
	}
	if got := findHolders(dir, 5); len(got) != 0 { // oneself does not count
		t.Errorf("%+v", got)
	}
}
