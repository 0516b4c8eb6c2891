package integration

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// A meddler answers a request in its own way; next is the server.
type meddler func(w http.ResponseWriter, in *http.Request, next http.Handler)

// meddleIf has the requests for which choose gives a meddler answered by it. A nil choose ends
// that.
func (p *proxy) meddleIf(choose func(request) meddler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meddle = choose
}

func (p *proxy) meddlerOf(r request) meddler {
	p.mu.Lock()
	choose := p.meddle
	p.mu.Unlock()
	if choose == nil {
		return nil
	}
	return choose(r)
}

// refuse is the answer of a server that does nothing.
func refuse(status int, code string) meddler {
	return func(w http.ResponseWriter, in *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, in.Body) // as Amazon's do: the client has sent all before it learns of it
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if in.Method != http.MethodHead {
			fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>made by a test</Message></Error>", code)
		}
	}
}

// lose has the work done and the answer lost: the connection ends without one.
func lose(_ http.ResponseWriter, in *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), in)
	panic(http.ErrAbortHandler)
}

// misreport has the work done, and says that it was not.
func misreport(w http.ResponseWriter, in *http.Request, next http.Handler) {
	next.ServeHTTP(httptest.NewRecorder(), in)
	refuse(http.StatusInternalServerError, "InternalError")(w, in, nil)
}

// delay answers late.
func delay(least, most time.Duration) meddler {
	return func(w http.ResponseWriter, in *http.Request, next http.Handler) {
		select {
		case <-time.After(least + rand.N(most-least)):
			next.ServeHTTP(w, in)
		case <-in.Context().Done():
		}
	}
}

// rewrite passes an answer through change, which may end the connection in the middle of it.
func rewrite(change func(header http.Header, body []byte) (cut int, out []byte)) meddler {
	return func(w http.ResponseWriter, in *http.Request, next http.Handler) {
		record := httptest.NewRecorder()
		next.ServeHTTP(record, in)
		cut, body := change(record.Header(), record.Body.Bytes())
		for name, values := range record.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(record.Code)
		if cut > 0 {
			_, _ = w.Write(body[:len(body)-cut])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(body)
	}
}

// Bodies that are not what was asked for. shorten ends the connection before its end, curtail
// says with a straight face that there is no more.
var (
	shorten = rewrite(func(_ http.Header, body []byte) (int, []byte) { return max(1, len(body)/2), body })
	curtail = rewrite(func(h http.Header, body []byte) (int, []byte) {
		h.Set("Content-Length", strconv.Itoa(len(body)/2))
		return 0, body[:len(body)/2]
	})
	flip = rewrite(func(_ http.Header, body []byte) (int, []byte) {
		if len(body) > 0 {
			body[len(body)/2] ^= 0x10
		}
		return 0, body
	})
	missum = rewrite(func(h http.Header, body []byte) (int, []byte) {
		if h.Get("X-Amz-Checksum-Crc32c") != "" {
			h.Set("X-Amz-Checksum-Crc32c", "AAAAAA==")
		}
		return 0, body
	})
)

// flipSent changes a byte of what the client sends.
func flipSent(w http.ResponseWriter, in *http.Request, next http.Handler) {
	body, err := io.ReadAll(in.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if len(body) > 0 {
		body[len(body)/2] ^= 0x10
	}
	in.Body = io.NopCloser(bytes.NewReader(body))
	next.ServeHTTP(w, in)
}

// meddlingKind is a fault of a store that a meddler makes with every request that wanted
// likes, or, of several, with one in so many.
func meddlingKind(kind string, oneIn int, wanted func(request) bool, all ...meddler) faultKind {
	return faultKind{kind: kind, start: func(f *faultRun) func() {
		f.s.proxy.meddleIf(func(r request) meddler {
			if !wanted(r) || rand.IntN(oneIn) != 0 {
				return nil
			}
			f.injected.Add(1)
			return all[rand.IntN(len(all))]
		})
		return func() { f.s.proxy.meddleIf(nil) }
	}}
}

func anyRequest(request) bool { return true }

// isData tells that a request reads the user's own bytes.
func isData(r request) bool {
	return r.method == http.MethodGet && r.key != "" && !strings.HasPrefix(r.key, ".trainfs/")
}

func sendsData(r request) bool { return r.method == http.MethodPut && r.bytes > 0 }

func changes(r request) bool { return r.method != http.MethodGet && r.method != http.MethodHead }

// nth meddles with one request: the n-th from now.
func (p *proxy) nth(n int, m meddler) (met *atomic.Bool) {
	met = &atomic.Bool{}
	var count atomic.Int64
	p.meddleIf(func(request) meddler {
		if count.Add(1) != int64(n) {
			return nil
		}
		met.Store(true)
		return m
	})
	return met
}
