package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// service tells systemd how a mount in the foreground is doing (Type=notify): once it
// answers, as long as it answers, and how long it may take to stop. Nil, or without the
// environment that systemd gives, it says nothing.
type service struct {
	log      *slog.Logger
	watchdog time.Duration // how often systemd wants to hear; 0: not at all
}

func newService(log *slog.Logger) *service {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog is not answered", "err", err)
	}
	return &service{log: log, watchdog: interval}
}

func (s *service) tell(format string, args ...any) {
	if s == nil {
		return
	}
	if _, err := daemon.SdNotify(false, fmt.Sprintf(format, args...)); err != nil {
		s.log.Warn("cannot tell systemd", "err", err)
	}
}

// ready says that the mount answers.
func (s *service) ready(mountPoint string) {
	s.tell("%s\nSTATUS=mounted at %s", daemon.SdNotifyReady, mountPoint)
}

// stopping says that the rest is uploaded now, and how long that may take.
func (s *service) stopping(atMost time.Duration) {
	s.tell("%s\nSTATUS=uploading the rest\nEXTEND_TIMEOUT_USEC=%d", daemon.SdNotifyStopping, atMost.Microseconds())
}

// watch feeds the watchdog while the mount answers, until ctx ends. A mount that does not
// is restarted by systemd; what it had is in the journal.
func (s *service) watch(ctx context.Context, answers func(context.Context) error) {
	if s == nil || s.watchdog == 0 {
		return
	}
	tick := time.NewTicker(s.watchdog / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		probe, cancel := context.WithTimeout(ctx, s.watchdog/3)
		err := answers(probe)
		cancel()
		switch {
		case err == nil:
			s.tell(daemon.SdNotifyWatchdog)
		case ctx.Err() == nil:
			s.log.Error("the mount does not answer: systemd's watchdog is not fed", "err", err)
		}
	}
}
