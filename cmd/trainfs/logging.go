package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// earlyBytes bounds what is remembered of the log before its file is known.
const earlyBytes = 64 << 10

// logSink is where log lines go: first to stderr, remembered; once the log file is known
// into that, beginning with what was remembered. The file is opened anew on SIGHUP, for
// log rotation.
type logSink struct {
	mu struct {
		sync.Mutex
		stderr io.Writer
		early  []byte // nil once nobody will ask for it
		path   string
		file   *os.File
	}
}

func newLogSink(stderr io.Writer) *logSink {
	s := &logSink{}
	s.mu.stderr = stderr
	s.mu.early = make([]byte, 0, 1024)
	return s
}

// Write takes one log line.
func (s *logSink) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.file != nil {
		return s.mu.file.Write(line)
	}
	if s.mu.early != nil && len(s.mu.early)+len(line) <= earlyBytes {
		s.mu.early = append(s.mu.early, line...)
	}
	return s.mu.stderr.Write(line)
}

// openFile sends the log to path from now on.
func (s *logSink) openFile(path string) error {
	f, err := openLog(path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.mu.file
	s.mu.file, s.mu.path = f, path
	if len(s.mu.early) > 0 {
		_, err = f.Write(s.mu.early)
	}
	s.mu.early = nil
	if old != nil {
		err = errors.Join(err, old.Close())
	}
	return err
}

// reopen follows a rotation: the file at the same path, which may be another by now. If
// it cannot be opened, the log stays where it is.
func (s *logSink) reopen() error {
	s.mu.Lock()
	path := s.mu.path
	s.mu.Unlock()
	if path == "" {
		return nil
	}
	return s.openFile(path)
}

// takeStderr makes the process's stderr the log file, so that a crash's last words end up
// there. Only a daemon does this: nobody reads its stderr.
func (s *logSink) takeStderr() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.file == nil {
		return nil
	}
	return unix.Dup3(int(s.mu.file.Fd()), int(os.Stderr.Fd()), 0)
}

func (s *logSink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.file == nil {
		return nil
	}
	f := s.mu.file
	s.mu.file, s.mu.path = nil, ""
	return f.Close()
}

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOCTTY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log file (choose another with log_file=): %w", err)
	}
	return f, nil
}

// newLogger gives a logger in the format that log_format asks for.
func newLogger(w io.Writer, level slog.Leveler, format string) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
