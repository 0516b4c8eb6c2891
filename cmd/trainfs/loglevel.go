package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// logLevel is the least level that is logged, which may change while the mount runs.
type logLevel struct {
	slog.LevelVar
	mounted slog.Level // what the mount was asked for
}

// newLogLevel reads log_level, which the option table has checked.
func newLogLevel(name string, debug bool) *logLevel {
	l := &logLevel{}
	if debug {
		name = "debug"
	}
	if err := l.mounted.UnmarshalText([]byte(name)); err != nil {
		l.mounted = slog.LevelInfo
	}
	l.Set(l.mounted)
	return l
}

// name is the level as log_level= takes it.
func (l *logLevel) name() string { return strings.ToLower(l.Level().String()) }

// toggle goes to debug, and from there back to what the mount was asked for.
func (l *logLevel) toggle() {
	if l.Level() == slog.LevelDebug && l.mounted != slog.LevelDebug {
		l.Set(l.mounted)
	} else {
		l.Set(slog.LevelDebug)
	}
}

// toggleOnSignal does so at every SIGUSR2, until the returned function is called.
func (l *logLevel) toggleOnSignal(log *slog.Logger) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGUSR2)
	var loop sync.WaitGroup
	loop.Go(func() {
		for range signals {
			l.toggle()
			log.Log(context.Background(), l.Level(), "log level changed by SIGUSR2", "level", l.name())
		}
	})
	return func() {
		signal.Stop(signals)
		close(signals)
		loop.Wait()
	}
}

// logLevelMessage is the control socket's question and answer.
type logLevelMessage struct {
	Level string `json:"level"`
}

// SetLogLevel changes the level, unless name is empty, and gives the one that holds.
func (s *session) SetLogLevel(name string) (string, error) {
	if name == "" {
		return s.level.name(), nil
	}
	var level slog.Level
	if o := optionNamed("log_level"); o.set(&Config{}, name) != nil || level.UnmarshalText([]byte(name)) != nil {
		return "", fmt.Errorf("log level %q: it must be %s", printable(name), o.syntax())
	}
	s.level.Set(level)
	s.log.Log(context.Background(), level, "log level changed", "level", name)
	return s.level.name(), nil
}

func (s *controlServer) logLevel(w http.ResponseWriter, r *http.Request) {
	var m logLevelMessage
	if err := readRequest(w, r, &m); err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	level, err := s.target.SetLogLevel(m.Level)
	if err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	s.answer(w, logLevelMessage{level})
}

// logLevel changes the daemon's log level, unless level is empty, and gives the one that holds.
func (c *controlClient) logLevel(ctx context.Context, level string) (string, error) {
	var m logLevelMessage
	err := c.ask(ctx, http.MethodPost, "/log-level", logLevelMessage{level}, &m)
	return m.Level, err
}

func logLevelCommand() *cli.Command {
	return &cli.Command{
		Name:      "log-level",
		Usage:     "show or change the log level of a running mount",
		ArgsUsage: "MOUNTPOINT [debug|info|warn|error]",
		Description: `Holds until the mount ends. SIGUSR2 to the daemon does the same: to debug, and back.

` + examples("trainfs log-level /mnt/train", "trainfs log-level /mnt/train debug"),
		Category:     categoryProgram,
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			if n := c.Args().Len(); n < 1 || n > 2 {
				return usagef("wanted a mount point, and perhaps a level: trainfs log-level MOUNTPOINT [debug|info|warn|error]")
			}
			m, err := findMountPoint(c.Args().Get(0))
			if err != nil {
				return err
			}
			dir, err := m.cacheDir()
			if err != nil {
				return err
			}
			ctx, stop := interruptible(c)
			defer stop()
			level, err := newControlClient(dir).logLevel(ctx, c.Args().Get(1))
			if err == nil {
				_, err = fmt.Fprintln(c.App.Writer, level)
			}
			return err
		},
	}
}
