package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/faulty"
	"github.com/trainfs/trainfs/backend/mem"
	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/layout"
	"github.com/trainfs/trainfs/uploader"
)

func TestCacheOptionsReachTheCache(t *testing.T) {
	names, err := layout.New(layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		options  string
		size     int64
		free     int64
		full     time.Duration
		prefetch cache.Prefetch
	}{
		{"", 0, 0, time.Minute, cache.PrefetchCheckpoint},
		{"cache-size=2T,min_free=512M,full_timeout=5s,prefetch=file", 2 << 40, 512 << 20, 5 * time.Second, cache.PrefetchFile},
		{"noprefetch,full_timeout=0", 0, 0, time.Nanosecond, cache.PrefetchOff},
		{"prefetch=off", 0, 0, time.Minute, cache.PrefetchOff},
		{"prefetch=on", 0, 0, time.Minute, cache.PrefetchCheckpoint},
	} {
		c, err := resolveConfig(t, "/store", tt.options, testEnviron(nil, 0, "/"))
		if err != nil {
			t.Fatal(err)
		}
		got := cacheConfig(c, "id", mem.New(), names, quietLog())
		if got.CacheSize != tt.size || got.MinFree != tt.free || got.FullTimeout != tt.full || got.Prefetch != tt.prefetch {
			t.Errorf("%q: %+v", tt.options, got)
		}
		up := uploaderConfig(c, quietLog())
		if up.Parallel != 8 || up.PartSize != 16<<20 || up.Hold != 15*time.Minute || got.ControlTimeout != 30*time.Second {
			t.Errorf("%+v, %+v", up, got)
		}
	}
	for _, wrong := range []string{"cache_size=-1", "cache_size=2P", "prefetch=all", "min_free=lots"} {
		if _, err := resolveConfig(t, "/store", wrong, testEnviron(nil, 0, "/")); exitCode(err) != exitUsage {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestCacheTableShowsTheLargestFirstAndWhyTheyStay(t *testing.T) {
	now := time.Unix(10_000, 0)
	r := cache.CacheReport{CacheDir: "/c", Limit: 4 << 30, MinFree: 1 << 30, Used: 3 << 30, Partial: 1 << 30, DiskFree: 9 << 30, Full: true, Evicted: 5}
	for i := range 100 {
		r.Units = append(r.Units, cache.CacheUnit{Path: fmt.Sprintf("small/%02d", i), Bytes: 1 << 20, Files: 1, LastUsed: now.Add(-time.Hour)})
	}
	r.Units = append(r.Units,
		cache.CacheUnit{Path: "run/checkpoint_1", Bytes: 1 << 30, Files: 3, LastUsed: now.Add(-90 * time.Second), Pinned: "not committed yet"},
		cache.CacheUnit{Path: "run/evil\x1b[2J", Bytes: 2 << 30, Files: 1, LastUsed: now, Pinned: "open: run/a"},
		cache.CacheUnit{Path: "run/b", Bytes: 1 << 29, Files: 1, LastUsed: now, Pinned: "open: run/b"})
	a := newCacheAnswer(r)
	a.Source, a.MountPoint = "s3://b/p", "/mnt/t"
	var out bytes.Buffer
	if err := writeCache(&out, &a, now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"s3://b/p on /mnt/t", "4.0 GiB of 4.0 GiB used (100%), in 103 units", "1.0 GiB of it for downloads", "FULL",
		"9.0 GiB free; 1.0 GiB are left free", "2.5 GiB in 2 units: open; 1.0 GiB in 1 unit: not committed yet", "5 files since",
		"open: run/a", "1m30s ago", "… and 63 smaller units more",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a name got at the terminal")
	}
	if a.Units[0].Bytes != 2<<30 || a.Units[3].Path != "small/00" {
		t.Errorf("%+v", a.Units[:4])
	}
	big := newCacheAnswer(cache.CacheReport{Units: make([]cache.CacheUnit, maxCacheUnits+5)})
	if len(big.Units) != maxCacheUnits || big.UnitsTotal != maxCacheUnits+5 || big.Pinned == nil {
		t.Errorf("%d of %d", len(big.Units), big.UnitsTotal)
	}
}

func TestControlCacheEvictPrefetchVerify(t *testing.T) {
	r := startRig(t, func(r *rig) {
		r.s.cfg.CacheSizeBytes = 100
		r.engine.cache = cache.CacheReport{Limit: 100, Used: 50, Units: []cache.CacheUnit{{Path: "a", Bytes: 50}}}
		r.engine.kept = []string{"a: open: a"}
		r.engine.verified = []uploader.VerifiedFile{{Path: "a", Status: uploader.VerifyOK}, {Path: "b", Status: uploader.VerifyMismatch}}
	})
	a, err := r.client.cache(t.Context())
	if err != nil || a.Limit != 100 || len(a.Units) != 1 || a.MountPoint != "/mnt/test" {
		t.Errorf("%+v, %v", a, err)
	}
	e, err := r.client.evict(t.Context(), []string{"a/./b"})
	if want := [][]string{{"a/b"}}; err != nil || e.Freed != 7 || len(e.Kept) != 1 || !reflect.DeepEqual(r.engine.evicted, want) {
		t.Errorf("%+v, %v, %q", e, err, r.engine.evicted)
	}
	var files []string
	var last uploader.VerifyResult
	err = r.client.verify(t.Context(), everything, func(e uploader.VerifyEvent) {
		if last = e.Result; e.File != nil {
			files = append(files, e.File.Path)
		}
	})
	if err != nil || !reflect.DeepEqual(files, []string{"a", "b"}) || last.OK != 1 || last.Bad() != 1 {
		t.Errorf("%q, %+v, %v", files, last, err)
	}
	ctx, leave := context.WithCancel(t.Context())
	if err := r.client.prefetch(ctx, everything, func(prefetchProgress) { leave() }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(r.engine.committed)
	var p prefetchProgress
	if err := r.client.prefetch(t.Context(), everything, func(now prefetchProgress) { p = now }); err != nil || !p.Done || p.Total != 9 {
		t.Errorf("%+v, %v", p, err)
	}
	r.stop()
	r.end(t)
}

func TestTransferLinesAreOneASecond(t *testing.T) {
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	v := &transferLines{out: &out, verb: "fetched", now: func() time.Time { return now }}
	for i := range 25 { // a report every 200 ms, for 5 s
		v.update(transfer{int64(i) << 20, 24 << 20})
		now = now.Add(200 * time.Millisecond)
	}
	v.complete()
	v.close()
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != 6 || got[0] != "0 B of 24.0 MiB fetched, 0 B/s" || !strings.HasSuffix(got[4], "fetched, 5.0 MiB/s") || got[5] != "all fetched, 24.0 MiB" {
		t.Errorf("%q", got)
	}
}

func TestTransferBarEndsWhetherCompleteOrNot(t *testing.T) {
	for _, whole := range []bool{true, false} {
		v := newTransferBar(&bytes.Buffer{})
		v.update(transfer{1, 10})
		if whole {
			v.complete()
		}
		v.close() // or the test hangs, and goleak finds what is left
	}
}

func TestVerifiedFilesAreToldWithinBounds(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	g := &mountPaths{mount: mountPoint{path: "/mnt/t", root: "sub"}}
	v := &verification{out: f, shown: map[uploader.VerifyStatus]int{}}
	tell := func(f uploader.VerifiedFile) { v.file(g, &f) }
	tell(uploader.VerifiedFile{Path: "sub/fine", Status: uploader.VerifyOK})
	for i := range 100 {
		tell(uploader.VerifiedFile{Path: fmt.Sprintf("sub/%d", i), Status: uploader.VerifyUnverified, Reason: "who knows"})
	}
	for range 50 {
		tell(uploader.VerifiedFile{Path: "sub/bad\x1b", Status: uploader.VerifyMismatch, Against: "store", Expected: "1 bytes", Got: "2 bytes"})
	}
	tell(uploader.VerifiedFile{Path: layout.ManifestKey("a", "n"), Status: uploader.VerifyMismatch, Reason: "malformed"})
	v.result = uploader.VerifyResult{OK: 1, Unverified: 100, Mismatch: 51, BytesDone: 1 << 20}
	v.finish(true)
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(b)), "\n")
	if len(got) != shownHarmless+50+1+2 {
		t.Errorf("%d lines\n%s", len(got), b)
	}
	for _, want := range []string{
		"unverified  /mnt/t/0: who knows\n", "mismatch    /mnt/t/bad?: expected 1 bytes (store), got 2 bytes\n",
		"mismatch    .trainfs/v1/units/a/n.json: malformed\n", "… and 80 more that are unverified",
		"152 files: 1 ok, 100 unverified, 51 mismatch, 1.0 MiB\n",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is missing in\n%s", want, b)
		}
	}
}

func TestReadOnlyMountRefusesEveryWrite(t *testing.T) {
	raw := faulty.New(mem.New())
	s := refuseWrites(raw)
	ctx := t.Context()
	if _, err := s.Put(ctx, "a", backend.Content{}, backend.PutOptions{}); !errors.Is(err, backend.ErrDenied) || !errors.Is(err, errReadOnly) {
		t.Errorf("put: %v", err)
	}
	if err := s.Delete(ctx, "a"); !errors.Is(err, backend.ErrDenied) {
		t.Errorf("delete: %v", err)
	}
	if _, err := s.BeginStage(ctx, "a", 1, 1, backend.Attr{}); !errors.Is(err, backend.ErrDenied) {
		t.Errorf("stage: %v", err)
	}
	if n := raw.Calls(faulty.Any); n != 0 {
		t.Errorf("%d calls came through", n)
	}
	if _, err := s.List(ctx, backend.ListOptions{}); err != nil || raw.Calls(backend.OpList) != 1 {
		t.Errorf("list: %v", err)
	}
}

func TestReadOnlyMountWaitsForNothing(t *testing.T) {
	e := newFakeEngine() // whose uploads never end
	ro := readOnlyEngine{e}
	done := false
	if err := ro.Wait(t.Context(), everything, func(p cache.Progress) { done = p.Done }); err != nil || !done {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := ro.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestHelpShowsEveryCommandInItsGroup(t *testing.T) {
	var out bytes.Buffer
	if err := newApp(&out, &out).Run([]string{"trainfs", "--help"}); err != nil {
		t.Fatal(err)
	}
	at := -1
	for _, want := range []string{
		categoryMounts + ":", " mount ", " umount ", categoryUploads + ":", " status ", " wait ", " commit ",
		categoryCache + ":", " cache ", " prefetch ", " evict ", " verify ", categoryProgram + ":", " options ", " version ",
	} {
		i := strings.Index(out.String()[at+1:], want)
		if i < 0 {
			t.Fatalf("%q does not come in its turn in\n%s", want, out.String())
		}
		at += 1 + i
	}
	for _, c := range newApp(nil, nil).Commands {
		if c.Category == "" {
			t.Errorf("%s has no group", c.Name)
		}
	}
}
