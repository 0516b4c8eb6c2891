package s3_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/s3"
	"github.com/trainfs/trainfs/backend/storetest/versitygw"
)

const testSecret = "hunter2SecretKey"

func setCredentials(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": testSecret, "AWS_SESSION_TOKEN": "",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
}

func openErr(t *testing.T, url string) error {
	t.Helper()
	loc, err := backend.ParseLocation(url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), loc, s3.Options{CheckTimeout: 5 * time.Second})
	if err == nil {
		s.Close()
	}
	return err
}

func wantAdvice(t *testing.T, err, kind error, advice string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(err.Error(), advice) {
		t.Errorf("error %v, want %v and %q", err, kind, advice)
	}
	if strings.Contains(err.Error(), testSecret) {
		t.Errorf("the error tells the secret: %v", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	server := versitygw.Start(t)
	server.Setenv(t)
	missing := strings.Replace(server.URL("p"), "//"+server.Bucket, "//no-such-bucket", 1)
	wantAdvice(t, openErr(t, missing), backend.ErrNoBucket, `bucket "no-such-bucket" does not exist at http://127.0.0.1`)

	t.Setenv("AWS_SECRET_ACCESS_KEY", testSecret)
	wantAdvice(t, openErr(t, server.URL("p")), backend.ErrDenied, "with the credentials from EnvConfigCredentials")

	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	wantAdvice(t, openErr(t, server.URL("p")), backend.ErrConfig, "set AWS_PROFILE")
}

func TestOpenSaysThatNobodyAnswers(t *testing.T) {
	setCredentials(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	err = openErr(t, "s3://b/p?endpoint_override=http://"+addr)
	wantAdvice(t, err, backend.ErrConfig, "http://"+addr+" does not answer")
	wantAdvice(t, err, backend.ErrUnreachable, "endpoint_override=")
}

func TestOpenSaysWhichRegionIsRight(t *testing.T) {
	setCredentials(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "eu-west-1")
		w.WriteHeader(http.StatusMovedPermanently)
		w.Write([]byte("<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>"))
	}))
	defer server.Close()
	wantAdvice(t, openErr(t, "s3://b/p?region=us-west-2&endpoint_override="+server.URL), backend.ErrConfig,
		`bucket "b" is in region eu-west-1, not us-west-2`)
}

// fake opens a store at a server that answers everything with handler.
func fake(t *testing.T, handler http.HandlerFunc, change ...func()) *s3.Store {
	t.Helper()
	setCredentials(t)
	for _, f := range change {
		f()
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	loc, err := backend.ParseLocation("s3://b/p?endpoint_override=" + server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.Open(t.Context(), loc, s3.Options{SkipCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
