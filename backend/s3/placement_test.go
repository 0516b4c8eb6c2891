package s3_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/s3"
)

func TestTheOptionsGoWithEveryNewObject(t *testing.T) {
	setCredentials(t)
	var last http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last = r.Header.Clone()
		w.Header().Set("ETag", `"x"`)
		if r.Method == http.MethodPost || last.Get("X-Amz-Copy-Source") != "" {
			w.Write([]byte(`<Answer><UploadId>u</UploadId><ETag>"x"</ETag></Answer>`))
		}
	}))
	defer server.Close()
	loc, err := backend.ParseLocation("s3://b/p?endpoint_override=" + server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), loc, s3.Options{SkipCheck: true, RequestPayer: true, Placement: s3.Placement{
		StorageClass: "STANDARD_IA", ACL: "bucket-owner-full-control", KMSKey: "the-key", Tags: "team=a&project=b",
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := backend.Content{R: strings.NewReader("x"), Size: 1, CRC32C: crc32c.Checksum([]byte("x"))}
	for name, call := range map[string]func() error{
		"put":   func() error { _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); return err },
		"stage": func() error { _, err := s.BeginStage(t.Context(), "a", 1, 5<<20, backend.Attr{}); return err },
		"copy":  func() error { _, err := s.Copy(t.Context(), "a", "b", backend.PutOptions{}); return err },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for header, want := range map[string]string{
			"X-Amz-Storage-Class": "STANDARD_IA", "X-Amz-Acl": "bucket-owner-full-control",
			"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "the-key",
			"X-Amz-Tagging": "team=a&project=b", "X-Amz-Request-Payer": "requester",
		} {
			if got := last.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name, header, got, want)
			}
		}
	}
	if _, err := s.Head(t.Context(), "a"); err != nil || last.Get("X-Amz-Request-Payer") != "requester" {
		t.Errorf("head: %v, %q", err, last.Get("X-Amz-Request-Payer"))
	}
}
