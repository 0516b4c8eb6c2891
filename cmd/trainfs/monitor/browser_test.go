package monitor

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPageInABrowser looks at the page as a phone does. It runs where TRAINFS_CHROMIUM names
// a Chromium (make page-test); TRAINFS_SCREENSHOT is where to leave the picture.
func TestPageInABrowser(t *testing.T) {
	chromium := os.Getenv("TRAINFS_CHROMIUM")
	if chromium == "" {
		t.Skip("TRAINFS_CHROMIUM is not set: make page-test sets it")
	}
	s := serve(t, loopback, workingMetrics(t), busyPage)
	picture := os.Getenv("TRAINFS_SCREENSHOT")
	if picture == "" {
		picture = filepath.Join(t.TempDir(), "page.png")
	}
	look := func(what string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
			"--user-data-dir="+t.TempDir(), "--window-size=500,1500", "--virtual-time-budget=5000", what, s.Address().String()+"/")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	dom := look("--dump-dom")
	for _, want := range []string{
		"s3://bucket/run1 on /mnt/train", "checkpoint_000012", "uploading", "1.0 GiB of 4.0 GiB", "checkpoint_000011", "committed",
		"80.0 MiB/s", "half written", "40.0 GiB", "&lt;img src=x", "&lt;script&gt;", "(2) /mnt/train",
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	for _, bad := range []string{"<img", "<script>document", "<title>owned", "loading …"} {
		if strings.Contains(dom, bad) {
			t.Errorf("the page has %q in it", bad)
		}
	}
	if t.Failed() {
		t.Log(dom)
	}
	look("--screenshot=" + picture)
	if fi, err := os.Stat(picture); err != nil || fi.Size() < 5000 {
		t.Errorf("no picture: %v", err)
	}
}
