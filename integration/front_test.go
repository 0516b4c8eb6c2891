package integration

import (
	"bytes"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// front stands before a faulty network, passes bytes and breaks on as they come, and counts
// what a client asks: also what no server ever sees.
type front struct {
	url    string
	server string

	mu       sync.Mutex
	hole     bool // what comes is swallowed, on connections that were open in it for ever
	fates    map[*fate]bool
	requests []time.Time
	dials    []time.Time
}

func newFront(t *testing.T, server string) *front {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f := &front{url: "http://" + l.Addr().String(), server: strings.TrimPrefix(server, "http://"), fates: map[*fate]bool{}}
	open := &openConns{list: map[net.Conn]bool{}}
	var loops sync.WaitGroup
	loops.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if open.add(c) {
				loops.Go(func() { f.pass(c, open) })
			}
		}
	})
	t.Cleanup(func() { l.Close(); open.closeAll(); loops.Wait() })
	return f
}

// fate is that of one connection.
type fate struct{ dead atomic.Bool }

// swallow is a firewall that forgets connections: what is sent on those that are open, or are
// opened before end, goes nowhere, in either direction, and nobody is told, also later.
func (f *front) swallow() (end func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hole = true
	for c := range f.fates {
		c.dead.Store(true)
	}
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hole = false
	}
}

func (f *front) begin() *fate {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := &fate{}
	c.dead.Store(f.hole)
	f.fates[c] = true
	return c
}

func (f *front) end(c *fate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.fates, c)
}

// pass is the life of one connection.
func (f *front) pass(client net.Conn, open *openConns) {
	defer open.close(client)
	f.note(&f.dials)
	fate := f.begin()
	defer f.end(fate)
	server, err := net.Dial("tcp", f.server)
	if err != nil || !open.add(server) {
		abort(client)
		return
	}
	defer open.close(server)
	var both sync.WaitGroup
	both.Go(func() { f.copy(server, client, fate, f.look) })
	both.Go(func() { f.copy(client, server, fate, func([]byte) {}) })
	both.Wait()
}

// copy passes bytes on, and then how they ended: a reset as a reset.
func (f *front) copy(to, from net.Conn, fate *fate, look func([]byte)) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			look(buf[:n])
		}
		if n > 0 && !fate.dead.Load() {
			if _, werr := to.Write(buf[:n]); werr != nil {
				abort(from)
				abort(to)
				return
			}
		}
		if err != nil {
			if errors.Is(err, syscall.ECONNRESET) {
				abort(to)
			}
			_ = from.Close()
			_ = to.Close()
			return
		}
	}
}

func abort(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

var methods = [][]byte{[]byte("GET /"), []byte("PUT /"), []byte("HEAD /"), []byte("POST /"), []byte("DELETE /")}

// look counts the heads of requests. Go's client sends each with the first bytes of a piece.
func (f *front) look(b []byte) {
	for _, m := range methods {
		if bytes.HasPrefix(b, m) {
			f.note(&f.requests)
		}
	}
}

func (f *front) note(list *[]time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*list = append(*list, time.Now())
}

// rate is how many requests or vain dials came in a span, and most of them in any stretch of it.
func (f *front) rate(from, to time.Time, stretch time.Duration) (n, most int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := map[int]int{}
	for _, list := range [][]time.Time{f.requests, f.dials} {
		for _, at := range list {
			if at.Before(from) || at.After(to) {
				continue
			}
			n++
			i := int(at.Sub(from) / stretch)
			counts[i]++
			most = max(most, counts[i])
		}
	}
	return n, most
}

// openConns are to be closed at the end.
type openConns struct {
	mu     sync.Mutex
	closed bool
	list   map[net.Conn]bool
}

func (o *openConns) add(c net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		c.Close()
		return false
	}
	o.list[c] = true
	return true
}

func (o *openConns) close(c net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.Close()
	delete(o.list, c)
}

func (o *openConns) closeAll() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for c := range o.list {
		c.Close()
	}
}
