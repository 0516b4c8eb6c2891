package s3_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/storetest/versitygw"
)

func TestABodyThatEndsEarlyIsNoShortSuccess(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Header().Set("ETag", `"x"`)
		w.Write([]byte("only this"))
	})
	body, _, err := s.Get(t.Context(), "a", backend.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if data, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read %q, %v", data, err)
	}
}

func TestAServerThatIgnoresRangesIsFoundOut(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("everything")) })
	if _, _, err := s.Get(t.Context(), "a", backend.GetOptions{Offset: 5}); err == nil {
		t.Error("took the beginning for a range")
	}
	body, obj, err := s.Get(t.Context(), "a", backend.GetOptions{Length: 5})
	if err != nil || obj.Size != 10 {
		t.Fatalf("%+v, %v", obj, err)
	}
	defer body.Close()
	if data, err := io.ReadAll(body); err != nil || string(data) != "every" {
		t.Errorf("read %q, %v", data, err)
	}
}

func TestAnErrorIn200IsAnError(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte(`<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>m</Message></Error>`))
	})
	st := backend.Stage{Key: "a", ID: "x", Size: 1, PartSize: 5 << 20}
	_, err := s.PublishStage(t.Context(), st, []backend.Part{{Number: 1, Size: 1, ETag: "e"}}, 0, backend.PutOptions{})
	if err == nil || backend.Permanent(err) {
		t.Errorf("publish: %v", err)
	}
}

func TestThrottlingIsTriedAFewTimesAndHeals(t *testing.T) {
	var calls atomic.Int64
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("ETag", `"x"`)
	})
	c := backend.Content{R: strings.NewReader("x"), Size: 1, CRC32C: crc32c.Checksum([]byte("x"))}
	if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err != nil || calls.Load() != 3 {
		t.Errorf("%v after %d calls", err, calls.Load())
	}
}

func TestPayloadIsNeitherSignedNorHashedByTheSDK(t *testing.T) {
	var header http.Header
	s := fake(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Clone()
		w.Header().Set("ETag", `"x"`)
	})
	crc := crc32c.Checksum([]byte("x"))
	c := backend.Content{R: strings.NewReader("x"), Size: 1, CRC32C: crc}
	if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := header.Get("X-Amz-Content-Sha256"); got != "UNSIGNED-PAYLOAD" {
		t.Errorf("payload hash %q", got)
	}
	for name := range header {
		if strings.HasPrefix(name, "X-Amz-Checksum-") && name != "X-Amz-Checksum-Crc32c" {
			t.Errorf("the SDK computed %s", name)
		}
	}
}

func TestDeleteNamesTheKeysThatWereRefused(t *testing.T) {
	s := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`<DeleteResult><Error><Key>p/secret/a</Key><Code>AccessDenied</Code></Error>` +
			`<Error><Key>p/gone</Key><Code>NoSuchKey</Code></Error></DeleteResult>`))
	})
	err := s.Delete(t.Context(), "secret/a", "gone", "b")
	if !errors.Is(err, backend.ErrDenied) || !strings.Contains(err.Error(), `"secret/a"`) || strings.Contains(err.Error(), "gone") {
		t.Errorf("delete: %v", err)
	}
}

func TestAnOutageHealsWithoutAnotherOpen(t *testing.T) {
	server := versitygw.Start(t)
	server.Setenv(t)
	s := open(t, server.URL("p"))
	c := backend.Content{R: strings.NewReader("x"), Size: 1, CRC32C: crc32c.Checksum([]byte("x"))}
	server.Stop()
	if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err == nil || backend.Permanent(err) {
		t.Errorf("put into the void: %v", err)
	}
	server.Restart()
	if _, err := s.Put(t.Context(), "a", c, backend.PutOptions{}); err != nil {
		t.Errorf("put after the outage: %v", err)
	}
}
