package gcs_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/gcs"
	"github.com/trainfs/trainfs/backend/storetest/child"
	"github.com/trainfs/trainfs/backend/storetest/fakegcs"
)

func openErr(t *testing.T, url string) error {
	t.Helper()
	loc, err := backend.ParseLocation(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := gcs.Open(t.Context(), loc, gcs.Options{CheckTimeout: 10 * time.Second})
	if err == nil {
		s.Close()
	}
	return err
}

func wantAdvice(t *testing.T, err, kind error, advice string) {
	t.Helper()
	if kind == nil && (err == nil || backend.Permanent(err)) || kind != nil && !errors.Is(err, kind) ||
		!strings.Contains(fmt.Sprint(err), advice) {
		t.Errorf("error %v, want %v and %q", err, kind, advice)
	}
}

func TestOpenSaysThatThereIsNoSuchBucket(t *testing.T) {
	server := fakegcs.Start(t)
	wantAdvice(t, openErr(t, "gs://no-such-bucket/p?endpoint_override="+server.Endpoint), backend.ErrNoBucket,
		`bucket "no-such-bucket" does not exist at http://127.0.0.1`)
}

func TestOpenSaysThatNobodyAnswers(t *testing.T) {
	err := openErr(t, "gs://bucket/p?endpoint_override=http://"+child.FreeAddr(t))
	wantAdvice(t, err, backend.ErrConfig, "does not answer: check the network")
	wantAdvice(t, err, backend.ErrUnreachable, "endpoint_override=")
}

// noCredentials keeps those of the machine out of a test.
func noCredentials(t *testing.T) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("APPDATA", t.TempDir())
	t.Setenv("CLOUDSDK_CONFIG", t.TempDir())
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "")
	t.Setenv("STORAGE_EMULATOR_HOST", "")
}

func TestOpenSaysThatCredentialsAreNotAFile(t *testing.T) {
	noCredentials(t)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
	wantAdvice(t, openErr(t, "gs://bucket/p"), backend.ErrConfig, "set GOOGLE_APPLICATION_CREDENTIALS")
}

func TestOpenSaysThatCredentialsAreRefused(t *testing.T) {
	noCredentials(t)
	var status atomic.Int64
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		w.Write([]byte(`{"error":"invalid_grant"}`))
	}))
	defer tokens.Close()
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", serviceAccount(t, tokens.URL))
	url := "gs://bucket/p?endpoint_override=https://" + child.FreeAddr(t) // nobody gets so far
	status.Store(http.StatusBadRequest)
	wantAdvice(t, openErr(t, url), backend.ErrDenied, "Google refuses the credentials of the credentials file")
	status.Store(http.StatusServiceUnavailable) // this one heals
	if err := openErr(t, url); err == nil || errors.Is(err, backend.ErrDenied) {
		t.Errorf("with the tokens' server out of order: %v", err)
	}
}

// serviceAccount writes the file of one that gets its tokens at url.
func serviceAccount(t *testing.T, url string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "trainfs@example.test", "private_key_id": "1", "project_id": "p",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": url,
	})
	path := filepath.Join(t.TempDir(), "account.json")
	if err := errors.Join(err, os.WriteFile(path, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// fake opens a store at a server that answers everything with handler.
func fake(t *testing.T, handler http.HandlerFunc) *gcs.Store {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	loc, err := backend.ParseLocation("gs://bucket/p?endpoint_override=" + server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := gcs.Open(t.Context(), loc, gcs.Options{SkipCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestWhatAnAnswerMeans(t *testing.T) {
	for status, want := range map[int]error{
		401: backend.ErrDenied, 403: backend.ErrDenied, 404: backend.ErrNoBucket, 412: backend.ErrExist,
		413: backend.ErrTooLarge, 408: nil, 429: nil, 500: nil, 503: nil,
	} {
		s := fake(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		_, err := s.Put(t.Context(), "a", content("x"), backend.PutOptions{})
		if want == nil && (err == nil || backend.Permanent(err)) || want != nil && !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
	}
}

func TestThrottlingOfAListingIsTriedAFewTimesAndHeals(t *testing.T) {
	for _, status := range []int{429, 503} {
		var calls atomic.Int64
		s := fake(t, func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) < 3 {
				w.WriteHeader(status)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{"kind":"storage#objects"}`))
		})
		if _, err := s.List(t.Context(), backend.ListOptions{}); err != nil || calls.Load() != 3 {
			t.Errorf("%d: %v after %d calls", status, err, calls.Load())
		}
	}
}

func TestOpenSaysThatTheServerAsksForFewerRequests(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }))
	defer server.Close()
	wantAdvice(t, openErr(t, "gs://bucket/p?endpoint_override="+server.URL), nil, "asks for fewer requests")
}

func TestTheOptionsGoWithEveryNewObject(t *testing.T) {
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen = append(seen, r.URL.RawQuery+" "+string(body))
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"name":"p/a","generation":"1"}`))
	}))
	defer server.Close()
	loc, err := backend.ParseLocation("gs://bucket/p?endpoint_override=" + server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := gcs.Open(t.Context(), loc, gcs.Options{SkipCheck: true,
		UserProject: "payer", StorageClass: "NEARLINE", KMSKey: "projects/p/k", ACL: "bucketOwnerRead"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Put(t.Context(), "a", content("x"), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(seen, "\n")
	for _, want := range []string{"payer", "NEARLINE", "kmsKeyName=projects%2Fp%2Fk", "predefinedAcl=bucketOwnerRead"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

func content(data string) backend.Content {
	return backend.Content{R: strings.NewReader(data), Size: int64(len(data)), CRC32C: crc32c.Checksum([]byte(data))}
}
