package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func httpGet(t *testing.T, url string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s\n%s", url, resp.Status, body)
	}
	return string(body)
}

// What an operator sees from outside is what has happened.
func TestMetricsAndStatusPageOfAMount(t *testing.T) {
	t.Parallel()
	s := s3Store(t)
	m := s.mount(t, "metrics=0")
	var st struct{ Metrics string }
	must(t, json.Unmarshal([]byte(run(t, m.env, trainfs, "status", "--json", m.dir).output), &st))
	if !strings.HasPrefix(st.Metrics, "http://127.0.0.1:") {
		t.Fatalf("status says metrics are at %q", st.Metrics)
	}
	dir := mkdir(t, filepath.Join(m.dir, "run/trial/checkpoint_000001"))
	write(t, filepath.Join(dir, "model.pt"), strings.Repeat("x", 100_000))
	m.wait("run")

	text := httpGet(t, st.Metrics+"/metrics")
	value := func(series string) string {
		found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("no %s in\n%s", series, text)
		}
		return found[1]
	}
	for series, want := range map[string]string{
		`trainfs_dirty_bytes`: "0", `trainfs_units{state="dirty"}`: "0", `trainfs_oldest_uncommitted_seconds`: "0",
		`trainfs_store_reachable`: "1", `trainfs_units_failing{kind="permanent"}`: "0",
	} {
		if got := value(series); got != want {
			t.Errorf("%s is %s, want %s", series, got, want)
		}
	}
	for _, series := range []string{
		`trainfs_upload_bytes_total`, `trainfs_store_requests_total{op="put",result="ok"}`,
		`trainfs_fuse_operation_seconds_count{op="flush"}`, `trainfs_store_request_seconds_count{op="put"}`, `trainfs_cache_bytes`,
	} {
		if got := value(series); got == "0" {
			t.Errorf("%s is 0 after an upload", series)
		}
	}
	page := httpGet(t, st.Metrics+"/status.json")
	if !strings.Contains(page, `"name":"checkpoint_000001","state":"committed"`) {
		t.Errorf("the page does not know the checkpoint: %s", page)
	}
	if !strings.Contains(httpGet(t, st.Metrics+"/"), "page.js") {
		t.Error("no page")
	}
}

// A place that is taken is named before anything is mounted.
func TestMountFailsWhereMetricsCannotListen(t *testing.T) {
	t.Parallel()
	s := fileStore(t)
	first := s.mount(t, "metrics=0")
	var st struct{ Metrics string }
	must(t, json.Unmarshal([]byte(run(t, first.env, trainfs, "status", "--json", first.dir).output), &st))
	for option, want := range map[string]string{
		"metrics=" + strings.TrimPrefix(st.Metrics, "http://"): "choose another with metrics=",
		"metrics=yes":                 "option metrics=yes",
		"metrics=unix:/nonexistent/m": "choose another with metrics=",
	} {
		m := s.unmounted(t, option)
		r := m.tryStart()
		if r.code == 0 || !strings.Contains(r.output, want) {
			t.Errorf("%s: exit code %d, %s", option, r.code, r.output)
		}
		if isMounted(m.dir) {
			t.Errorf("%s: mounted all the same", option)
		}
	}
}
