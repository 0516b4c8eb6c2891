package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/fsouza/fake-gcs-server/fakestorage"
)

// conditions checks what Google's server checks, before the fake one does the work. What
// changes something goes one at a time, so that check and work are one step.
type conditions struct {
	server *fakestorage.Server
	next   http.Handler
	mu     sync.Mutex
}

func (c *conditions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if r.Method == http.MethodGet && strings.HasPrefix(path, "/storage/v1/b/") && strings.HasSuffix(path, "/o") {
		pages(c.next, w, r)
		return
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		if want := r.Header.Get("x-goog-if-generation-match"); want != "" {
			bucket, object := split(strings.TrimPrefix(path, "/"), "/")
			if !c.is(bucket, object, want) {
				refuse(w, http.StatusPreconditionFailed)
				return
			}
		}
		c.next.ServeHTTP(w, r)
		return
	}
	if strings.HasPrefix(path, "/upload/") { // its conditions the fake server checks itself
		c.next.ServeHTTP(w, r)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if code := c.check(path, r); code != 0 {
		refuse(w, code)
		return
	}
	c.next.ServeHTTP(w, r)
}

// check gives the status of a refusal, 0 if there is none.
func (c *conditions) check(path string, r *http.Request) int {
	src, dst, isCopy := strings.Cut(strings.TrimPrefix(path, "/storage/v1/b/"), "/rewriteTo/b/")
	if !isCopy {
		dst = src
	}
	bucket, object := split(strings.TrimSuffix(dst, "/compose"), "/o/")
	q := r.URL.Query()
	if want := q.Get("ifSourceGenerationMatch"); want != "" {
		if bucket, object := split(src, "/o/"); !c.is(bucket, object, want) {
			return http.StatusPreconditionFailed
		}
	}
	if want := q.Get("ifGenerationMatch"); want != "" && !c.is(bucket, object, want) {
		return http.StatusPreconditionFailed
	}
	if strings.HasSuffix(path, "/compose") {
		return c.composition(bucket, r)
	}
	return 0
}

// composition checks the generations of the sources, and the checksum of the whole.
func (c *conditions) composition(bucket string, r *http.Request) int {
	var request struct {
		SourceObjects []struct {
			Name       string `json:"name"`
			Generation int64  `json:"generation,string"`
		} `json:"sourceObjects"`
		Destination struct {
			CRC32C string `json:"crc32c"`
		} `json:"destination"`
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil || json.Unmarshal(body, &request) != nil {
		return http.StatusBadRequest
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	for _, s := range request.SourceObjects {
		o, err := c.server.GetObject(bucket, s.Name)
		if err != nil || s.Generation != 0 && s.Generation != o.Generation {
			return http.StatusNotFound
		}
		sum.Write(o.Content)
	}
	if want := request.Destination.CRC32C; want != "" &&
		want != base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32())) {
		return http.StatusBadRequest
	}
	return 0
}

// is tells whether an object has a generation; 0 is that of one that does not exist.
func (c *conditions) is(bucket, object, want string) bool {
	now := int64(0)
	if o, err := c.server.GetObject(bucket, object); err == nil {
		now = o.Generation
	}
	return strconv.FormatInt(now, 10) == want
}

func split(escaped, by string) (bucket, object string) {
	bucket, object, _ = strings.Cut(escaped, by)
	bucket, _ = url.PathUnescape(bucket)
	object, _ = url.PathUnescape(object)
	return bucket, object
}

func refuse(w http.ResponseWriter, code int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	fmt.Fprintf(w, `{"error":{"code":%d,"message":%q}}`, code, http.StatusText(code))
}
