package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/s3"
	"github.com/trainfs/trainfs/backend/storetest/versitygw"
)

func TestABodyThatEndsEarlyIsNoShortSuccess(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Header().Set("ETag", `"x"`)
		w.Write([]byte("only this"))
	})
	body, _, err := s.Get(t.Context(), "a", backend.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if data, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v", data, err)
	}
}

// P7: the answer to HEAD does not say that it is the credentials that have expired.
func TestHeadWithCredentialsThatHaveExpiredHeals(t *testing.T) {
	for code, heals := range map[string]bool{"ExpiredToken": true, "AccessDenied": false} {
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			if r.Method != http.MethodHead {
				fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>m</Message></Error>`, code)
			}
		})
		if _, err := s.Head(t.Context(), "a"); err == nil || backend.Permanent(err) == heals || errors.Is(err, backend.ErrDenied) == heals {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func TestAServerThatIgnoresRangesIsFoundOut(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("everything")) })
	if _, _, err := s.Get(t.Context(), "a", backend.GetOptions{Offset: 5}); err == nil {
		t.Error("took the beginning for a range")
	}
	body, obj, err := s.Get(t.Context(), "a", backend.GetOptions{Length: 5})
	if err != nil || obj.Size != 10 {
		t.Fatalf("%+v, %v", obj, err)
	}
	defer body.Close()
	if data, err := io.ReadAll(body); err != nil || string(data) != "every" {
		t.Errorf("read %q, %v", data, err)
	}
}

func TestAnErrorIn200IsAnError(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>m</Message></Error>`))
	})
	st := backend.Stage{Key: "a", ID: "x", Size: 1, PartSize: 5 << 20}
	_, err := s.PublishStage(t.Context(), st, []backend.Part{{Number: 1, Size: 1, ETag: "e"}}, 0, backend.PutOptions{})
	if err == nil || backend.Permanent(err) {
		t.Errorf("publish: %v", err)
	}
}

func TestThrottlingIsTriedAFewTimesAndHeals(t *testing.T) {
	var calls atomic.Int64
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("ETag", `"x"`)
	})
	c := backend.Content{R: strings.NewReader("x"), Size: 1, CRC32C: crc32c.Checksum([]byte("x"))}
	if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err != nil || calls.Load() != 3 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

func TestPayloadIsNeitherSignedNorHashedByTheSDK(t *testing.T) {
	var header http.Header
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		w.Header().Set("ETag", `"x"`)
	})
	crc := crc32c.Checksum([]byte("x"))
	c := backend.Content{R: strings.NewReader("x"), Size: 1, CRC32C: crc}
	if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := header.Get("X-Amz-Content-Sha256"); got != "UNSIGNED-PAYLOAD" {
		t.Errorf("payload hash %q", got)
	}
	for name := range header {
		if strings.HasPrefix(name, "X-Amz-Checksum-") && name != "X-Amz-Checksum-Crc32c" {
			t.Errorf("the SDK computed %s", name)
		}
	}
}

func TestDeleteNamesTheKeysThatWereRefused(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`<DeleteResult><Error><Key>p/secret/a</Key><Code>AccessDenied</Code></Error>` +
			`<Error><Key>p/gone</Key><Code>NoSuchKey</Code></Error></DeleteResult>`))
	})
	err := s.Delete(t.Context(), "secret/a", "gone", "b")
	if !errors.Is(err, backend.ErrDenied) || !strings.Contains(err.Error(), `"secret/a"`) || strings.Contains(err.Error(), "gone") {
		t.Errorf("delete: %v", err)
	}
}

func TestAnOutageHealsWithoutAnotherOpen(t *testing.T) {
	server := versitygw.Start(t)
	server.Setenv(t)
	s := open(t, server.URL("p"))
	c := backend.Content{R: strings.NewReader("x"), Size: 1, CRC32C: crc32c.Checksum([]byte("x"))}
	server.Stop()
	if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err == nil || backend.Permanent(err) {
		t.Errorf("put into the void: %v", err)
	}
	server.Restart()
	if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err != nil {
		t.Errorf("put after the outage: %v", err)
	}
}

// meeting gives what returns once n have called it, and at once from then on.
func meeting(n int) (meet func()) {
	var here atomic.Int64
	all := make(chan struct{})
	return func() {
		if here.Add(1) == int64(n) {
			close(all)
		}
		<-all
	}
}

// A firewall that has forgotten one connection has forgotten all. A server that answers no second
// request on any connection is one.
func TestIdleConnectionsAreNotUsedAgainWhenOneWasDead(t *testing.T) {
	var mu sync.Mutex
	used, meet := map[string]int{}, meeting(8)
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		used[r.RemoteAddr]++
		again := used[r.RemoteAddr] > 1
		mu.Unlock()
		if again {
			<-r.Context().Done()
			return
		}
		meet() // so that all are open at the same time
		w.Header().Set("ETag", `"x"`)
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := s.Head(t.Context(), "a"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := s.Head(ctx, "a"); err == nil {
		t.Fatal("the connection was not kept")
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := s.Head(ctx, "a"); err != nil {
		t.Errorf("after one connection was found dead: %v", err)
	}
}

// late is how the cache gives a request up that gets no answer.
type late struct{ error }

func (late) Timeout() bool { return true }

// The connections are kept where a request was given up because another has failed: else a store
// that refuses all leaves thousands of them.
func TestConnectionsAreKeptUnlessAnAnswerIsLate(t *testing.T) {
	for name, c := range map[string]struct {
		cause error
		kept  bool
	}{
		"nobody wants it":         {nil, true},
		"another one was refused": {&backend.Error{Op: backend.OpList, Key: "a", Kind: backend.ErrDenied, Err: errors.New("no")}, true},
		"no answer":               {late{errors.New("no answer")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			used, meet, reached := map[string]int{}, meeting(2), make(chan struct{})
			s := fake(t, func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				used[r.RemoteAddr]++
				mu.Unlock()
				if strings.HasSuffix(r.URL.Path, "slow") {
					close(reached)
					<-r.Context().Done()
					return
				}
				meet() // so that both are open at the same time
				w.Header().Set("ETag", `"x"`)
			})
			head := func() {
				if _, err := s.Head(t.Context(), "a"); err != nil {
					t.Error(err)
				}
			}
			var both sync.WaitGroup
			both.Go(head)
			both.Go(head)
			both.Wait()
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { <-reached; cancel(c.cause) }()
			if _, err := s.Head(ctx, "slow"); err == nil {
				t.Fatal("it was answered")
			}
			connections := func() int {
				mu.Lock()
				defer mu.Unlock()
				return len(used)
			}
			before := connections()
			head()
			if kept := connections() == before; kept != c.kept {
				t.Errorf("kept: %v", kept)
			}
		})
	}
}

// sentBody is all zeros, and tells when, asked for since, more than 1 MiB of it is on its way.
type sentBody struct {
	asked atomic.Bool
	under chan struct{}
	once  sync.Once
}

func (b *sentBody) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off >= 1<<20 && b.asked.Load() {
		b.once.Do(func() { close(b.under) })
	}
	return len(p), nil
}

// A request that was given up does not arrive afterwards: a newer one may have replaced it.
func TestRequestThatWasGivenUpDoesNotArriveLater(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	setCredentials(t)
	loc, err := backend.ParseLocation("s3://b/p?endpoint_override=http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), loc, s3.Options{SkipCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	const size = 64 << 20 // more than the buffers of both ends take
	body := &sentBody{under: make(chan struct{})}
	go func() {
		defer close(ended)
		c := backend.Content{R: body, Size: size, CRC32C: crc32c.Checksum(make([]byte, size))}
		_, _ = s.Put(ctx, "a", c, backend.PutOptions{})
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	head := make([]byte, 4096)
	if _, err := conn.Read(head); err != nil {
		t.Fatal(err)
	}
	body.asked.Store(true)
	fmt.Fprint(conn, "HTTP/1.1 100 Continue\r\n\r\n")
	<-body.under // way: the server reads none of it
	cancel()
	<-ended
	if _, err := io.Copy(io.Discard, conn); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server read the rest of what was sent, and then %v, want a reset", err)
	}
}
