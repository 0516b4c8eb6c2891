package integration

import (
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/toxiproxy"
)

// faultyNetwork puts toxiproxy before everything else that a mount of s goes through.
func (s *store) faultyNetwork(t *testing.T) *toxiproxy.Proxy {
	t.Helper()
	p := toxiproxy.Start(t, strings.TrimPrefix(s.proxy.url, "http://"))
	s.source = strings.Replace(s.source, s.proxy.url, p.Endpoint, 1)
	return p
}

// networkFault is one way in which a network or a store fails.
type networkFault struct {
	kind  string
	least time.Duration // that it lasts
	most  time.Duration
	start func(s *store, p *toxiproxy.Proxy) (end func())
}

// toxic is a fault that toxiproxy can make by itself.
func toxic(kind string, least, most time.Duration, toxics ...toxicSpec) networkFault {
	return networkFault{kind, least, most, func(_ *store, p *toxiproxy.Proxy) func() {
		var ends []func()
		for _, t := range toxics {
			ends = append(ends, p.Add(t.kind, t.stream, t.attributes))
		}
		return func() {
			for _, end := range ends {
				end()
			}
		}
	}}
}

type toxicSpec struct {
	kind, stream string
	attributes   map[string]int
}

// answers is a store that fails some requests, one in four, with a status.
func answers(status int, least, most time.Duration) networkFault {
	return networkFault{http.StatusText(status), least, most, func(s *store, _ *toxiproxy.Proxy) func() {
		s.proxy.failIf(func(request) int {
			if rand.IntN(4) == 0 {
				return status
			}
			return 0
		})
		return func() { s.proxy.failIf(nil) }
	}}
}

// networkFaults are those that mounts live with for hours. A store that refuses (403) is not among
// them: a program that needs its word is refused too (gap G16).
var networkFaults = []networkFault{
	toxic("latency and jitter", 5*time.Second, 20*time.Second,
		toxicSpec{"latency", toxiproxy.Down, map[string]int{"latency": 400, "jitter": 400}}),
	toxic("bandwidth", 5*time.Second, 20*time.Second,
		toxicSpec{"bandwidth", toxiproxy.Up, map[string]int{"rate": 300}},
		toxicSpec{"bandwidth", toxiproxy.Down, map[string]int{"rate": 300}}),
	toxic("slicer", 5*time.Second, 20*time.Second,
		toxicSpec{"slicer", toxiproxy.Up, map[string]int{"average_size": 3000, "size_variation": 1500, "delay": 300}}),
	toxic("reset", 2*time.Second, 8*time.Second,
		toxicSpec{"reset_peer", toxiproxy.Up, map[string]int{"timeout": 20}}),
	toxic("cut after 200 kB", 3*time.Second, 10*time.Second,
		toxicSpec{"limit_data", toxiproxy.Up, map[string]int{"bytes": 200_000}}),
	toxic("half-open", 5*time.Second, 20*time.Second,
		toxicSpec{"timeout", toxiproxy.Down, map[string]int{"timeout": 0}}),
	toxic("blackhole", 10*time.Second, 40*time.Second,
		toxicSpec{"timeout", toxiproxy.Up, map[string]int{"timeout": 0}},
		toxicSpec{"timeout", toxiproxy.Down, map[string]int{"timeout": 0}}),
	{"refused", 5 * time.Second, 20 * time.Second, func(_ *store, p *toxiproxy.Proxy) func() {
		p.Enable(false)
		return func() { p.Enable(true) }
	}},
	answers(http.StatusInternalServerError, 5*time.Second, 20*time.Second),
	answers(http.StatusServiceUnavailable, 5*time.Second, 20*time.Second),
}
