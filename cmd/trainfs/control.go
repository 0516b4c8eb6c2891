package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/uploader"
)

// controlled is what the control server can ask a running mount for. Paths are relative to
// its root, which is "".
type controlled interface {
	Status() mountStatus
	// Wait returns nil once everything below the paths is committed. progress is called
	// from one goroutine at a time, about every second.
	Wait(ctx context.Context, paths []string, progress func(cache.Progress)) error
	// Commit closes what lies below the paths and has it uploaded now.
	Commit(ctx context.Context, paths []string) error
	// Shutdown unmounts, and says errBusy if files are open. With wait it goes on
	// uploading until all is committed. Then, or when ctx ends, the daemon stops.
	Shutdown(ctx context.Context, wait bool, progress func(cache.Progress)) error

	Cache() cacheAnswer
	// Prefetch returns nil once everything below the paths is local; when ctx ends, so
	// does what is fetched for nobody else.
	Prefetch(ctx context.Context, paths []string, progress func(prefetchProgress)) error
	Evict(ctx context.Context, paths []string) (evictAnswer, error)
	// Verify compares what the store has; report is called from one goroutine at a time.
	Verify(ctx context.Context, paths []string, report func(uploader.VerifyEvent)) (uploader.VerifyResult, error)

	SetLogLevel(name string) (holds string, err error) // "" changes nothing
}

// errBusy is Shutdown's answer while files of the mount are in use.
var errBusy = errors.New("files in the mount are open, or a process has its working directory there")

// The bodies of requests, of lines of progress, and of errors.
type (
	pathsRequest struct {
		Paths []string `json:"paths"`
	}
	shutdownRequest struct {
		Wait bool `json:"wait"`
	}
	prefetchProgress struct {
		Bytes int64 `json:"bytes"` // that have come
		Total int64 `json:"total"` // that were not local at the beginning
		streamEnd
	}
	verifyProgress struct {
		uploader.VerifyEvent
		streamEnd
	}
	evictAnswer struct {
		Freed    int64    `json:"freed_bytes"`
		Kept     []string `json:"kept,omitempty"` // "unit: why"
		MoreKept int      `json:"more_kept,omitempty"`
	}
	// streamEnd says on the last line of a stream how it ended.
	streamEnd struct {
		Done  bool   `json:"done"`
		Error string `json:"error,omitempty"`
	}
	errorAnswer struct {
		Error string `json:"error"`
	}
)

const (
	bodyTimeout = 10 * time.Second // for a client to send its request
	lineTimeout = 30 * time.Second // for a client to read a line of a stream
)

// controlServer answers on the socket in the cache directory.
type controlServer struct {
	http     *http.Server
	listener net.Listener
	target   controlled
	log      *slog.Logger
}

// listenControl binds the socket. The caller holds the cache directory's lock, so a socket
// that is already there is a dead one. ctx ends the requests under way.
func listenControl(ctx context.Context, cacheDir string, target controlled, log *slog.Logger) (*controlServer, error) {
	if err := os.Remove(filepath.Join(cacheDir, controlSocket)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	name, done, err := socketPath(cacheDir)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket in %s: %w", cacheDir, err)
	}
	l.SetUnlinkOnClose(false) // by then the name no longer leads there; Close removes it
	// The cache directory is 0700 already: nobody could connect before this.
	if err := os.Chmod(name, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &controlServer{listener: l, target: target, log: log}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	return s, nil
}

// Serve answers until Close.
func (s *controlServer) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Close waits for the requests under way (whose context the owner has ended, if they are
// not to go on) and removes the socket.
func (s *controlServer) Close(cacheDir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if rm := os.Remove(filepath.Join(cacheDir, controlSocket)); rm != nil && !errors.Is(rm, os.ErrNotExist) {
		err = errors.Join(err, rm)
	}
	return err
}

func (s *controlServer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+controlPrefix+"/status", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, s.target.Status()) })
	mux.HandleFunc("GET "+controlPrefix+"/cache", func(w http.ResponseWriter, _ *http.Request) { s.answer(w, s.target.Cache()) })
	mux.HandleFunc("POST "+controlPrefix+"/commit", s.commit)
	mux.HandleFunc("POST "+controlPrefix+"/wait", s.wait)
	mux.HandleFunc("POST "+controlPrefix+"/shutdown", s.shutdown)
	mux.HandleFunc("POST "+controlPrefix+"/prefetch", s.prefetch)
	mux.HandleFunc("POST "+controlPrefix+"/evict", s.evict)
	mux.HandleFunc("POST "+controlPrefix+"/verify", s.verify)
	mux.HandleFunc("POST "+controlPrefix+"/log-level", s.logLevel)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		answerError(w, http.StatusNotFound, fmt.Errorf(
			"this daemon (trainfs %s) does not know the request %s %q; it speaks %s: use a trainfs command of the same version",
			version, r.Method, printable(r.URL.Path), controlPrefix))
	})
	return mux
}

func (s *controlServer) answer(w http.ResponseWriter, a any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(a); err != nil {
		s.log.Debug("control client went away", "err", err)
	}
}

func (s *controlServer) commit(w http.ResponseWriter, r *http.Request) {
	paths, err := readPaths(w, r)
	if err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	if err := s.target.Commit(r.Context(), paths); err != nil {
		answerError(w, http.StatusInternalServerError, err)
		return
	}
	s.answer(w, struct{}{})
}

func (s *controlServer) evict(w http.ResponseWriter, r *http.Request) {
	paths, err := readPaths(w, r)
	if err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	a, err := s.target.Evict(r.Context(), paths)
	if err != nil {
		answerError(w, http.StatusInternalServerError, err)
		return
	}
	s.answer(w, a)
}

func (s *controlServer) prefetch(w http.ResponseWriter, r *http.Request) {
	paths, err := readPaths(w, r)
	if err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	out := newLineStream(w, r)
	defer out.cancel()
	var last prefetchProgress
	err = s.target.Prefetch(out.ctx, paths, func(p prefetchProgress) { last = p; out.send(p) })
	last.streamEnd = endOf(err)
	out.send(last)
}

func (s *controlServer) verify(w http.ResponseWriter, r *http.Request) {
	paths, err := readPaths(w, r)
	if err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	out := newLineStream(w, r)
	defer out.cancel()
	result, err := s.target.Verify(out.ctx, paths, func(e uploader.VerifyEvent) { out.send(verifyProgress{VerifyEvent: e}) })
	out.send(verifyProgress{uploader.VerifyEvent{Result: result}, endOf(err)})
}

func (s *controlServer) wait(w http.ResponseWriter, r *http.Request) {
	paths, err := readPaths(w, r)
	if err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	out := newProgressStream(w, r)
	defer out.cancel()
	out.finish(s.target.Wait(out.ctx, paths, out.line))
}

func (s *controlServer) shutdown(w http.ResponseWriter, r *http.Request) {
	var req shutdownRequest
	if err := readRequest(w, r, &req); err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	out := newProgressStream(w, r)
	defer out.cancel()
	err := s.target.Shutdown(out.ctx, req.Wait, out.line)
	if errors.Is(err, errBusy) {
		answerError(w, http.StatusConflict, err)
		return
	}
	out.finish(err)
}

func readPaths(w http.ResponseWriter, r *http.Request) ([]string, error) {
	var req pathsRequest
	if err := readRequest(w, r, &req); err != nil {
		return nil, err
	}
	if len(req.Paths) == 0 {
		return nil, errors.New(`no paths; the whole mount is ""`)
	}
	if len(req.Paths) > maxRequestPaths {
		return nil, fmt.Errorf("%d paths in one request; at most %d", len(req.Paths), maxRequestPaths)
	}
	for i, p := range req.Paths {
		clean, err := cleanControlPath(p)
		if err != nil {
			return nil, err
		}
		req.Paths[i] = clean
	}
	return req.Paths, nil
}

// readRequest reads a JSON body, bounded in size and time, with no field that this version
// does not know. (http.Server.ReadTimeout would end a long stream's context as well.)
func readRequest(w http.ResponseWriter, r *http.Request, into any) error {
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout)) // a recorder in a test has no deadlines
	defer rc.SetReadDeadline(time.Time{})
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("request body: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("request body: more than one value")
	}
	return nil
}

func answerError(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(errorAnswer{err.Error()})
}
