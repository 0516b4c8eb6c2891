package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/trainfs/trainfs/cache"
)

func TestPlainProgressIsALineASecond(t *testing.T) {
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	v := &lineView{out: &out, now: func() time.Time { return now }}
	for i := range 25 { // a report every 200 ms, for 5 s
		v.update(cache.Progress{Units: 2, BytesLeft: int64(100-i) << 20, Rate: 5 << 20})
		now = now.Add(200 * time.Millisecond)
	}
	v.update(cache.Progress{Done: true})
	v.update(cache.Progress{Done: true})
	v.close()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines:\n%s", len(lines), out.String())
	}
	if want := "0 B of 100.0 MiB uploaded, 5.0 MiB/s, 2 units left"; lines[0] != want {
		t.Errorf("%q", lines[0])
	}
	if want := "all committed, 100.0 MiB uploaded"; lines[5] != want {
		t.Errorf("%q", lines[5])
	}
}

func TestProgressGrowsWithNewData(t *testing.T) {
	var m meter
	for _, step := range []struct{ left, done, total int64 }{{100, 0, 100}, {60, 40, 100}, {80, 40, 120}, {0, 120, 120}} {
		m.update(step.left)
		if m.done() != step.done || m.total != step.total {
			t.Errorf("%d left: %d of %d", step.left, m.done(), m.total)
		}
	}
}

func TestTroubleIsToldOnce(t *testing.T) {
	var out bytes.Buffer
	v := &lineView{out: &out, now: time.Now}
	p := cache.Progress{Units: 2, Deletions: 1, Torn: []string{"exp/checkpoint_1"}, Stuck: []string{"exp/checkpoint_2: access denied"}}
	v.update(p)
	v.update(p)
	for _, want := range []string{"torn, not uploaded: exp/checkpoint_1\n", "needs help: exp/checkpoint_2: access denied\n", "2 units, 1 deletion left"} {
		if strings.Count(out.String(), want) != 1 {
			t.Errorf("%q in\n%s", want, out.String())
		}
	}
}

func TestBarEndsWhetherDoneOrNot(t *testing.T) {
	for _, done := range []bool{true, false} {
		var out bytes.Buffer
		v := newBarView(&out)
		v.update(cache.Progress{Units: 1, BytesLeft: 100})
		v.update(cache.Progress{Units: 1, BytesLeft: 50, Stuck: []string{"x"}})
		v.update(cache.Progress{Done: done})
		v.close() // or the test hangs, and goleak finds what is left
	}
	newBarView(&bytes.Buffer{}).close()
}

func TestOnlyTornIsAsDurableAsItGets(t *testing.T) {
	for _, tt := range []struct {
		p    cache.Progress
		want bool
	}{
		{cache.Progress{}, false},
		{cache.Progress{Torn: []string{"a"}}, true},
		{cache.Progress{Units: 1, Torn: []string{"a"}}, false},
		{cache.Progress{Torn: []string{"a"}, Deletions: 1}, false},
	} {
		if onlyTorn(tt.p) != tt.want {
			t.Errorf("%+v", tt.p)
		}
	}
}

func TestTextsForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 5 << 40: "5.0 TiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 59 * time.Second: "59s", 61 * time.Second: "1m01s", 3 * time.Hour: "3h00m", 50 * time.Hour: "2d02h"} {
		if got := ageText(d); got != want {
			t.Errorf("%v: %q", d, got)
		}
	}
}
