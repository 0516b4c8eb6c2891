package fusefs

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// request is the context of one request.
//
// The kernel sends an INTERRUPT for any signal, and EINTR then reaches programs that
// do not expect it: os.path.exists, asked while a child exits, would say that a
// checkpoint is not there. As on NFS, only a signal that is to end what the program
// does cancels; with others the work goes on, and the program handles them when it
// has its answer. The kernel sends one INTERRUPT a request, so that after an ignored
// one the program's signals have to be watched.
type request struct {
	*fuse.Context

	start    sync.Once
	done     chan struct{} // made and closed by watch, which most requests never need
	finished chan struct{}
	exited   chan struct{}

	given    sync.Once
	unwanted chan struct{} // closed by giveUp; nil if nobody can
}

// patient makes ctx, which go-fuse cancels at an INTERRUPT, wait for a good reason. The
// caller ends it before the request is answered.
func patient(ctx context.Context) (context.Context, func()) {
	c, ok := ctx.(*fuse.Context)
	if !ok {
		return ctx, func() {}
	}
	r := &request{Context: c}
	return r, r.end
}

func (r *request) Done() <-chan struct{} {
	r.start.Do(func() {
		r.done, r.finished, r.exited = make(chan struct{}), make(chan struct{}), make(chan struct{})
		go r.watch()
	})
	return r.done
}

// giveUp cancels the request for another reason than a signal.
func (r *request) giveUp() { r.given.Do(func() { close(r.unwanted) }) }

func (r *request) Err() error {
	select {
	case <-r.unwanted:
		return context.Canceled
	default:
	}
	if r.Context.Err() == nil {
		return nil
	}
	select {
	case <-r.Done():
		return context.Canceled
	default:
		return nil
	}
}

func (r *request) end() {
	watched := true
	r.start.Do(func() { watched = false })
	if watched {
		close(r.finished)
		<-r.exited
	}
}

func (r *request) watch() {
	defer close(r.exited)
	select {
	case <-r.finished:
		return
	case <-r.unwanted:
		close(r.done)
		return
	case <-r.Context.Done():
	}
	tick := time.NewTicker(signalPoll)
	defer tick.Stop()
	for mayWait(r.Pid) {
		select {
		case <-r.finished:
			return
		case <-r.unwanted:
			close(r.done)
			return
		case <-tick.C:
		}
	}
	close(r.done)
}

const (
	signalPoll = 50 * time.Millisecond

	// stopSignals end what a program does: the kernel turns every signal that kills into
	// SIGKILL, and who presses Ctrl-C at a program that catches it wants its prompt back.
	// Not a SIGTERM that is caught: it is a scheduler's call to save a checkpoint.
	stopSignals = 1<<(syscall.SIGKILL-1) | 1<<(syscall.SIGINT-1) | 1<<(syscall.SIGQUIT-1)
)

// mayWait tells that the thread has signals pending, and none that is to stop it. One
// without any is not waiting for us (any more), or the mount has gone; one that cannot be
// seen, as it runs outside of our process namespace, is believed to mean it.
func mayWait(tid uint32) bool {
	if tid == 0 {
		return false
	}
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(tid), 10) + "/status")
	if err != nil {
		return false
	}
	var own, shared, blocked uint64
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
		if err != nil {
			continue
		}
		switch string(name) {
		case "SigPnd":
			own = mask
		case "ShdPnd":
			shared = mask
		case "SigBlk":
			blocked = mask
		}
	}
	pending := (own | shared) &^ blocked
	return pending != 0 && pending&stopSignals == 0
}
