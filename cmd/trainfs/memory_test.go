package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestGarbageIsBoundedWhereMuchIsInUse(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 1 << 20: 100, 32 << 20: 100, 64 << 20: 50, 128 << 20: 25, 4 << 30: leastPercent} {
		if got := garbagePercent(live); got != want {
			t.Errorf("%d bytes in use: %d%%, want %d%%", live, got, want)
		}
	}
}

// The bound follows what is in use, up and down.
func TestCollectorFollowsWhatIsInUse(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(usualPercent)
	defer debug.SetGCPercent(before)
	boundGarbage()
	percent := func() int {
		now := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(now)
		return int(now[0].Value.Uint64())
	}
	becomes := func(what string, is func(int) bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !is(percent()); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: %d%%", what, percent())
			}
			runtime.GC()
		}
	}
	names := make([]byte, 200<<20)
	becomes("with 200 MiB in use", func(p int) bool { return p == leastPercent })
	runtime.KeepAlive(names)
	becomes("with little in use", func(p int) bool { return p == usualPercent })
}
