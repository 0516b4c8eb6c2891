package killpoint

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A step that nobody crosses is one that no crash test kills at.
func TestEveryStepIsCrossedSomewhere(t *testing.T) {
	out, err := exec.Command("grep", "-rhoE", `killpoint\.(At\(killpoint\.)?[A-Z]\w+`, "--include=*.go", "..", "../../uploader").Output()
	if err != nil {
		t.Fatal(err)
	}
	decl, err := exec.Command("grep", "-hE", `^\s\w+\s+Step = "`, "steps.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(\w+)\s+Step = "`).FindAllStringSubmatch(string(decl), -1)
	if len(names) != len(Steps) {
		t.Errorf("%d steps are declared, Steps has %d", len(names), len(Steps))
	}
	for _, n := range names {
		if !strings.Contains(string(out)+"\n", "killpoint."+n[1]+"\n") {
			t.Errorf("no code crosses %s", n[1])
		}
	}
}

func TestProgramsThatPeopleGetCannotBeToldToDieNorWhenTheyWereBooted(t *testing.T) {
	program := filepath.Join(t.TempDir(), "trainfs")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/trainfs").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{Env, BootEnv} {
		if err := exec.Command("grep", "-q", name, program).Run(); err == nil {
			t.Errorf("the program knows %s", name)
		}
	}
}
