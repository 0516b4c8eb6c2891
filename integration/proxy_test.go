package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy stands before an S3 server, keeps a list of what was asked of it, and can hold
// requests up. It passes the Host header on, which signatures cover.
type proxy struct {
	url string

	mu     sync.Mutex
	life   int // of the daemon: see nextLife
	log    []request
	asked  []request                  // also those that failed
	fail   func(request) (status int) // answers in the server's place, unless 0
	meddle func(request) meddler      // see meddle_test.go
	hold   func(request) bool
	carry  bool          // requests that have come whole are carried out, though who asked has died
	flying int           // requests that are at the server now
	held   int           // requests that wait now
	free   chan struct{} // closed by release
}

// request is one that the server has answered with success.
type request struct {
	method, key string
	part        int  // of UploadPart
	complete    bool // CompleteMultipartUpload
	bytes       int64
	from        int64  // of a GET with a range: where it begins
	wanted      int64  // and its length
	crc         string // checksum that the client says its body has
	copies      bool   // of another object
	conditional bool   // If-Match or If-None-Match
	life        int    // of the daemon that has asked
	answered    int    // the life that it was when the server answered
	came, ended time.Time
}

func (r request) String() string {
	const clock = "15:04:05.000"
	return fmt.Sprintf("%s %s part %d, %d bytes, copies %t, completes %t, in life %d from %s to %s", r.method, r.key, r.part, r.bytes, r.copies, r.complete,
		r.life, r.came.UTC().Format(clock), r.ended.UTC().Format(clock))
}

// shows tells that a request makes an object visible.
func (r request) shows() bool {
	return r.complete || r.method == http.MethodPut && r.part == 0
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	target, err := url.Parse(server)
	must(t, err)
	p := &proxy{free: make(chan struct{})}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		r := parse(in)
		r.life, r.came = p.lives(), time.Now()
		if !p.pass(r, in.Context().Done()) {
			return
		}
		if status := p.arrive(r); status != 0 {
			w.WriteHeader(status)
			return
		}
		next := http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
			in, landed := p.takeOff(in)
			defer landed()
			forward.ServeHTTP(&answer{ResponseWriter: w, succeeded: func() {
				p.mu.Lock()
				defer p.mu.Unlock()
				r.answered, r.ended = p.life, time.Now()
				p.log = append(p.log, r)
			}}, in)
		})
		if meddle := p.meddlerOf(r); meddle != nil {
			meddle(w, in, next)
			return
		}
		next.ServeHTTP(w, in)
	}))
	p.url = front.URL
	t.Cleanup(func() { p.release(); front.CloseClientConnections(); front.Close() })
	return p
}

// takeOff counts a request as flying until it has landed.
func (p *proxy) takeOff(in *http.Request) (_ *http.Request, landed func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying++
	if p.carry {
		in = in.WithContext(context.WithoutCancel(in.Context()))
	}
	return in, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.flying--
	}
}

// untilLanded waits until the server has done with all that it was asked.
func (s *store) untilLanded() {
	if s.proxy == nil {
		return
	}
	eventually(s.t, "the server has done what the last daemon has asked", func() bool {
		s.proxy.mu.Lock()
		defer s.proxy.mu.Unlock()
		return s.proxy.flying == 0
	})
}

func parse(in *http.Request) request {
	_, key, _ := strings.Cut(strings.TrimPrefix(in.URL.Path, "/"), "/") // the bucket goes before
	q := in.URL.Query()
	part, _ := strconv.Atoi(q.Get("partNumber"))
	var from, to int64
	if n, _ := fmt.Sscanf(in.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 2 {
		to++
	}
	return request{
		from: from, wanted: to - from,
		method: in.Method, key: strings.TrimPrefix(key, "runs/a/"), part: part, bytes: in.ContentLength,
		complete:    in.Method == http.MethodPost && q.Has("uploadId"),
		crc:         in.Header.Get("X-Amz-Checksum-Crc32c"),
		copies:      in.Header.Get("X-Amz-Copy-Source") != "",
		conditional: in.Header.Get("If-Match") != "" || in.Header.Get("If-None-Match") != "",
	}
}

func (p *proxy) lives() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

// nextLife says that the daemon has died and another one is about to start.
func (s *store) nextLife() {
	if s.proxy == nil {
		return
	}
	s.proxy.mu.Lock()
	defer s.proxy.mu.Unlock()
	s.proxy.life++
}

// arrive counts a request, and tells what status to answer it with, if not the server's.
func (p *proxy) arrive(r request) (status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r)
	if p.fail != nil {
		return p.fail(r)
	}
	return 0
}

// failIf answers requests in the server's place with the status that f gives, unless 0. A
// nil f ends that.
func (p *proxy) failIf(f func(request) int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fail = f
}

// requests is those for which f is true that have come so far, answered or not.
func (p *proxy) requests(f func(request) bool) (list []request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.asked {
		if f(r) {
			list = append(list, r)
		}
	}
	return list
}

func (p *proxy) countIf(f func(request) bool) int { return len(p.requests(f)) }

// pass waits while the request is one to be held up.
func (p *proxy) pass(r request, gone <-chan struct{}) bool {
	p.mu.Lock()
	held, free := p.hold != nil && p.hold(r), p.free
	p.mu.Unlock()
	if held {
		p.count(1)
		defer p.count(-1)
		select {
		case <-free:
		case <-gone:
			return false
		}
	}
	return true
}

func (p *proxy) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held += n
}

// holding is how many requests wait.
func (p *proxy) holding() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// holdIf holds up the requests for which f is true, until release.
func (p *proxy) holdIf(f func(request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = f
}

func (p *proxy) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = nil
	close(p.free)
	p.free = make(chan struct{})
}

// seen are the requests answered so far for which f is true, in the order of the answers.
func (p *proxy) seen(f func(request) bool) (out []request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.log {
		if f(r) {
			out = append(out, r)
		}
	}
	return out
}

// answer is noted before the client can have seen it: what the client does next comes
// after it in the list.
type answer struct {
	http.ResponseWriter
	succeeded func()
}

func (w *answer) WriteHeader(code int) {
	if code >= 200 && code < 300 {
		w.succeeded()
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
