package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/cache"
)

func TestControlRoundTrip(t *testing.T) {
	r := startRig(t, func(r *rig) { r.engine.report = cache.Progress{Units: 3, BytesLeft: 99} })
	st, err := r.client.status(t.Context())
	if err != nil || st.Node != "n1" || st.MountPoint != "/mnt/test" || st.PID != os.Getpid() || st.PassthroughReason != "test" {
		t.Errorf("%+v, %v", st, err)
	}
	if err := r.client.commit(t.Context(), []string{"a/./b", ""}); err != nil {
		t.Error(err)
	}
	if want := [][]string{{"a/b", ""}}; !reflect.DeepEqual(r.engine.commits, want) {
		t.Errorf("%q", r.engine.commits)
	}
	var seen []cache.Progress
	last, err := r.client.wait(t.Context(), []string{"a"}, func(p cache.Progress) {
		if seen = append(seen, p); len(seen) == 1 {
			close(r.engine.committed)
		}
	})
	if err != nil || !last.Done || seen[0].Units != 3 || seen[0].BytesLeft != 99 {
		t.Errorf("%+v, %v", seen, err)
	}
	r.stop()
	r.end(t)
}

func TestControlPassesErrorsOn(t *testing.T) {
	r := startRig(t, func(r *rig) { r.engine.commitErr = errTest; close(r.engine.committed) })
	if err := r.client.commit(t.Context(), []string{"a"}); err == nil || err.Error() != errTest.Error() {
		t.Errorf("%v", err)
	}
	if err := r.client.commit(t.Context(), []string{"../a"}); err == nil || !strings.Contains(err.Error(), "leads out") {
		t.Errorf("%v", err)
	}
	r.stop()
	r.end(t)
}

func TestControlSocketIsPrivateAndReplacesADeadOne(t *testing.T) {
	r := startRig(t, func(r *rig) {
		close(r.engine.committed)
		if err := os.WriteFile(filepath.Join(r.s.cfg.CacheDir, controlSocket), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	})
	fi, err := os.Lstat(filepath.Join(r.s.cfg.CacheDir, controlSocket))
	if err != nil || fi.Mode() != os.ModeSocket|0o600 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	r.stop()
	r.end(t)
}

func TestControlSocketInADeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 60))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r := startRig(t, func(r *rig) {
		close(r.engine.committed)
		r.s.cfg.CacheDir, r.client = dir, newControlClient(dir)
	})
	if _, err := r.client.status(t.Context()); err != nil {
		t.Error(err)
	}
	r.stop()
	r.end(t)
}

func TestClientSaysThatNoDaemonRuns(t *testing.T) {
	c := newControlClient(t.TempDir())
	if _, err := c.status(t.Context()); !errors.Is(err, errNoDaemon) {
		t.Errorf("%v", err)
	}
}

func TestClientWaitsForTheDaemonsProcess(t *testing.T) {
	r := startRig(t, func(r *rig) { close(r.engine.committed) })
	p, err := r.client.process(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.wait(ctx); !errors.Is(err, context.Canceled) { // it is this very process
		t.Errorf("%v", err)
	}
	r.stop()
	r.end(t)
}

// handlerFor is the control server's handler alone.
func handlerFor(target controlled) http.Handler {
	return (&controlServer{target: target, log: quietLog()}).routes()
}

func fakeSession() (*session, *fakeEngine) {
	e := newFakeEngine()
	close(e.committed)
	return &session{cfg: &Config{}, log: quietLog(), parts: &parts{engine: e}, fs: newFakeFS()}, e
}

func TestControlRefusesWhatItDoesNotKnow(t *testing.T) {
	s, engine := fakeSession()
	h := handlerFor(s)
	tests := []struct {
		name, method, path, body string
		want                     int
	}{
		{"other version", "GET", "/v2/status", "", http.StatusNotFound},
		{"other request", "POST", "/v1/explode", "{}", http.StatusNotFound},
		{"other method", "GET", "/v1/commit", "", http.StatusNotFound},
		{"no body", "POST", "/v1/commit", "", http.StatusBadRequest},
		{"no JSON", "POST", "/v1/wait", "paths", http.StatusBadRequest},
		{"unknown field", "POST", "/v1/wait", `{"paths":["a"],"force":true}`, http.StatusBadRequest},
		{"two values", "POST", "/v1/wait", `{"paths":["a"]}{}`, http.StatusBadRequest},
		{"no paths", "POST", "/v1/wait", `{"paths":[]}`, http.StatusBadRequest},
		{"absolute path", "POST", "/v1/commit", `{"paths":["/etc"]}`, http.StatusBadRequest},
		{"path out", "POST", "/v1/commit", `{"paths":["a/../../b"]}`, http.StatusBadRequest},
		{"NUL", "POST", "/v1/commit", `{"paths":["a\u0000"]}`, http.StatusBadRequest},
		{"long path", "POST", "/v1/commit", `{"paths":["` + strings.Repeat("a/", 3000) + `"]}`, http.StatusBadRequest},
		{"long name", "POST", "/v1/commit", `{"paths":["` + strings.Repeat("a", 256) + `"]}`, http.StatusBadRequest},
		{"many paths", "POST", "/v1/commit", `{"paths":["a"` + strings.Repeat(`,"a"`, maxRequestPaths) + `]}`, http.StatusBadRequest},
		{"huge body", "POST", "/v1/commit", `{"paths":["` + strings.Repeat("a", maxRequestBytes) + `"]}`, http.StatusBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body)))
			if w.Code != tt.want || !strings.Contains(w.Body.String(), `"error"`) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	if len(engine.commits) > 0 {
		t.Errorf("committed %q", engine.commits)
	}
}

// FuzzControl: no body panics, and no path that comes through leads out of the mount.
func FuzzControl(f *testing.F) {
	for _, body := range []string{`{"paths":["a/b"]}`, `{"paths":[".."]}`, `{"paths":["/"]}`, `{"paths":null}`, `[]`, `{"wait":true}`, "{"} {
		f.Add("/v1/commit", []byte(body))
		f.Add("/v1/wait", []byte(body))
	}
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		if path != "/v1/wait" && path != "/v1/commit" {
			path = "/v1/commit"
		}
		s, engine := fakeSession()
		w := httptest.NewRecorder()
		handlerFor(s).ServeHTTP(w, httptest.NewRequest("POST", path, io.NopCloser(bytes.NewReader(body))))
		for _, paths := range append(engine.commits, engine.waits...) {
			for _, p := range paths {
				if strings.HasPrefix(p, "/") || !filepath.IsLocal(p) && p != "" || strings.ContainsRune(p, 0) {
					t.Errorf("%q came through", p)
				}
			}
		}
	})
}
