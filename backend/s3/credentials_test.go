package s3_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/s3"
)

// Keys that have expired, or are wrong, heal by others in ~/.aws, without another mount.
func TestNewKeysInTheFileAreUsedByThemselves(t *testing.T) {
	t.Cleanup(s3.SetRereadAfter(0))
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=NEW/") {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<?xml version="1.0"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>`)
			return
		}
		w.Header().Set("ETag", `"x"`)
	}, func() {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "credentials"))
		keysFile(t, "OLD")
	})
	put := func() error {
		_, err := s.Put(t.Context(), "a", backend.Content{R: strings.NewReader("x"), Size: 1, CRC32C: crc32c.Checksum([]byte("x"))}, backend.PutOptions{})
		return err
	}
	if err := put(); err == nil || backend.Permanent(err) || !strings.Contains(err.Error(), "ExpiredToken") {
		t.Fatalf("with old keys: %v; it may heal, and says what is wrong", err)
	}
	if err := os.Remove(os.Getenv("AWS_SHARED_CREDENTIALS_FILE")); err != nil {
		t.Fatal(err)
	}
	if err := put(); err == nil || !strings.Contains(err.Error(), "ExpiredToken") {
		t.Errorf("while the file is away: %v", err)
	}
	keysFile(t, "NEW")
	if err := put(); err != nil {
		t.Errorf("with new keys: %v", err)
	}
}

// Keys of the environment are those that it had when the store was opened.
func TestKeysOfTheEnvironmentStay(t *testing.T) {
	t.Cleanup(s3.SetRereadAfter(0))
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential=FIRST/") {
			w.WriteHeader(http.StatusForbidden)
		}
		w.Header().Set("ETag", `"x"`)
	}, func() { t.Setenv("AWS_ACCESS_KEY_ID", "FIRST") })
	t.Setenv("AWS_ACCESS_KEY_ID", "SECOND")
	for range 3 {
		if _, err := s.Head(t.Context(), "a"); err != nil {
			t.Error(err)
		}
	}
}

func keysFile(t *testing.T, id string) {
	t.Helper()
	text := "[default]\naws_access_key_id = " + id + "\naws_secret_access_key = " + testSecret + "\n"
	if err := os.WriteFile(os.Getenv("AWS_SHARED_CREDENTIALS_FILE"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
