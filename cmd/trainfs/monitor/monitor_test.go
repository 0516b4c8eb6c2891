package monitor

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fakeMount struct {
	gauges cache.Gauges
	held   Held
}

func (f fakeMount) Gauges() cache.Gauges { return f.gauges }
func (f fakeMount) Held() Held           { return f.held }

// hostile is a name that tries to be markup, and to turn the writing round.
const hostile = "run<img src=x onerror=document.title='owned'>\u202e\x1b[31m&amp;"

// busyPage shows one of everything.
func busyPage() Page {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	st := cache.Status{
		Source: "s3://bucket/run1", MountPoint: "/mnt/train", Node: "n1", Version: "v1", Started: ago(5 * time.Hour),
		StoreReachable: true, BytesLeft: 3 << 30, UploadRate: 80 << 20, BytesUploaded: 700 << 30, BytesFetched: 1 << 30,
		UnitsByState: map[cache.State]int{cache.StateUploading: 1, cache.StateDirty: 1, cache.StateTorn: 1, cache.StateSealed: 1},
		OldestDirty:  ago(90 * time.Second),
		Units: []cache.UnitStatus{
			{Path: "exp/trial_1/checkpoint_000012", State: cache.StateUploading, Files: 8, Bytes: 4 << 30, BytesDone: 1 << 30, Since: ago(90 * time.Second)},
			{Path: "exp/trial_1/result.json", State: cache.StateDirty, Files: 1, Bytes: 2048, Since: ago(2 * time.Second), Reason: "open for writing"},
			{Path: "exp/trial_2/checkpoint_000003", State: cache.StateTorn, Files: 2, Bytes: 1 << 20, Since: ago(3 * time.Hour), Reason: "model.pt was half written"},
			{Path: "exp/" + hostile + "/checkpoint_000001", State: cache.StateSealed, Files: 1, Bytes: 5, Attempts: 4, Permanent: true, Since: ago(time.Hour), Reason: "access denied: <script>document.title='owned'</script>"},
		},
	}
	here := []cache.CacheUnit{
		{Path: "exp/trial_1/checkpoint_000011", Bytes: 4 << 30, Files: 8, LastUsed: ago(10 * time.Minute)},
		{Path: "exp/trial_1/checkpoint_000012", Bytes: 4 << 30, Files: 8, LastUsed: ago(time.Minute)},
	}
	return NewPage(st, here, cache.Gauges{CacheBytes: 40 << 30, CacheLimit: 100 << 30, DiskFree: 1 << 40}, now)
}

func serve(t *testing.T, a Address, m *Metrics, page func() Page) *Server {
	t.Helper()
	s, err := Listen(a, m, page, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func get(t *testing.T, client *http.Client, url string, header ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

var loopback = Address{"tcp", "127.0.0.1:0"}

// oneShot keeps no connection open, which goleak would find.
var oneShot = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func workingMetrics(t *testing.T) *Metrics {
	t.Helper()
	m := NewMetrics("v1.2.3")
	store := m.Store(mem.New())
	ctx := context.Background()
	if _, err := store.Put(ctx, "a", backend.Content{R: strings.NewReader("12345"), Size: 5, CRC32C: 0x18d12335}, backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Head(ctx, "missing"); err == nil {
		t.Fatal("no error")
	}
	m.ObserveFUSE("flush", 3*time.Millisecond)
	m.Watch(fakeMount{
		cache.Gauges{
			Units: map[cache.State]int{cache.StateDirty: 2, cache.StateTorn: 1}, Transient: 1, Permanent: 1,
			LeftBytes: 77, Deletions: 3, Oldest: time.Now().Add(-time.Minute), Retries: 9, Evicted: 4,
			CacheBytes: 10, CacheLimit: 20, DiskFree: 30, MinFree: 5, Full: true, LostFound: 1, HiddenKeys: 2,
		}, Held{2, 5 * time.Second},
	})
	return m
}

func TestMetricsPassPrometheusLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(workingMetrics(t).registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "trainfs_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestMetricsTellTheMount(t *testing.T) {
	s := serve(t, loopback, workingMetrics(t), busyPage)
	resp, text := get(t, oneShot, s.Address().String()+"/metrics", "Accept", "application/openmetrics-text; version=1.0.0")
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/openmetrics-text") {
		t.Errorf("Content-Type %s", kind)
	}
	for _, want := range []string{
		`trainfs_units{state="dirty"} 2`, `trainfs_units{state="sealed"} 0`, `trainfs_units{state="torn"} 1`,
		`trainfs_units_failing{kind="permanent"} 1`, `trainfs_units_failing{kind="transient"} 1`,
		`trainfs_dirty_bytes 77`, `trainfs_deletions_pending 3`, `trainfs_oldest_uncommitted_seconds 6`,
		`trainfs_trackers_held 2`, `trainfs_tracker_hold_seconds 5`,
		`trainfs_cache_bytes 10`, `trainfs_cache_limit_bytes 20`, `trainfs_cache_disk_free_bytes 30`, `trainfs_cache_full 1`,
		`trainfs_store_reachable 0`, `trainfs_retries_total 9`, `trainfs_evicted_files_total 4`,
		`trainfs_store_requests_total{op="put",result="ok"} 1`, `trainfs_store_requests_total{op="head",result="answered"} 1`,
		`trainfs_upload_bytes_total 5`, `trainfs_download_bytes_total 0`,
		`trainfs_store_request_seconds_count{op="put"} 1`, `trainfs_fuse_operation_seconds_count{op="flush"} 1`,
		`trainfs_build_info{version="v1.2.3"} 1`, "\n# EOF\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

func TestPageNeedsNothingFromElsewhere(t *testing.T) {
	s := serve(t, loopback, NewMetrics("v1"), busyPage)
	for _, name := range []string{"/", "/page.css", "/page.js"} {
		resp, text := get(t, oneShot, s.Address().String()+name)
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", name, resp.Status)
		}
		if strings.Contains(text, "http://") || strings.Contains(text, "https://") || strings.Contains(text, `"//`) {
			t.Errorf("%s names another server", name)
		}
		if strings.Contains(text, "innerHTML") {
			t.Errorf("%s makes markup of data", name)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", name, csp)
		}
	}
}

func TestPageShowsTrialsAndErrors(t *testing.T) {
	s := serve(t, loopback, NewMetrics("v1"), busyPage)
	resp, text := get(t, oneShot, s.Address().String()+"/status.json")
	if resp.Header.Get("Content-Type") != "application/json" {
		t.Error(resp.Header)
	}
	for _, bad := range []string{"\u202e", `\u202e`, "\x1b", `\u001b`} {
		if strings.Contains(text, bad) {
			t.Errorf("%q is in it", bad)
		}
	}
	var p Page
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Trials) != 3 || p.Trials[0].Path != "exp/trial_1" {
		t.Fatalf("%+v", p.Trials)
	}
	var rows []string
	for _, u := range p.Trials[0].Units {
		rows = append(rows, u.Name+" "+string(u.State))
	}
	if got := strings.Join(rows, ", "); got != "result.json dirty, checkpoint_000012 uploading, checkpoint_000011 committed" {
		t.Error(got)
	}
	if len(p.Errors) != 2 {
		t.Errorf("%+v", p.Errors)
	}
}

func TestPageIsBounded(t *testing.T) {
	var here []cache.CacheUnit
	for i := range 3000 {
		here = append(here, cache.CacheUnit{Path: "t" + strings.Repeat("x", i%100) + "/checkpoint_" + strings.Repeat("1", i/100+1)})
	}
	p := NewPage(cache.Status{}, here, cache.Gauges{}, time.Now())
	if len(p.Trials) != shownTrials || p.MoreTrials != 100-shownTrials {
		t.Errorf("%d trials, %d more", len(p.Trials), p.MoreTrials)
	}
	if n := len(p.Trials[0].Units); n != shownCheckpoints || p.Trials[0].More != 30-shownCheckpoints {
		t.Errorf("%d checkpoints, %d more", n, p.Trials[0].More)
	}
}

func TestPageIsWorkedOutOnceASecondAtMost(t *testing.T) {
	made := 0
	m := memo{make: func() Page { made++; return Page{} }}
	for range 50 {
		m.get()
	}
	if made > 10 { // fifty calls take seconds only on a machine that stands still
		t.Errorf("made %d times", made)
	}
}

// A page on the web may have a name that leads to 127.0.0.1, and its script could read what
// is here.
func TestForeignHostNamesAreRefusedOnLoopback(t *testing.T) {
	s := serve(t, loopback, NewMetrics("v1"), busyPage)
	for host, want := range map[string]int{"evil.example": 421, "evil.example:9464": 421, "localhost:1": 200, "127.0.0.1": 200, "[::1]:7": 200} {
		if resp, _ := get(t, oneShot, s.Address().String()+"/status.json", "Host", host); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", host, resp.Status, want)
		}
	}
	if resp, err := oneShot.Post(s.Address().String()+"/status.json", "text/plain", nil); err != nil {
		t.Error(err)
	} else if resp.Body.Close(); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Error(resp.Status)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.sock")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Address{"unix", path}, NewMetrics("v1"), busyPage, slog.Default()); err == nil || !strings.Contains(err.Error(), "another program listens") {
		t.Errorf("on a socket in use: %v", err)
	}
	old.SetUnlinkOnClose(false) // as of a daemon that was killed
	old.Close()
	serve(t, Address{"unix", path}, workingMetrics(t), busyPage)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	if _, text := get(t, client, "http://trainfs/metrics"); !strings.Contains(text, "trainfs_dirty_bytes 77") {
		t.Error(text)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", fi, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(Address{"unix", file}, NewMetrics("v1"), busyPage, slog.Default()); err == nil {
		t.Error("took the place of a file")
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Errorf("%q", b)
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"9464": "http://127.0.0.1:9464", "0": "http://127.0.0.1:0", "localhost:1": "http://127.0.0.1:1", "[::1]:9464": "http://[::1]:9464",
		"0.0.0.0:80": "http://0.0.0.0:80", "unix:/run/x.sock": "unix:/run/x.sock", "/run/x.sock": "unix:/run/x.sock",
		"": "", "on": "", "65536": "", "-1": "", "host:9": "", "unix:x": "", "127.0.0.1:": "", ":80": "", "127.0.0.1:http": "", "1.2.3.4:5:6": "",
	} {
		a, err := ParseAddress(text)
		if got := a.String(); err != nil && want != "" || err == nil && got != want {
			t.Errorf("%q: %s %v, want %q", text, got, err, want)
		}
	}
	for text, want := range map[string]bool{"1": true, "[::1]:2": true, "0.0.0.0:3": false, "10.0.0.1:4": false, "/x": true} {
		if a, _ := ParseAddress(text); a.Local() != want {
			t.Errorf("%s: local %v", text, a.Local())
		}
	}
}
