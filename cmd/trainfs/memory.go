package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The collector of Go lets garbage grow until it is as much as what is in use. That is right
// for a small heap, and costs little; but a daemon that knows a million names has much that
// stays, and shares its machine with programs that want the memory.

const (
	usualPercent = 100
	leastPercent = 20
	mostGarbage  = 32 << 20 // bytes; that is how much a busy daemon makes in some tenths of a second
)

// boundGarbage keeps garbage below mostGarbage, or leastPercent of what is in use if that is
// more, for as long as this process runs. GOGC and GOMEMLIMIT count as ever: who sets GOGC
// wants it so.
func boundGarbage() {
	if os.Getenv("GOGC") == "" {
		watchCollector(usualPercent)
	}
}

// watchCollector is called after each collection, by the finalizer of an object that nothing
// refers to.
func watchCollector(now int) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if percent := garbagePercent(live[0].Value.Uint64()); percent != now {
		now = percent
		debug.SetGCPercent(now)
	}
	type sentinel struct{ _ *byte } // a pointer, so that it is not packed with others
	runtime.SetFinalizer(&sentinel{}, func(*sentinel) { watchCollector(now) })
}

// garbagePercent is how much garbage there may be for so much that is in use.
func garbagePercent(live uint64) int {
	return max(leastPercent, min(usualPercent, int(mostGarbage*100/max(live, 1))))
}
