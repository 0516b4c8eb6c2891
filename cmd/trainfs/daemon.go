package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	daemonFlag = "daemon" // hidden flag of mount: this process is the daemon's
	reportFD   = 3        // where the daemon reports to the process that started it

	reportBytes = 64 << 10
	tailBytes   = 8 << 10
	killGrace   = 10 * time.Second
)

// report is the one thing that a daemon says to the process that started it.
type report struct {
	Error    string   `json:"error,omitempty"` // "" is ready
	Code     int      `json:"code,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// startDaemon runs this program again as a daemon, and returns once its mount answers, or
// with the reason why it does not. A daemon that failed has ended when startDaemon returns.
func startDaemon(ctx context.Context, args []string, timeout time.Duration) (warnings []string, err error) {
	reports, reportTo, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reports.Close()
	stderr, stderrTo, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, reportTo.Close())
	}
	// A daemon that kept a descriptor of its caller open, say the end of a pipe that a shell
	// forgot, would keep somebody waiting for ever. Before Linux 5.11 this cannot be asked for.
	_ = unix.CloseRange(reportFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	cmd := daemonCommand(args, reportTo, stderrTo)
	err = cmd.Start()
	err = errors.Join(err, reportTo.Close(), stderrTo.Close())
	if err != nil {
		return nil, fmt.Errorf("start the daemon: %w", errors.Join(err, stderr.Close()))
	}
	tail := newTail(stderr)
	defer tail.close()

	r, err := awaitReport(ctx, reports, timeout)
	if err == nil && r.Error == "" {
		return r.Warnings, cmd.Process.Release()
	}
	endDaemon(cmd)
	switch {
	case err == nil:
		return r.Warnings, &codedError{r.Code, errors.New(r.Error + tail.close())}
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("the daemon died while mounting (%v)%s", cmd.ProcessState, tail.close())
	}
	return nil, err
}

// daemonCommand describes the daemon: this same program, in a session of its own, with
// nothing of the terminal and no directory held busy.
func daemonCommand(args []string, reportTo, stderr *os.File) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "trainfs"
	cmd.Dir = "/"
	cmd.Stderr = stderr
	cmd.ExtraFiles = []*os.File{reportTo} // becomes reportFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// awaitReport reads the daemon's report, for at most timeout.
func awaitReport(ctx context.Context, from *os.File, timeout time.Duration) (r report, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { from.SetReadDeadline(time.Now()) })
	defer stop()
	switch err := json.NewDecoder(io.LimitReader(from, reportBytes)).Decode(&r); {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return r, fmt.Errorf("the mount did not answer within mount_timeout=%s; its log may say why", timeout)
	case ctx.Err() != nil:
		return r, fmt.Errorf("interrupted while mounting: %w", ctx.Err())
	case errors.Is(err, io.ErrUnexpectedEOF):
		return r, io.EOF
	default:
		return r, err
	}
}

// endDaemon stops a daemon that has not become ready, and waits for it.
func endDaemon(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(unix.SIGTERM) // it may have ended by itself
	kill := time.AfterFunc(killGrace, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait() // how it ended is in cmd.ProcessState
}

// tail keeps the last lines that the daemon wrote to stderr before it had a log.
type tail struct {
	from *os.File
	done sync.WaitGroup
	text []byte
	once sync.Once
}

func newTail(from *os.File) *tail {
	t := &tail{from: from}
	t.done.Go(func() {
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			t.text = append(t.text, buf[:n]...)
			t.text = t.text[max(len(t.text)-tailBytes, 0):]
			if err != nil {
				return
			}
		}
	})
	return t
}

// close ends the reading and gives what was read.
func (t *tail) close() string {
	t.once.Do(func() {
		t.from.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // what is already in the pipe
		t.done.Wait()
		t.from.Close()
	})
	text := strings.TrimSpace(string(bytes.ToValidUTF8(t.text, []byte("?"))))
	if text == "" {
		return ""
	}
	return "\n" + text
}

// reporter is the daemon's end of the pipe.
type reporter struct{ to *os.File }

// newReporter takes the pipe over; no process that the daemon starts shall hold it open.
func newReporter() *reporter {
	unix.CloseOnExec(reportFD)
	return &reporter{os.NewFile(reportFD, "report")}
}

// sent tells that the report is out.
func (r *reporter) sent() bool { return r.to == nil }

// send reports, the first time that it is called; err nil says that the mount is ready.
func (r *reporter) send(err error, warnings []string) error {
	if r.sent() {
		return nil
	}
	to := r.to
	r.to = nil
	rep := report{Warnings: warnings}
	if err != nil {
		rep.Error, rep.Code = err.Error(), exitCode(err)
	}
	return errors.Join(json.NewEncoder(to).Encode(rep), to.Close())
}
