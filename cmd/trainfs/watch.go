package main

import (
	"log/slog"
	"time"

	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/cmd/trainfs/monitor"
	"github.com/trainfs/trainfs/uploader"
)

// metricsAddress is where metrics= wants to listen; on says whether it does.
func (c *Config) metricsAddress() (a monitor.Address, on bool, err error) {
	if c.Metrics == "" || c.Metrics == "off" {
		return a, false, nil
	}
	a, err = monitor.ParseAddress(c.Metrics)
	if err != nil {
		return a, false, usagef("option metrics=%s: %v", printable(c.Metrics), err)
	}
	return a, true, nil
}

// newMetrics gives nil where nobody wants metrics: nothing is counted then.
func newMetrics(c *Config) *monitor.Metrics {
	if _, on, err := c.metricsAddress(); !on || err != nil {
		return nil
	}
	return monitor.NewMetrics(version)
}

// watchedMount is what the metrics tell of.
type watchedMount struct {
	*cache.Cache
	up *uploader.Uploader
}

// Held implements monitor.Source.
func (w watchedMount) Held() monitor.Held {
	n, longest := w.up.Held()
	return monitor.Held{Trackers: n, Longest: longest}
}

// openMonitor listens, and returns nil without metrics=.
func openMonitor(c *Config, m *monitor.Metrics, up *uploader.Uploader, cached *cache.Cache, status func() mountStatus, log *slog.Logger) (*monitor.Server, error) {
	address, on, err := c.metricsAddress()
	if !on || err != nil {
		return nil, err
	}
	if !address.Local() {
		log.Warn("metrics and status page are open to other machines, without a password", "at", address.String())
	}
	page := func() monitor.Page {
		st := status()
		p := monitor.NewPage(st.Status, cached.Checkpoints(), cached.Gauges(), time.Now())
		p.ReadOnly = st.ReadOnly
		return p
	}
	m.Watch(watchedMount{cached, up})
	return monitor.Listen(address, m, page, log)
}

// stopWatching closes the monitor, if there is one.
func (s *session) stopWatching() error {
	if s.watched == nil {
		return nil
	}
	return s.watched.Close()
}
