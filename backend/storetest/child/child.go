// Package child runs servers for tests as child processes that do not outlive the test,
// and builds their programs.
//
// child imports nothing of trainfs.
package child

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what to run.
type Spec struct {
	Name    string // for messages
	Program string
	Args    []string
	Env     []string // beside the test's own
	Dir     string
	// Ready tells that the server answers.
	Ready func() bool
	// Patience is how long it may take to be ready; 30 s.
	Patience time.Duration
}

// Process is a running server.
type Process struct {
	spec    Spec
	t       testing.TB
	log     string
	process *os.Process
	exited  chan struct{}
}

// Start runs a server until the test ends, and waits until it is ready.
func Start(t testing.TB, spec Spec) *Process {
	t.Helper()
	if spec.Patience == 0 {
		spec.Patience = 30 * time.Second
	}
	p := &Process{spec: spec, t: t, log: filepath.Join(t.TempDir(), "log")}
	t.Cleanup(p.Stop)
	p.Restart()
	return p
}

// Stop kills the server, as a power cut would. It may be called more than once.
func (p *Process) Stop() {
	if p.process == nil {
		return
	}
	unix.Kill(-p.process.Pid, unix.SIGKILL) // its children too
	<-p.exited
	p.process = nil
}

// Pause lets the server do nothing until Resume, as a machine that hangs: its connections
// stay, and the kernel takes what comes.
func (p *Process) Pause() { unix.Kill(-p.process.Pid, unix.SIGSTOP) }

// Resume lets it go on.
func (p *Process) Resume() { unix.Kill(-p.process.Pid, unix.SIGCONT) }

// Restart runs the server again after Stop.
func (p *Process) Restart() {
	p.t.Helper()
	started := make(chan error)
	p.exited = make(chan struct{})
	go func() {
		// The kernel kills the server with the thread that started it, so that none outlives
		// a test that crashed. The thread must live until then.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.exited)
		cmd, err := p.start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		p.t.Fatalf("start %s: %v", p.spec.Name, err)
	}
	for deadline := time.Now().Add(p.spec.Patience); !p.spec.Ready(); {
		select {
		case <-p.exited:
			p.t.Fatalf("%s exited:\n%s", p.spec.Name, p.Output())
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%s does not answer:\n%s", p.spec.Name, p.Output())
		}
	}
}

func (p *Process) start() (*exec.Cmd, error) {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(p.spec.Program, p.spec.Args...)
	cmd.Env = append(os.Environ(), p.spec.Env...)
	cmd.Dir = p.spec.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.process = cmd.Process
	return cmd, nil
}

// Output is what the server has printed.
func (p *Process) Output() string {
	log, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(log)
}
