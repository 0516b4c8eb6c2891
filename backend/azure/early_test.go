package azure_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/azure"
	"github.com/trainfs/trainfs/backend/crc32c"
)

// A server may answer before it has read the body, and net/http then goes on reading it for
// a while. The next attempt must not share its place in the body with that one: bytes
// would be left out.
func TestABodyIsWholeAfterAnEarlyRefusal(t *testing.T) {
	setenv(t, map[string]string{"AZURE_STORAGE_KEY": secret})
	data := random(1 << 20)
	var asked atomic.Int32
	got := make(chan []byte, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		got <- body
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(server.Close)
	s, err := tryOpen(t, "abfs://account@"+strings.TrimPrefix(server.URL, "http://")+"/container?enable_tls=false", azure.Options{SkipCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	c := backend.Content{R: bytes.NewReader(data), Size: int64(len(data)), CRC32C: crc32c.Checksum(data)}
	if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if body := <-got; !bytes.Equal(body, data) {
		t.Errorf("the body has %d bytes that are not the %d", len(body), len(data))
	}
}
