package plugin

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/storetest"
)

// openAs opens a directory through this program, which misbehaves as said.
func openAs(t *testing.T, how, dir string, o Options) (*Store, error) {
	t.Helper()
	t.Setenv(serveVariable, how)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector's second at the end of each
	o.Program = os.Args[0]
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := Open(t.Context(), backend.Location{Scheme: "plugin", Bucket: "test", Prefix: strings.TrimPrefix(dir, "/")}, o)
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) backend.Store {
		s, err := openAs(t, "right", t.TempDir(), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func put(t *testing.T, s *Store, key, content string) {
	t.Helper()
	_, err := s.Put(t.Context(), key, backend.Content{R: strings.NewReader(content), Size: int64(len(content)), CRC32C: crc32c.Checksum([]byte(content))}, backend.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func get(s *Store, key string) (string, error) {
	r, _, err := s.Get(context.Background(), key, backend.GetOptions{})
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

// Nothing that a plug-in does wrong is taken for content, ends the daemon or holds it up.
func TestPlugInThatMisbehavesIsAnErrorThatMayHeal(t *testing.T) {
	for how, says := range map[string]string{
		"crash":    "last words: out of luck",
		"hang":     "no sign of life",
		"short":    "5 bytes of 6",
		"long":     "7 bytes where 6 were asked for",
		"size":     "6 bytes of 7",
		"key":      `the key "other"`,
		"negative": "a size of -1 bytes",
		"etag":     "no etag",
		"garbage":  "no JSON object",
		"endless":  "a line of more than",
		"huge":     "a body of 1125899906842624 bytes",
		"unknown":  "not today",
	} {
		t.Run(how, func(t *testing.T) {
			o := Options{}
			if how == "hang" {
				o.Timeout = time.Second
			}
			s, err := openAs(t, how, t.TempDir(), o)
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, "file", "inside")
			got, err := get(s, "file")
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("read %q, %v, want an error that says %q", got, err, says)
			}
			if backend.Permanent(err) {
				t.Errorf("%v counts as permanent", err)
			}
			if _, err := s.Head(t.Context(), "file"); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

func TestPlugInThatDiesIsStartedAgain(t *testing.T) {
	t.Setenv("TRAINFS_PLUGIN_ONCE", filepath.Join(t.TempDir(), "once"))
	s, err := openAs(t, "crash-once", t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "file", "inside")
	if _, err := get(s, "file"); err == nil || backend.Permanent(err) {
		t.Errorf("the call that it died in: %v", err)
	}
	if got, err := get(s, "file"); got != "inside" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestPlugInThatWorksMayTakeItsTime(t *testing.T) {
	s, err := openAs(t, "slow", t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "file", "inside")
	s.child.o.Timeout = 300 * time.Millisecond // a sign comes every 20 ms, the answer after 400
	if got, err := get(s, "file"); got != "inside" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCallThatIsGivenUpReturnsAtOnce(t *testing.T) {
	s, err := openAs(t, "hang", t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "file", "inside")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Get(ctx, "file", backend.GetOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := s.Get(ctx, "file", backend.GetOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if _, err := s.Head(t.Context(), "file"); err != nil {
		t.Errorf("others are held up: %v", err)
	}
}

func TestPlugInThatCannotBeUsedSaysWhy(t *testing.T) {
	if _, err := openAs(t, "version", t.TempDir(), Options{}); !errors.Is(err, backend.ErrConfig) || !strings.Contains(err.Error(), "version 7") {
		t.Error(err)
	}
	if _, err := openAs(t, "denied", t.TempDir(), Options{}); !errors.Is(err, backend.ErrDenied) || !strings.Contains(err.Error(), "who are you?") {
		t.Error(err)
	}
	for _, program := range []string{"", "/nowhere/program"} {
		_, err := Open(t.Context(), backend.Location{Scheme: "plugin", Bucket: "nobodys"}, Options{Program: program})
		if !errors.Is(err, backend.ErrConfig) || !strings.Contains(err.Error(), "plug-in") {
			t.Error(err)
		}
	}
}
