package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/cache"
)

func TestStatusTableShowsWhatIsLeftAndWhy(t *testing.T) {
	now := time.Unix(10_000, 0)
	st := &mountStatus{CacheSize: 1 << 30, CacheFull: true, ReadOnly: true, StoreLimits: []string{"one may replace the other's"}, Status: cache.Status{
		Source: "s3://b/p", MountPoint: "/mnt/t", CacheDir: "/c", PID: 7, Version: "v1", Node: "n1", Started: now.Add(-time.Hour),
		StoreError: "dial\ntcp: refused", PassthroughReason: "no CAP_SYS_ADMIN",
		Units: []cache.UnitStatus{
			{Path: "exp/checkpoint_1", State: cache.StateUploading, Files: 4, Bytes: 1 << 30, BytesDone: 1 << 28, Since: now.Add(-90 * time.Second)},
			{Path: "exp/evil\x1b[2J", State: cache.StateTorn, Reason: "model.pt was open"},
		},
		UnitsByState: map[cache.State]int{cache.StateUploading: 1, cache.StateTorn: 1}, BytesLeft: 3 << 28, Deletions: 2,
		OldestDirty: now.Add(-90 * time.Second), HiddenKeys: 1, LostFound: 2, CacheBytes: 1 << 29,
	}}
	var out bytes.Buffer
	if err := writeStatus(&out, st, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"s3://b/p on /mnt/t", "NOT REACHABLE: dial?tcp: refused", "768.0 MiB (1 torn, 1 uploading, 2 deletions), oldest since 1m30s",
		"25%", "1.0 GiB", "model.pt was open", "off: no CAP_SYS_ADMIN", "1 remote key", "2 files in /c/lost+found",
		"512.0 MiB of 1.0 GiB used (50%)", "FULL", "/mnt/t, read-only", "one may replace the other's",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a name got at the terminal")
	}
}

func TestStatusTableIsBounded(t *testing.T) {
	st := &mountStatus{Status: cache.Status{StoreReachable: true, Units: make([]cache.UnitStatus, 100)}}
	var out bytes.Buffer
	if err := writeStatus(&out, st, time.Now()); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n > shownUnits+20 || !strings.Contains(out.String(), "60 units more") {
		t.Errorf("%d lines\n%s", n, out.String())
	}
}
