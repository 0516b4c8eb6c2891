package main

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// playSystemd listens where systemd would, and gives what it is told.
func playSystemd(t *testing.T, watchdog string) (told func() string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	t.Setenv("WATCHDOG_USEC", watchdog)
	return func() string {
		message := make([]byte, 4096)
		n, err := l.Read(message)
		if err != nil {
			t.Fatal(err)
		}
		return string(message[:n])
	}
}

func TestSystemdIsToldReadyAliveAndStopping(t *testing.T) {
	told := playSystemd(t, "30000")
	r := startRig(t, func(r *rig) {
		close(r.engine.committed)
		r.s.service = newService(quietLog())
		r.s.cfg.StopTimeout = 2 * time.Minute
	})
	if m := told(); !strings.Contains(m, "READY=1\nSTATUS=mounted at /mnt/test") {
		t.Errorf("first: %q", m)
	}
	for range 3 {
		if m := told(); m != "WATCHDOG=1" {
			t.Errorf("while it answers: %q", m)
		}
	}
	r.stop()
	m := told()
	for m == "WATCHDOG=1" {
		m = told()
	}
	if !strings.Contains(m, "STOPPING=1") || !strings.Contains(m, "EXTEND_TIMEOUT_USEC=131000000") {
		t.Errorf("at the stop: %q", m)
	}
	r.end(t)
}

func TestWatchdogIsNotFedWhileTheMountDoesNotAnswer(t *testing.T) {
	told := playSystemd(t, "30000")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var asked atomic.Int32
	go newService(quietLog()).watch(ctx, func(context.Context) error {
		if asked.Add(1) < 4 {
			return errTest
		}
		return nil
	})
	if told(); asked.Load() < 4 {
		t.Errorf("fed after %d questions, of which none was answered", asked.Load())
	}
}

func TestWithoutSystemdNothingIsTold(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	s := newService(quietLog())
	s.ready("/mnt")
	s.watch(t.Context(), nil) // returns at once
	(*service)(nil).stopping(time.Second)
}
