package monitor

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/trainfs/trainfs/backend/mem"
)

// packaged reads a file of the module.
func packaged(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shownMetrics are the names that a scrape has.
func shownMetrics(t *testing.T) map[string]bool {
	t.Helper()
	m := NewMetrics("v1")
	m.Watch(fakeMount{})
	m.Store(mem.New())
	m.ObserveFUSE("read", 1)
	m.store.WithLabelValues("get").Observe(1)
	names := map[string]bool{"trainfs_store_requests_total": true} // none was made
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		names[f.GetName()] = true
	}
	return names
}

func TestAlertsAndDashboardAskForMetricsThatThereAre(t *testing.T) {
	there := shownMetrics(t)
	asked := regexp.MustCompile(`trainfs_[a-z_]+`)
	for _, path := range []string{"packaging/prometheus/alerts.yaml", "packaging/grafana/dashboard.json", "docs/operating.md"} {
		names := asked.FindAllString(packaged(t, path), -1)
		if len(names) == 0 {
			t.Errorf("%s asks for nothing", path)
		}
		for _, name := range names {
			if !there[strings.TrimSuffix(name, "_bucket")] {
				t.Errorf("%s asks for %s, which the program does not have", path, name)
			}
		}
	}
}

func TestEveryAlertHasItsParagraphInTheRunbook(t *testing.T) {
	runbook := packaged(t, "docs/operating.md")
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(packaged(t, "packaging/prometheus/alerts.yaml"), -1)
	if len(alerts) == 0 {
		t.Error("no alerts")
	}
	for _, alert := range alerts {
		if !strings.Contains(runbook, "**"+alert[1]+"** — ") {
			t.Errorf("docs/operating.md says nothing of %s", alert[1])
		}
	}
}

// TestMetricsPassPromtool is run by scripts/alerts-test.
func TestMetricsPassPromtool(t *testing.T) {
	promtool := os.Getenv("TRAINFS_PROMTOOL")
	if promtool == "" {
		t.Skip("TRAINFS_PROMTOOL names none: make alerts-test fetches it")
	}
	m := NewMetrics("v1")
	m.Watch(fakeMount{})
	m.Store(mem.New())
	m.ObserveFUSE("read", 1)
	m.store.WithLabelValues("get").Observe(1)
	w := httptest.NewRecorder()
	(&Server{}).routes(m, nil).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	cmd := exec.Command(promtool, "check", "metrics")
	cmd.Stdin = w.Body
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
