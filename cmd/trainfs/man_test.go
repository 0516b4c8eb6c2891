package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// output runs the program and gives what it prints.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := newApp(&out, &out).Run(append([]string{"trainfs"}, args...)); err != nil {
		t.Fatalf("trainfs %s: %v", strings.Join(args, " "), err)
	}
	return out.String()
}

func TestManualPagesNameEveryCommandFlagAndOption(t *testing.T) {
	page := output(t, "man")
	var walk func(above string, commands []*cli.Command)
	walk = func(above string, commands []*cli.Command) {
		for _, c := range commands {
			if c.Hidden || c.Name == "help" {
				continue
			}
			if !strings.Contains(page, ".SS trainfs "+roffEscape(above+c.Name)) {
				t.Errorf("trainfs(8) does not have the command %s%s", above, c.Name)
			}
			for line := range strings.Lines(c.Description) { // with its examples
				if line = strings.TrimSpace(line); !strings.Contains(page, roffEscape(line)) {
					t.Errorf("trainfs(8) does not say of %s: %s", c.Name, line)
				}
			}
			for _, f := range ownFlags(c) {
				name, usage := flagText(f)
				if entry := ".B " + roffEscape(name) + "\n" + roffEscape(usage); !strings.Contains(page, entry) {
					t.Errorf("trainfs(8) does not have %s of %s", name, c.Name)
				}
			}
			walk(above+c.Name+" ", c.Subcommands)
		}
	}
	walk("", newApp(nil, nil).Commands)

	options := output(t, "man", "mount.trainfs")
	for line := range strings.Lines(helperSynopsis + "\n" + helperText) {
		if line = strings.TrimSpace(line); !strings.Contains(options, roffEscape(line)) || !strings.Contains(helperHelp(), line) {
			t.Errorf("mount.trainfs(8) and its --help do not both say: %s", line)
		}
	}
	for i := range optionTable {
		if !strings.Contains(options, "\n.B "+roffEscape(optionTable[i].name)+"=") {
			t.Errorf("mount.trainfs(8) does not have the option %s", optionTable[i].name)
		}
	}
}

func TestManualPagesAreCleanRoff(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Skip("no groff: install groff-base (scripts/setup does)")
	}
	for page := range manPages {
		cmd := exec.Command(groff, "-man", "-ww", "-Tutf8", "-rLL=100n")
		cmd.Stdin = strings.NewReader(output(t, "man", page))
		var shown, complaints bytes.Buffer
		cmd.Stdout, cmd.Stderr = &shown, &complaints
		if err := cmd.Run(); err != nil || complaints.Len() > 0 || shown.Len() == 0 {
			t.Errorf("groff on %s(8): %v\n%s", page, err, complaints.String())
		}
	}
}

func TestUnknownManualPageOrShellIsRefused(t *testing.T) {
	for _, args := range [][]string{{"man", "ls"}, {"man", "trainfs", "mount.trainfs"}, {"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}} {
		if err := newApp(&bytes.Buffer{}, &bytes.Buffer{}).Run(append([]string{"trainfs"}, args...)); exitCode(err) != exitUsage {
			t.Errorf("trainfs %v: %v, want a usage error", args, err)
		}
	}
}

// bashCompletes types words into bash, the last one unfinished, and gives what it proposes.
func bashCompletes(t *testing.T, words ...string) []string {
	t.Helper()
	const ask = `compopt() { :; }; eval "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _trainfs; printf '%s\n' "${COMPREPLY[@]}"`
	out, err := exec.Command("bash", append([]string{"-c", ask, "bash", output(t, "completion", "bash")}, words...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("bash: %v\n%s", err, out)
	}
	return strings.Fields(string(out))
}

func TestBashCompletesCommandsFlagsAndOptions(t *testing.T) {
	for _, c := range []struct{ typed, wanted string }{
		{"trainfs um", "umount"},
		{"trainfs status --js", "--json"},
		{"trainfs config sh", "show"},
		{"trainfs mount -o cache_d", "cache_dir="},
		{"trainfs mount -o ro,cache_si", "ro,cache_size="},
		{"trainfs wait /etc/hostn", "/etc/hostname"},
	} {
		if got := bashCompletes(t, strings.Fields(c.typed)...); len(got) != 1 || got[0] != c.wanted {
			t.Errorf("%q completes to %q, want %q", c.typed, got, c.wanted)
		}
	}
}

func TestZshAndFishScriptsNameEveryCommand(t *testing.T) {
	for _, shell := range []string{"zsh", "fish"} {
		script := output(t, "completion", shell)
		for _, c := range newApp(nil, nil).VisibleCommands() {
			if !strings.Contains(script, c.Name) {
				t.Errorf("the %s script does not know %s", shell, c.Name)
			}
		}
	}
}
