package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What a program opens is inherited by its children until their exec, which closes it: no
// sign that the program has finished the file.

// P6, P4.
func TestChildsExecDoesNotPublishHalfATracker(t *testing.T) {
	eachStore(t, func(t *testing.T, s *store) {
		m := s.mount(t)
		write(t, m.path("latest"), "global_step1")
		m.wait()
		f, err := os.OpenFile(m.path("latest"), os.O_WRONLY|os.O_TRUNC, 0)
		must(t, err)
		must(t, exec.Command("true").Run())
		_, err = f.WriteString("global_")
		must(t, err)
		must(t, exec.Command("true").Run())
		write(t, m.path("notes.txt"), "later") // a tracker's version would go up at once, before this
		m.wait("notes.txt")
		content, _ := s.get("latest")
		want(t, "while it is being written", content, "global_step1")
		_, err = f.WriteString("step2")
		must(t, err)
		must(t, f.Close())
		m.wait()
		content, _ = s.get("latest")
		want(t, "once it is closed", content, "global_step2")
	})
}

// P6.
func TestChildsExecBeforeAKillDoesNotFinishACheckpoint(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	m := s.mount(t)
	half := filepath.Join(mkdir(t, m.path("checkpoint_000001")), "model.pt")
	f, err := os.Create(half)
	must(t, err)
	_, err = f.WriteString("half")
	must(t, err)
	d := m.daemon()
	must(t, exec.Command("true").Run())
	d.signal(9)
	d.wait()
	f.Close()
	m.start()
	eventually(t, "it is torn", func() bool { return m.state("checkpoint_000001") == "torn" })
	s.wantKeys()
}

// P5: a child may be the one that finishes what it has inherited.
func TestChildMayFinishATrackerThatItHasInherited(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	m := s.mount(t)
	f, err := os.Create(m.path("latest"))
	must(t, err)
	child := exec.Command("sh", "-c", "read go; printf global_step7")
	child.Stdout = f
	in, err := child.StdinPipe()
	must(t, err)
	must(t, child.Start())
	must(t, f.Close())
	must(t, in.Close())
	_ = child.Wait()
	m.wait()
	content, _ := s.get("latest")
	want(t, "what it has written", content, "global_step7")
}
