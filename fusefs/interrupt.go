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
	for elsewhere := 0; elsewhere < 3; {
		switch look(r.Pid) {
		case ends:
			close(r.done)
			return
		case waits:
			elsewhere = 0
		case busy:
			elsewhere++
		}
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

// state is what the thread of an interrupted request does.
type state int

const (
	waits state = iota // for its answer
	ends               // a signal is to end what it does, or nobody can see it
	busy               // it runs or waits for something else, at least just now
)

// look tells what a thread does. One that was interrupted in a request sleeps where only
// SIGKILL wakes it, whatever has become of the signal: one that was sent to the process,
// as SIGCHLD is, may have been taken by another thread. A thread that cannot be seen, as it
// runs outside of our process namespace, is believed to mean it.
func look(tid uint32) state {
	if tid == 0 {
		return ends
	}
	status, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(tid), 10) + "/status")
	if err != nil {
		return ends
	}
	asleep := false
	var own, shared, blocked uint64
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		if string(name) == "State" {
			asleep = bytes.HasPrefix(value, []byte("D"))
			continue
		}
		mask, err := strconv.ParseUint(string(value), 16, 64)
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
	switch {
	case pending&stopSignals != 0:
		return ends
	case pending != 0, asleep:
		return waits
	}
	return busy
}
