package plugin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/trainfs/trainfs/backend"
)

var errClosed = fmt.Errorf("plug-in: %w", os.ErrClosed)

// endTime is what a program gets to end by itself when its input ends.
const endTime = 2 * time.Second

// child is one run of the program.
type child struct {
	o     Options
	cmd   *exec.Cmd
	stdin io.WriteCloser
	turn  chan struct{} // held by who writes a message
	dead  chan struct{} // closed when it has exited

	mu      sync.Mutex
	waiting map[int64]*pending
	last    int64
	why     error  // it is not used any more
	said    string // its last line on standard error
}

// pending is a call that waits for its answer.
type pending struct {
	answer chan *answer // of one
	life   *time.Timer
}

func start(o Options) (*child, error) {
	c := &child{o: o, cmd: exec.Command(o.Program, o.Args...), turn: make(chan struct{}, 1), dead: make(chan struct{}), waiting: map[int64]*pending{}}
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that what it starts ends with it
	stdin, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := c.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	c.stdin = stdin
	if err := c.cmd.Start(); err != nil {
		return nil, backend.OpenError(backend.ErrConfig, err, "the plug-in %s cannot be started", o.Program)
	}
	var readers sync.WaitGroup
	readers.Go(func() { c.log(stderr) })
	readers.Go(func() { c.read(bufio.NewReaderSize(stdout, 64<<10)) })
	go func() {
		readers.Wait()
		err := c.cmd.Wait()
		c.giveUp(fmt.Errorf("it has ended: %s", ended(err)))
		close(c.dead)
	}()
	return c, nil
}

func ended(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// log passes on what the program writes to its standard error.
func (c *child) log(r io.Reader) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		c.mu.Lock()
		c.said = lines.Text()
		c.mu.Unlock()
		c.o.Logger.Warn("plug-in says", "program", filepath.Base(c.o.Program), "line", lines.Text())
	}
	_, _ = io.Copy(io.Discard, r) // after a line that is too long
}

// read hands out answers until the program's output ends or makes no sense.
func (c *child) read(r *bufio.Reader) {
	for {
		a, err := readAnswer(r)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.kill(fmt.Errorf("it breaks the protocol: %w", err))
			}
			_, _ = io.Copy(io.Discard, r)
			return
		}
		c.mu.Lock()
		p := c.waiting[a.ID]
		switch {
		case p == nil: // given up meanwhile
		case a.Working:
			p.life.Reset(c.o.Timeout)
		default:
			delete(c.waiting, a.ID)
			p.answer <- a
		}
		c.mu.Unlock()
	}
}

func (c *child) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why == nil
}

// giveUp lets all that wait go: nobody will answer. The first reason counts.
func (c *child) giveUp(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil {
		c.why = why
		if c.said != "" {
			c.why = fmt.Errorf("%w (its last words: %.200s)", why, c.said)
		}
	}
	for id, p := range c.waiting {
		delete(c.waiting, id)
		close(p.answer)
	}
}

// kill ends the program at once.
func (c *child) kill(why error) {
	c.giveUp(why)
	_ = c.stdin.Close()
	c.shoot()
}

func (c *child) shoot() { _ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL) }

// end ends the program, which does so by itself when its input ends.
func (c *child) end() {
	c.giveUp(errClosed)
	_ = c.stdin.Close()
	select {
	case <-c.dead:
	case <-time.After(endTime):
		c.shoot()
	}
}

// hello agrees on the protocol. It needs no store.
func (c *child) hello(ctx context.Context, loc backend.Location) (backend.Capabilities, error) {
	a, err := c.call(ctx, message{Op: opHello, Version: Version, Path: loc.Prefix, Params: loc.Params}, nil)
	if err != nil {
		return backend.Capabilities{}, err
	}
	var caps backend.Capabilities
	switch {
	case a.Version != Version:
		err = fmt.Errorf("it speaks version %d of the protocol, this is version %d: install the two that belong together", a.Version, Version)
	case a.Capabilities == nil:
		err = errors.New("it says nothing of its capabilities")
	default:
		caps, err = a.Capabilities.check()
	}
	if err != nil {
		return caps, backend.OpenError(backend.ErrConfig, nil, "the plug-in %s cannot be used: %v", c.o.Program, err)
	}
	return caps, nil
}

// call sends a message and waits for its answer, or for ctx.
func (c *child) call(ctx context.Context, m message, body []byte) (*answer, error) {
	p := &pending{answer: make(chan *answer, 1)}
	c.mu.Lock()
	if c.why != nil {
		defer c.mu.Unlock()
		return nil, c.failed()
	}
	c.last++
	m.ID, m.Body = c.last, int64(len(body))
	c.waiting[m.ID] = p
	p.life = time.AfterFunc(c.o.Timeout, func() {
		c.kill(fmt.Errorf("no answer and no sign of life for %v in %s", c.o.Timeout, m.Op))
	})
	c.mu.Unlock()
	defer p.life.Stop()
	go c.send(m, body) // a program that does not read must not hold up whoever may give up
	select {
	case a, ok := <-p.answer:
		if !ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			return nil, c.failed()
		}
		return a, a.failure(m.Op)
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		go c.send(message{Op: opCancel, ID: m.ID}, nil)
		return nil, ctx.Err()
	}
}

// failed says why there is no answer. Callers hold mu.
func (c *child) failed() error {
	return fmt.Errorf("the plug-in %s: %w", filepath.Base(c.o.Program), c.why)
}

// send writes a message whole. If it cannot, the program is gone, which its reader finds.
func (c *child) send(m message, body []byte) {
	line, err := json.Marshal(m)
	if err != nil {
		c.kill(err)
		return
	}
	select {
	case c.turn <- struct{}{}:
	case <-c.dead:
		return
	}
	defer func() { <-c.turn }()
	if _, err = c.stdin.Write(append(line, '\n')); err == nil && len(body) > 0 {
		_, _ = c.stdin.Write(body)
	}
}
