package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// daemonProcess is a handle on the process behind a control socket, to wait for its end.
type daemonProcess struct{ fd int }

// process opens a handle on the daemon. It must be closed.
func (c *controlClient) process(ctx context.Context) (*daemonProcess, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || credErr != nil {
		return nil, errors.Join(err, credErr)
	}
	if cred.Pid <= 0 {
		return nil, errors.New("the daemon runs in another pid namespace")
	}
	fd, err := unix.PidfdOpen(int(cred.Pid), 0)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	return &daemonProcess{fd}, nil
}

func (p *daemonProcess) Close() error { return unix.Close(p.fd) }

// wait returns once the process has ended, or ctx.
func (p *daemonProcess) wait(ctx context.Context) error {
	for {
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int((100 * time.Millisecond).Milliseconds()))
		switch {
		case err != nil && err != unix.EINTR:
			return os.NewSyscallError("poll", err)
		case n > 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// wrapf adds context to an error, if there is one.
func wrapf(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}

// unwrapURL drops net/http's mention of a URL that means nothing to the user.
func unwrapURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
