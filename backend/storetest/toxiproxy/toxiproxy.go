// Package toxiproxy puts a faulty network before a server for tests: Shopify's toxiproxy, as
// a child process, with one proxy before one server.
//
// toxiproxy imports backend/storetest/child.
package toxiproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/child"
)

const version = "v2.5.0"

// Which way a toxic works.
const (
	Up   = "upstream"   // what clients send
	Down = "downstream" // what the server answers
)

// Proxy stands before a server.
type Proxy struct {
	*child.Process
	Endpoint string // http://127.0.0.1:port, in the server's place

	t       testing.TB
	api     string
	client  *http.Client
	refuses bool
}

// Start puts a proxy before the server at an address (host:port) until the test ends.
func Start(t testing.TB, server string) *Proxy {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatalf("build toxiproxy: %v", err)
	}
	addr := child.FreeAddr(t)
	host, port, _ := net.SplitHostPort(addr)
	p := &Proxy{t: t, api: "http://" + addr, client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	p.Process = child.Start(t, child.Spec{
		Name: "toxiproxy", Program: program, Args: []string{"-host", host, "-port", port},
		Ready: func() bool { return p.ask(http.MethodGet, "/version", nil, nil) == nil },
	})
	var made struct {
		Listen string `json:"listen"`
	}
	p.must(p.ask(http.MethodPost, "/proxies", map[string]any{"name": "store", "listen": "127.0.0.1:0", "upstream": server, "enabled": true}, &made))
	p.Endpoint = "http://" + made.Listen
	return p
}

// Add puts a toxic on every connection, those that are open included. kind and attributes are
// toxiproxy's own: latency, bandwidth, slicer, reset_peer, timeout, …
func (p *Proxy) Add(kind, stream string, attributes map[string]int) (remove func()) {
	p.t.Helper()
	name := kind + "_" + stream
	p.must(p.ask(http.MethodPost, "/proxies/store/toxics", map[string]any{
		"name": name, "type": kind, "stream": stream, "toxicity": 1, "attributes": attributes,
	}, nil))
	return func() { p.must(p.ask(http.MethodDelete, "/proxies/store/toxics/"+name, nil, nil)) }
}

// Enable refuses connections, and breaks those that are open, until it is given true.
func (p *Proxy) Enable(yes bool) {
	p.t.Helper()
	p.must(p.ask(http.MethodPost, "/proxies/store", map[string]any{"enabled": yes, "listen": strings.TrimPrefix(p.Endpoint, "http://")}, nil))
	p.refuses = !yes
}

// Enabled tells that it takes connections.
func (p *Proxy) Enabled() bool { return !p.refuses }

func (p *Proxy) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("toxiproxy: %v", err)
	}
}

func (p *Proxy) ask(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, p.api+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// build gives the path of the proxy's program, and makes it if nobody has yet.
func build() (string, error) {
	dir, err := child.Tool("toxiproxy-"+version, func(dir string) error {
		// What this test run was told is not for that program.
		return child.Run(dir, []string{"GOBIN=" + dir, "GOFLAGS=", "GOWORK=off"},
			"go", "install", "github.com/Shopify/toxiproxy/v2/cmd/server@"+version)
	})
	return filepath.Join(dir, "server"), err
}
