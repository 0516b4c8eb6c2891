package monitor

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

//go:embed page
var assets embed.FS

const (
	pageAge     = time.Second // how old what the page shows may be
	requestTime = 30 * time.Second
	scrapes     = 4 // at a time; more are told to come again
)

// Server answers /metrics, the status page at /, and its data at /status.json.
type Server struct {
	http     *http.Server
	listener net.Listener
	address  Address
	page     memo
}

// Listen binds the address. page tells what the status page shows.
func Listen(a Address, m *Metrics, page func() Page, log *slog.Logger) (*Server, error) {
	l, err := a.listen()
	if err != nil {
		return nil, fmt.Errorf("listen on %s for metrics (choose another with metrics=): %w", a.Text, err)
	}
	if a.Network == "tcp" {
		a.Text = l.Addr().String() // port 0 has become one
	}
	quiet := slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	s := &Server{listener: l, address: a, page: memo{make: page}}
	s.http = &http.Server{
		Handler:           s.guard(s.routes(m, quiet)),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10,
		ErrorLog:       quiet,
	}
	return s, nil
}

// Address is where it listens.
func (s *Server) Address() Address { return s.address }

// Serve answers until Close.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

// Close ends it; answers under way get a moment.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	// Serve may not have been called: then Shutdown knows nothing of the listener.
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (s *Server) routes(m *Metrics, errorLog promhttp.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: scrapes, Timeout: requestTime / 2, ErrorLog: errorLog,
	}))
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(s.page.get()) // whoever asked may have gone
	})
	files, err := fs.Sub(assets, "page")
	if err != nil {
		panic(err) // the directory is embedded
	}
	mux.Handle("GET /", http.FileServerFS(files))
	return mux
}

// guard sets what keeps a browser from doing more with the page than show it, and refuses
// requests that a page of somebody else's makes a browser send to the loopback address.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.address.Network == "tcp" && s.address.Local() && !loopbackHost(r.Host) {
			http.Error(w, "this is not a server for "+strings.ToValidUTF8(r.Host, "?"), http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// loopbackHost tells that a Host header names this machine, or an address: a name may be
// anybody's and lead here.
func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || host == ""
}

// memo keeps what make gave for pageAge.
type memo struct {
	make func() Page

	mu   sync.Mutex
	at   time.Time
	last Page
}

func (m *memo) get() Page {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.IsZero() || time.Since(m.at) >= pageAge {
		m.last = m.make()
		m.at = time.Now()
	}
	return m.last
}
