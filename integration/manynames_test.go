package integration

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// A bucket with more names than a real server could be filled with in a test.

// vastBucket answers the listings of a bucket with so many objects runs/a/vast/file-0000000,
// and nothing else.
type vastBucket struct{ names int }

type listAnswer struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name, Prefix          string
	KeyCount, MaxKeys     int
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listedObject
	CommonPrefixes        []listedPrefix
}

type listedObject struct {
	Key, LastModified, ETag, StorageClass string
	Size                                  int64
}

type listedPrefix struct{ Prefix string }

const vastDir = "runs/a/vast/"

func (b vastBucket) key(i int) string { return fmt.Sprintf("%sfile-%07d.safetensors", vastDir, i) }

func (b vastBucket) object(i int) listedObject {
	return listedObject{
		Key: b.key(i), LastModified: time.Unix(1_790_000_000+int64(i), 0).UTC().Format(time.RFC3339),
		ETag: fmt.Sprintf(`"%032x"`, uint64(i)*0x9e3779b97f4a7c15), Size: 8192 + int64(i), StorageClass: "STANDARD",
	}
}

func (b vastBucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if r.Method != http.MethodGet || key != "" || q.Get("list-type") != "2" {
		b.head(w, r, key)
		return
	}
	prefix := q.Get("prefix")
	a := listAnswer{Name: "vast", Prefix: prefix, MaxKeys: 1000}
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil {
		a.MaxKeys = min(n, 1000)
	}
	if q.Get("delimiter") == "/" && strings.HasPrefix(vastDir, prefix) && prefix != vastDir {
		next, _, _ := strings.Cut(vastDir[len(prefix):], "/")
		a.CommonPrefixes = []listedPrefix{{prefix + next + "/"}}
	} else {
		i := sort.Search(b.names, func(i int) bool { return b.key(i) >= prefix })
		if token, err := strconv.Atoi(q.Get("continuation-token")); err == nil {
			i = token
		}
		for ; i < b.names && strings.HasPrefix(b.key(i), prefix); i++ {
			if len(a.Contents) == a.MaxKeys {
				a.IsTruncated, a.NextContinuationToken = true, strconv.Itoa(i)
				break
			}
			a.Contents = append(a.Contents, b.object(i))
		}
	}
	a.KeyCount = len(a.Contents) + len(a.CommonPrefixes)
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(a)
}

func (b vastBucket) head(w http.ResponseWriter, r *http.Request, key string) {
	i := sort.Search(b.names, func(i int) bool { return b.key(i) >= key })
	if r.Method != http.MethodHead || i == b.names || b.key(i) != key {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	o := b.object(i)
	w.Header().Set("ETag", o.ETag)
	w.Header().Set("Content-Length", strconv.FormatInt(o.Size, 10))
	w.Header().Set("Last-Modified", time.Unix(1_790_000_000+int64(i), 0).UTC().Format(http.TimeFormat))
}

// vastStore is a storage path in such a bucket, with the requests that it got.
func vastStore(t *testing.T, names int) *store {
	t.Helper()
	server := httptest.NewServer(vastBucket{names})
	t.Cleanup(server.Close)
	p := newProxy(t, server.URL)
	env := []string{"AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test", "AWS_REGION=us-east-1"}
	return &store{
		t: t, env: env, proxy: p, source: "s3://vast/runs/a?endpoint_override=" + p.url,
		raw: openRaw(t, "s3://vast/runs/a?endpoint_override="+p.url, env),
	}
}

// countNames lists a directory without looking at what is in it.
func countNames(t *testing.T, dir string) (n int) {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	for {
		list, err := f.Readdirnames(10_000)
		if n += len(list); err != nil || len(list) == 0 {
			return n
		}
	}
}

// A large directory is listed in pages, and the mount does other work meanwhile.
func TestLargeDirectoryIsListedInPages(t *testing.T) {
	t.Parallel()
	const n = 20_000
	s := vastStore(t, n)
	m := s.mount(t, "ro", "list_ttl=1m") // a slow machine takes longer than a short one
	stat(t, m.path("vast"))
	atMost(t, fmt.Sprintf("listing %d names", n), s.cost(func() { want(t, "names", countNames(t, m.path("vast")), n) }), n/1000+2)
	st := stat(t, m.path("vast/file-0012345.safetensors"))
	want(t, "size", st.Size, 8192+12345)

	pages := 0
	s.proxy.holdIf(func(r request) bool {
		if r.method == http.MethodGet {
			pages++
		}
		return pages > 5
	})
	done := make(chan struct{})
	other := s.mount(t, "ro")
	go func() { defer close(done); countNames(t, other.path("vast")) }()
	eventually(t, "the listing is under way", func() bool { return s.proxy.holding() > 0 })
	quick(t, "looking at the root meanwhile", func() { stat(t, other.dir) })
	s.proxy.release()
	<-done
}

// TestNamesMeasured prints figures; it is run by make names.
func TestNamesMeasured(t *testing.T) {
	if os.Getenv("TRAINFS_TEST_MEASURE") == "" {
		t.Skip("it measures: see make names")
	}
	plain := filepath.Join(t.TempDir(), "trainfs") // as users have it, without the race detector
	out, err := exec.Command("go", "build", "-o", plain, "../cmd/trainfs").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	race := trainfs
	trainfs = plain
	defer func() { trainfs = race }()
	for _, n := range []int{100_000, 1_000_000} {
		s := vastStore(t, n)
		start := time.Now()
		m := s.mount(t, "ro", "list_ttl=1h")
		mounted := time.Since(start)
		atStart := memory(t, m.daemon().pid)
		stat(t, m.path("vast"))
		var bare, ours []time.Duration
		for range 3 {
			bare = append(bare, took(func() { bareListing(t, s, n) }))
			ours = append(ours, took(func() { want(t, "names", countNames(t, m.path("vast")), n) }))
		}
		sort.Slice(bare, func(i, j int) bool { return bare[i] < bare[j] })
		sort.Slice(ours, func(i, j int) bool { return ours[i] < ours[j] })
		t.Logf("%d names: mounted in %v; ls %v, the SDK's bare listing %v, ratio %.2f (medians of 3)",
			n, mounted.Round(time.Millisecond), ours[1].Round(time.Millisecond), bare[1].Round(time.Millisecond), ours[1].Seconds()/bare[1].Seconds())
		t.Logf("%d names: resident memory of the daemon: %s at the start, then %s", n, atStart, memory(t, m.daemon().pid))
		m.umount()
	}
}

func took(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func bareListing(t *testing.T, s *store, n int) {
	t.Helper()
	got := 0
	for o := (backend.ListOptions{Prefix: "vast/", Shallow: true}); ; {
		page, err := s.raw.List(context.Background(), o)
		must(t, err)
		got += len(page.Objects)
		if o.Token = page.Token; o.Token == "" {
			want(t, "names in the bare listing", got, n)
			return
		}
	}
}

// memory is what a process has of it, now and at most.
func memory(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	value := func(key string) string {
		_, rest, _ := strings.Cut(string(b), key+":")
		line, _, _ := strings.Cut(rest, "\n")
		kb, _ := strconv.Atoi(strings.Fields(line)[0])
		return fmt.Sprintf("%d MB", kb/1000)
	}
	return value("VmRSS") + " (at most " + value("VmHWM") + ")"
}
