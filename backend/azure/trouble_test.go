package azure_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/azure"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/storetest/child"
)

// secret is a key of the right form, and what of a SAS token nobody may read.
var secret = base64.StdEncoding.EncodeToString([]byte(strings.Repeat("hunter2!", 8)))

// setenv makes nothing known but what is given.
func setenv(t *testing.T, known map[string]string) {
	t.Helper()
	for _, name := range []string{"AZURE_STORAGE_CONNECTION_STRING", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME",
		"AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET"} {
		t.Setenv(name, known[name])
	}
}

func tryOpen(t *testing.T, url string, o azure.Options) (*azure.Store, error) {
	t.Helper()
	loc, err := backend.ParseLocation(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := azure.Open(t.Context(), loc, o)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func openErr(t *testing.T, url string, o azure.Options) error {
	t.Helper()
	_, err := tryOpen(t, url, o)
	return err
}

func wantAdvice(t *testing.T, err, kind error, text string) {
	t.Helper()
	if err == nil || kind != nil && !errors.Is(err, kind) || kind == nil && backend.Permanent(err) || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v; want %v that says %q", err, kind, text)
	}
	if err != nil && (strings.Contains(err.Error(), secret[:20]) || strings.Contains(err.Error(), "\n")) {
		t.Errorf("the error has the secret, or lines: %v", err)
	}
}

// answering is a server that says the same to everybody, and counts.
func answering(t *testing.T, status int, code, message string) (url string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("x-ms-error-code", code)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>%s\nRequestId:1</Message></Error>", code, message)
		}
	}))
	t.Cleanup(server.Close)
	return "abfs://account@" + strings.TrimPrefix(server.URL, "http://") + "/container/p?enable_tls=false", asked
}

func TestOpenSaysWhatTheServerMeans(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		kind   error
		text   string
	}{
		{404, "ContainerNotFound", backend.ErrNoBucket, `container "container" does not exist at http://127.0.0.1`},
		{403, "AuthenticationFailed", backend.ErrDenied, "refuses the SAS token in AZURE_STORAGE_SAS_TOKEN: it is wrong"},
		{403, "AuthorizationPermissionMismatch", backend.ErrDenied, "Storage Blob Data Contributor"},
		{403, "AuthorizationFailure", backend.ErrDenied, "firewall"},
		{400, "InvalidHeaderValue", backend.ErrConfig, "storage_class, kms_key and tags"},
		{429, "TooManyRequests", backend.ErrUnreachable, "fewer requests"},
		{503, "ServerBusy", backend.ErrUnreachable, "fewer requests"},
		{500, "InternalError", backend.ErrUnreachable, "is not well"},
	} {
		setenv(t, map[string]string{"AZURE_STORAGE_SAS_TOKEN": "sv=2024-01-01&sig=" + secret})
		url, _ := answering(t, c.status, c.code, "in words")
		err := openErr(t, url, azure.Options{CheckTimeout: time.Minute})
		wantAdvice(t, err, c.kind, c.text)
		wantAdvice(t, err, c.kind, fmt.Sprintf("(%d %s: in words)", c.status, c.code))
	}
}

func TestOpenSaysThatNobodyAnswers(t *testing.T) {
	sas := "sv=2024-01-01&sp=racwdl&sig=" + secret
	for _, known := range []map[string]string{{"AZURE_STORAGE_KEY": secret}, {"AZURE_STORAGE_SAS_TOKEN": sas}} {
		setenv(t, known)
		err := openErr(t, "abfs://account@"+child.FreeAddr(t)+"/container/p?enable_tls=false", azure.Options{CheckTimeout: time.Minute})
		wantAdvice(t, err, backend.ErrUnreachable, "does not answer: check the network")
		wantAdvice(t, err, backend.ErrConfig, "connection refused")
	}
}

func TestOpenSaysWhatCredentialsLack(t *testing.T) {
	const path = "abfs://account@127.0.0.1:1/container/p?enable_tls=false"
	for _, c := range []struct {
		path  string
		known map[string]string
		text  string
	}{
		{"az://container/p", nil, "no storage account: write abfs://container@ACCOUNT.dfs.core.windows.net"},
		{path, nil, "set AZURE_STORAGE_KEY"},
		{path, map[string]string{"AZURE_STORAGE_KEY": "no key: " + secret}, "the account key in AZURE_STORAGE_KEY is not one"},
		{path, map[string]string{"AZURE_STORAGE_ACCOUNT_KEY": "%"}, "AZURE_STORAGE_ACCOUNT_KEY"},
		{path, map[string]string{"AZURE_STORAGE_SAS_TOKEN": secret}, "the SAS token in AZURE_STORAGE_SAS_TOKEN is not one"},
		{path, map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "AccountName=another;AccountKey=" + secret}, `is for "another"`},
		{path, map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "AccountName=account"}, "neither AccountKey= nor"},
		{path + "&credential_kind=cli", map[string]string{"AZURE_STORAGE_KEY": secret}, "not sent without TLS"},
	} {
		setenv(t, c.known)
		wantAdvice(t, openErr(t, c.path, azure.Options{}), backend.ErrConfig, c.text)
	}
}

func TestTheAccountMayComeFromTheEnvironment(t *testing.T) {
	for _, c := range []struct {
		path  string
		known map[string]string
		want  string
	}{
		{"az://container/p", nil, "abfs://container/p"},
		{"az://container/p", map[string]string{"AZURE_STORAGE_ACCOUNT": "one"}, "abfs://container@one.dfs.core.windows.net/p"},
		{"az://container/p", map[string]string{"AZURE_STORAGE_ACCOUNT_NAME": "two"}, "abfs://container@two.dfs.core.windows.net/p"},
		{"abfs://three@container/p", map[string]string{"AZURE_STORAGE_ACCOUNT": "one"}, "abfs://container@three.dfs.core.windows.net/p"},
		{"az://container/p", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=https;AccountName=four;AccountKey=x==;EndpointSuffix=core.chinacloudapi.cn"},
			"abfs://container@four.dfs.core.chinacloudapi.cn/p"},
		{"az://container/p", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "AccountName=five;AccountKey=x==;BlobEndpoint=http://127.0.0.1:10000/five"},
			"abfs://five@127.0.0.1:10000/container/p"},
		{"az://container/p", map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=https://six.blob.core.windows.net/;SharedAccessSignature=sig=x"},
			"abfs://container@six.dfs.core.windows.net/p"},
	} {
		setenv(t, c.known)
		loc, err := backend.ParseLocation(c.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := azure.Complete(loc).String(); got != c.want {
			t.Errorf("%s with %v: %s, want %s", c.path, c.known, got, c.want)
		}
	}
}

// What asks for fewer requests, or is out of order, is asked again, and may heal; what
// refuses is asked once.
func TestCallsFailAsTheServerMeans(t *testing.T) {
	setenv(t, map[string]string{"AZURE_STORAGE_KEY": secret})
	for _, c := range []struct {
		status int
		code   string
		kind   error
		asked  int32
	}{
		{403, "AuthorizationPermissionMismatch", backend.ErrDenied, 1},
		{404, "ContainerNotFound", backend.ErrNoBucket, 1},
		{409, "BlobImmutableDueToPolicy", backend.ErrDenied, 1},
		{412, "LeaseIdMissing", nil, 1},
		{413, "RequestBodyTooLarge", backend.ErrTooLarge, 1},
		{429, "TooManyRequests", nil, 4},
		{503, "ServerBusy", nil, 4},
	} {
		url, asked := answering(t, c.status, c.code, "in words")
		s, err := tryOpen(t, url, azure.Options{SkipCheck: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Put(t.Context(), "a", contentOf("x"), backend.PutOptions{})
		wantAdvice(t, err, c.kind, c.code)
		if asked.Load() != c.asked {
			t.Errorf("%s: asked %d times, want %d", c.code, asked.Load(), c.asked)
		}
	}
}

// New objects are placed as the options say, and none of what Azure cannot do is taken.
func TestNewObjectsAreWhereTheOptionsSay(t *testing.T) {
	setenv(t, map[string]string{"AZURE_STORAGE_KEY": secret})
	for tier, text := range map[string]string{"archive": "cannot be read back", "STANDARD_IA": "Hot, Cool and Cold"} {
		wantAdvice(t, openErr(t, "abfs://acct@h:1/container", azure.Options{Placement: azure.Placement{AccessTier: tier}}), backend.ErrConfig, text)
	}
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.WriteHeader(http.StatusCreated)
	}))
	t.Cleanup(server.Close)
	s, err := tryOpen(t, "abfs://account@"+strings.TrimPrefix(server.URL, "http://")+"/container?enable_tls=false",
		azure.Options{SkipCheck: true, Placement: azure.Placement{AccessTier: "cool", EncryptionScope: "scope1", Tags: "team=a&project=b%20c"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a", contentOf("x"), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"x-ms-access-tier": "Cool", "x-ms-encryption-scope": "scope1", "x-ms-meta-crc32c": "a93c5f93", "x-ms-content-crc64": ""} {
		if v := got.Get(name); v != want && (want != "" || v == "") {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if tags := got.Get("x-ms-tags"); !strings.Contains(tags, "team=a") || !strings.Contains(tags, "project=b") {
		t.Errorf("tags %q", tags)
	}
}

func contentOf(s string) backend.Content {
	return backend.Content{R: strings.NewReader(s), Size: int64(len(s)), CRC32C: crc32c.Checksum([]byte(s))}
}
