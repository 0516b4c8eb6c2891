package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// packaged reads a file of the module.
func packaged(t *testing.T, path string) string {
	t.Helper()
	return readFile(t, filepath.Join("..", "..", "packaging", path))
}

// takes fails unless the program takes a mount as it is asked for.
func takes(t *testing.T, what string, r *mountRequest) {
	t.Helper()
	if _, _, err := r.resolved(testEnviron(nil, 0, t.TempDir())); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

func TestPackagedFstabLinesAreOnesThatTheProgramTakes(t *testing.T) {
	lines := 0
	for line := range strings.Lines(packaged(t, "examples/fstab")) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		lines++
		if len(fields) != 6 || fields[2] != "trainfs" {
			t.Errorf("not a line of fstab: %s", line)
			continue
		}
		takes(t, line, &mountRequest{source: fields[0], mountPoint: fields[1], options: []string{fields[3]}})
	}
	if lines < 4 {
		t.Errorf("%d lines", lines)
	}
}

func TestPackagedConfigurationsAreOnesThatTheProgramTakes(t *testing.T) {
	inDaemonSet := regexp.MustCompile(`trainfs\.yaml: \|\n((?:    .*\n)+)`).FindStringSubmatch(packaged(t, "kubernetes/daemonset.yaml"))
	if inDaemonSet == nil {
		t.Fatal("the DaemonSet has no configuration")
	}
	for what, text := range map[string]string{
		"examples/run1.yaml": packaged(t, "examples/run1.yaml"),
		"the DaemonSet's":    strings.ReplaceAll("\n"+inDaemonSet[1], "\n    ", "\n"),
	} {
		path := filepath.Join(t.TempDir(), "trainfs.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		takes(t, what, &mountRequest{config: path})
	}
}
