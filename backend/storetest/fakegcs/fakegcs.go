// Package fakegcs runs a server that speaks Google Cloud Storage's protocol for tests:
// fake-gcs-server, in memory, as a child process (see server/).
//
// fakegcs imports backend/storetest/child.
package fakegcs

import (
	"net/http"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/child"
)

// Server is a running server with one empty bucket.
type Server struct {
	*child.Process
	Endpoint string // http://127.0.0.1:port
	Bucket   string
}

// Start runs a server until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatalf("build fake-gcs-server: %v", err)
	}
	addr := child.FreeAddr(t)
	s := &Server{Endpoint: "http://" + addr, Bucket: "bucket"}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	s.Process = child.Start(t, child.Spec{
		Name: "fake-gcs-server", Program: program, Args: []string{"-addr", addr, "-bucket", s.Bucket},
		Ready: func() bool {
			answer, err := client.Get(s.Endpoint + "/storage/v1/b/" + s.Bucket)
			if err == nil {
				answer.Body.Close()
			}
			return err == nil && answer.StatusCode == http.StatusOK
		},
	})
	return s
}

// URL is a storage path in the bucket.
func (s *Server) URL(prefix string) string {
	return "gs://" + s.Bucket + "/" + prefix + "?endpoint_override=" + s.Endpoint
}

// build gives the path of the server's program, and makes it if nobody has yet.
func build() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	source := filepath.Join(filepath.Dir(here), "server") // another module: it cannot be embedded
	return child.GoProgram("fakegcs", source)
}
