package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
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

// systemd makes units of the lines of fstab, and has no complaint about them.
func TestPackagedFstabLinesAreUnitsOfSystemd(t *testing.T) {
	const generator = "/lib/systemd/system-generators/systemd-fstab-generator"
	for _, program := range []string{generator, "systemd-analyze"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	for line := range strings.Lines(packaged(t, "examples/fstab")) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		dir := t.TempDir()
		fstab := filepath.Join(dir, "fstab")
		if err := os.WriteFile(fstab, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(generator, dir, dir, dir)
		cmd.Env = append(os.Environ(), "SYSTEMD_FSTAB="+fstab)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s%v: %s", line, err, out)
		}
		units, err := filepath.Glob(filepath.Join(dir, "*.*mount"))
		if auto := strings.Contains(line, "x-systemd.automount"); err != nil || len(units) == 0 || auto != (len(units) == 2) {
			t.Errorf("%sgives %q, %v", line, units, err)
			continue
		}
		cmd = exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, units...)...)
		cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%ssystemd-analyze verify: %v: %s", line, err, out)
		}
	}
}

// Every command has examples of itself, with flags that it has.
func TestEveryCommandHasExamplesThatItTakes(t *testing.T) {
	app := newApp(nil, nil)
	var walk func(above string, commands []*cli.Command)
	walk = func(above string, commands []*cli.Command) {
		for _, c := range commands {
			if c.Hidden || c.Name == "help" {
				continue
			}
			_, text, _ := strings.Cut(c.Description, "Examples:\n")
			if !strings.HasPrefix(text, "  trainfs "+above+c.Name) {
				t.Errorf("%s%s has no example", above, c.Name)
			}
			for line := range strings.Lines(text) {
				checkExample(t, app, strings.TrimSpace(line))
			}
			walk(above+c.Name+" ", c.Subcommands)
		}
	}
	walk("", app.Commands)
}

// checkExample fails unless a command line names a command and flags that there are.
func checkExample(t *testing.T, app *cli.App, line string) {
	t.Helper()
	words, ok := strings.CutPrefix(line, "trainfs ")
	if !ok {
		return // another program's, in front of ours
	}
	words, _, _ = strings.Cut(words, " | ")
	words, _, _ = strings.Cut(words, "  #")
	var c *cli.Command
	commands := app.Commands
	for _, word := range strings.Fields(words) {
		if flag := strings.TrimLeft(word, "-"); strings.HasPrefix(word, "-") {
			if c == nil || !slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) }) {
				t.Errorf("%s: there is no %s", line, word)
			}
			continue
		}
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == word })
		if i >= 0 {
			c, commands = commands[i], commands[i].Subcommands
		} else if c == nil {
			t.Errorf("%s: there is no %s", line, word)
			return
		}
	}
}
