package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// vitals are a daemon's own measures of itself.
type vitals struct {
	rss        int64 // bytes
	goroutines int
	files      int // open descriptors
	cpu        float64
}

func (v vitals) String() string {
	return fmt.Sprintf("%d MiB resident, %d goroutines, %d descriptors", v.rss/mib, v.goroutines, v.files)
}

func (v vitals) most(w vitals) vitals {
	return vitals{max(v.rss, w.rss), max(v.goroutines, w.goroutines), max(v.files, w.files), max(v.cpu, w.cpu)}
}

// vitalsAt asks the daemon whose metrics are at a socket.
func vitalsAt(socket string) (v vitals, err error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) },
	}}
	resp, err := client.Get("http://daemon/metrics")
	if err != nil {
		return v, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return v, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}
		switch name {
		case "process_resident_memory_bytes":
			v.rss = int64(n)
		case "go_goroutines":
			v.goroutines = int(n)
		case "process_open_fds":
			v.files = int(n)
		case "process_cpu_seconds_total":
			v.cpu = n
		}
	}
	if v.rss == 0 || v.goroutines == 0 {
		return v, fmt.Errorf("no measures at %s", socket)
	}
	return v, nil
}
