package main

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSIGUSR2GoesToDebugAndBack(t *testing.T) {
	l := newLogLevel("warn", false)
	changed := make(chan string, 1)
	stop := l.toggleOnSignal(slog.New(slog.NewTextHandler(lineWriter(changed), &slog.HandlerOptions{Level: l})))
	defer stop()
	for _, want := range []string{"debug", "warn", "debug"} {
		if err := unix.Kill(os.Getpid(), unix.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		if line := <-changed; !strings.Contains(line, "level="+want+"\n") || l.name() != want {
			t.Errorf("level %s, log line %q, want %s", l.name(), line, want)
		}
	}
}

// lineWriter passes on each line that is logged.
type lineWriter chan string

func (w lineWriter) Write(line []byte) (int, error) { w <- string(line); return len(line), nil }

func TestLogLevelChangesWhileTheMountRuns(t *testing.T) {
	var out bytes.Buffer
	r := startRig(t, func(r *rig) {
		close(r.engine.committed)
		r.s.log = newLogger(&out, r.s.level, "text")
	})
	for _, c := range []struct{ set, holds string }{{"", "info"}, {"debug", "debug"}, {"", "debug"}, {"error", "error"}} {
		if got, err := r.client.logLevel(t.Context(), c.set); err != nil || got != c.holds {
			t.Errorf("set %q: %q, %v; want %q", c.set, got, err, c.holds)
		}
	}
	if _, err := r.client.logLevel(t.Context(), "loud"); err == nil || !strings.Contains(err.Error(), "debug or info or warn or error") {
		t.Errorf("level loud: %v", err)
	}
	r.s.log.Warn("not this")
	r.s.log.Error("but this")
	r.stop()
	r.end(t)
	if text := out.String(); strings.Contains(text, "not this") || !strings.Contains(text, "but this") {
		t.Errorf("%s", text)
	}
}
