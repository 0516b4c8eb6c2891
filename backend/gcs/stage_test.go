package gcs_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
	"github.com/trainfs/trainfs/backend/gcs"
	"github.com/trainfs/trainfs/backend/storetest/fakegcs"
)

// staged gives a stage with all its parts, of one byte each.
func staged(t *testing.T, s *gcs.Store, key, data string) (backend.Stage, []backend.Part) {
	t.Helper()
	st, err := s.BeginStage(t.Context(), key, int64(len(data)), 1, backend.Attr{})
	if err != nil {
		t.Fatal(err)
	}
	var parts []backend.Part
	for n := 1; n <= len(data); n++ {
		p, err := s.PutPart(t.Context(), st, n, content(data[n-1:n]))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	return st, parts
}

func read(t *testing.T, s *gcs.Store, key string) string {
	t.Helper()
	body, _, err := s.Get(t.Context(), key, backend.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestMorePartsThanOneCompositionTakes(t *testing.T) {
	s := open(t, fakegcs.Start(t).URL("p"))
	defer s.Close()
	data := ""
	for i := range 33*32 + 1 { // three levels
		data += string(rune('a' + i%26))
	}
	st, parts := staged(t, s, "a", data)
	if _, err := s.PublishStage(t.Context(), st, parts, crc32c.Checksum([]byte(data)), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := read(t, s, "a"); got != data {
		t.Errorf("published %d bytes that are not those put", len(got))
	}
	if stages, err := s.ListStages(t.Context(), ""); err != nil || len(stages) > 0 {
		t.Errorf("left in staging: %+v, %v", stages, err)
	}
}

// A publish whose answer is lost may be repeated much later, by another process. It must
// not bring its version back over one that was put since.
func TestAPublishRepeatedAfterACrashOverwritesNothingNewer(t *testing.T) {
	server := fakegcs.Start(t)
	target, err := url.Parse(server.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	var dead atomic.Bool // from the composition on, as far as the client can tell
	forward := httputil.NewSingleHostReverseProxy(target)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/compose") {
			dead.Store(true)
			forward.ServeHTTP(httptest.NewRecorder(), r)
		}
		if dead.Load() {
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	through := open(t, "gs://bucket/p?endpoint_override="+proxy.URL)
	defer through.Close()
	s := open(t, server.URL("p"))
	defer s.Close()

	if _, err := s.Put(t.Context(), "a", content("before"), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	st, parts := staged(t, through, "a", "mine")
	crc := crc32c.Checksum([]byte("mine"))
	if _, err := through.PublishStage(t.Context(), st, parts, crc, backend.PutOptions{}); err == nil || backend.Permanent(err) {
		t.Fatalf("publish without an answer: %v", err)
	}
	if got := read(t, s, "a"); got != "mine" {
		t.Fatalf("the server has %q", got)
	}
	if _, err := s.Put(t.Context(), "a", content("since"), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PublishStage(t.Context(), st, parts, crc, backend.PutOptions{}); !errors.Is(err, backend.ErrNoStage) {
		t.Errorf("publish again: %v", err)
	}
	if got := read(t, s, "a"); got != "since" {
		t.Errorf("the server has %q", got)
	}
}

// What a crash in the middle of tidying up leaves has to be found by whoever tidies up next.
func TestPartsWithoutTheirStageAreListedAndCanBeAborted(t *testing.T) {
	server := fakegcs.Start(t)
	s := open(t, server.URL("p"))
	defer s.Close()
	st, _ := staged(t, s, "d/ü", "ab")
	header := fmt.Sprintf("%s/storage/v1/b/bucket/o/%s", server.Endpoint, url.PathEscape("p/.trainfs/v1/staging/"+st.ID+"/stage"))
	request, err := http.NewRequest(http.MethodDelete, header, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil || answer.StatusCode >= 300 {
		t.Fatalf("%v, %v", answer, err)
	}
	if _, err := s.StagedParts(t.Context(), st); !errors.Is(err, backend.ErrNoStage) {
		t.Errorf("staged parts: %v", err)
	}
	stages, err := s.ListStages(t.Context(), "d/")
	if err != nil || len(stages) != 1 || stages[0].Key != "d/ü" {
		t.Fatalf("stages: %+v, %v", stages, err)
	}
	if err := s.AbortStage(t.Context(), stages[0]); err != nil {
		t.Fatal(err)
	}
	if stages, err = s.ListStages(t.Context(), ""); err != nil || len(stages) > 0 {
		t.Errorf("left: %+v, %v", stages, err)
	}
}

func TestAStageIDFromAJournalIsNoKey(t *testing.T) {
	s := open(t, fakegcs.Start(t).URL("p"))
	defer s.Close()
	if _, err := s.Put(t.Context(), "x/stage", content("x"), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"", "../../../x", "/x", "x"} {
		st := backend.Stage{Key: "a", ID: id, Size: 1, PartSize: 1}
		if _, err := s.StagedParts(t.Context(), st); !errors.Is(err, backend.ErrNoStage) {
			t.Errorf("%q: %v", id, err)
		}
		if err := s.AbortStage(t.Context(), st); err != nil {
			t.Errorf("abort %q: %v", id, err)
		}
	}
	if got := read(t, s, "x/stage"); got != "x" {
		t.Errorf("x/stage has %q", got)
	}
}

func TestNoKeyReachesTheStaging(t *testing.T) {
	s := open(t, fakegcs.Start(t).URL("p"))
	defer s.Close()
	st, _ := staged(t, s, "a", "ab")
	_, err := s.Head(t.Context(), ".trainfs/v1/staging/"+st.ID+"/stage")
	if !errors.Is(err, backend.ErrInvalidKey) {
		t.Errorf("head: %v", err)
	}
	page, err := s.List(t.Context(), backend.ListOptions{})
	if err != nil || len(page.Objects) > 0 {
		t.Errorf("listed: %+v, %v", page, err)
	}
}
