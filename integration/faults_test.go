package integration

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trainfs/trainfs/backend/storetest/toxiproxy"
)

// make faults runs the long form.
var (
	faultsTime = flag.Duration("faults.time", 0, "how long each fault lasts, and an outage three times as long; 0: a few of them, for some seconds")
	faultsSeed = flag.Uint64("faults.seed", 0, "what a job writes follows from this; 0: take one and print it")
)

// faultKind is one way in which a network or a store fails.
type faultKind struct {
	kind    string
	outage  bool // nothing goes through
	refusal bool // the store refuses a program that needs its word, with an error (gap G16)
	brief   bool // in the short form too
	start   func(f *faultRun) (end func())
}

// network is a fault that toxiproxy makes.
func network(kind string, toxics ...toxicSpec) faultKind {
	return faultKind{kind: kind, start: func(f *faultRun) func() {
		f.injected.Add(1)
		return toxic("", 0, 0, toxics...).start(f.s, f.network)
	}}
}

func (k faultKind) asOutage() faultKind { k.outage = true; return k }
func (k faultKind) inShort() faultKind  { k.brief = true; return k }
func (k faultKind) refuses() faultKind  { k.refusal = true; return k }

var faultKinds = []faultKind{
	network("latency 200 ms, jitter 200 ms", toxicSpec{"latency", toxiproxy.Down, map[string]int{"latency": 200, "jitter": 200}}),
	network("bandwidth 300 kB/s",
		toxicSpec{"bandwidth", toxiproxy.Up, map[string]int{"rate": 300}}, toxicSpec{"bandwidth", toxiproxy.Down, map[string]int{"rate": 300}}),
	network("small pieces", toxicSpec{"slicer", toxiproxy.Up, map[string]int{"average_size": 3000, "size_variation": 1500, "delay": 300}}),
	network("reset", toxicSpec{"reset_peer", toxiproxy.Up, map[string]int{"timeout": 20}}).asOutage(),
	network("cut after 200 kB sent", toxicSpec{"limit_data", toxiproxy.Up, map[string]int{"bytes": 200_000}}),
	network("cut after 200 kB received", toxicSpec{"limit_data", toxiproxy.Down, map[string]int{"bytes": 200_000}}),
	network("half-open", toxicSpec{"timeout", toxiproxy.Down, map[string]int{"timeout": 0}}).asOutage(),
	network("blackhole",
		toxicSpec{"timeout", toxiproxy.Up, map[string]int{"timeout": 0}}, toxicSpec{"timeout", toxiproxy.Down, map[string]int{"timeout": 0}}).asOutage(),
	{kind: "connections that stay dead", outage: true, brief: true, start: func(f *faultRun) func() {
		f.injected.Add(1)
		return f.front.swallow()
	}},
	{kind: "connections refused", outage: true, start: func(f *faultRun) func() {
		f.injected.Add(1)
		f.network.Enable(false)
		return func() { f.network.Enable(true) }
	}},
	meddlingKind("500, one in 4", 4, anyRequest, refuse(http.StatusInternalServerError, "InternalError")),
	meddlingKind("503 SlowDown, all", 1, anyRequest, refuse(http.StatusServiceUnavailable, "SlowDown")).asOutage().inShort(),
	meddlingKind("403 ExpiredToken, all", 1, anyRequest, refuse(http.StatusForbidden, "ExpiredToken")).asOutage(),
	meddlingKind("403 AccessDenied, all", 1, anyRequest, refuse(http.StatusForbidden, "AccessDenied")).asOutage().refuses(),
	meddlingKind("work done, and answer lost or 500, one in 3", 3, changes, lose, misreport).inShort(),
	meddlingKind("412, one in 3 with a condition", 3, func(r request) bool { return r.conditional }, refuse(http.StatusPreconditionFailed, "PreconditionFailed")),
	meddlingKind("answers 1 to 4 s late, one in 4", 4, anyRequest, delay(time.Second, 4*time.Second)),
	meddlingKind("short bodies, one in 2", 2, isData, shorten, curtail).inShort(),
	meddlingKind("short and flipped bodies, one in 2", 2, isData, shorten, curtail, flip),
	meddlingKind("flipped on the way up, one in 3", 3, sendsData, flipSent),
	meddlingKind("wrong checksum in answers, one in 3", 3, anyRequest, missum),
}

// TestFaultyStoreLosesNothing is P3, P4, P5, P7 and P9 with all that can be wrong between a
// mount and its store: a job goes on at the speed of the disk, and everything arrives.
func TestFaultyStoreLosesNothing(t *testing.T) {
	t.Parallel()
	seed := *faultsSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-faults.seed=%d", seed)
	long := *faultsTime > 0
	var mu sync.Mutex
	rows := make([]*faultRun, len(faultKinds))
	t.Cleanup(func() {
		if long {
			printFaults(t, slices.DeleteFunc(rows, func(f *faultRun) bool { return f == nil }))
		}
	})
	for i, k := range faultKinds {
		if !long && !k.brief {
			continue
		}
		name, _, _ := strings.Cut(k.kind, ",") // it goes into paths, which are options
		t.Run(name, func(t *testing.T) {
			if !long {
				t.Parallel()
			}
			f := newFaultRun(t, k, seed+uint64(i))
			mu.Lock()
			rows[i] = f
			mu.Unlock()
			f.run()
		})
	}
}

// plainProgram is trainfs without the race detector, whose memory and speed are its own.
var plainProgram = sync.OnceValues(func() (string, error) {
	program := filepath.Join(filepath.Dir(trainfs), "plain", "trainfs")
	return program, buildTo(program)
})

func printFaults(t *testing.T, rows []*faultRun) {
	var b strings.Builder
	b.WriteString(faultsHead)
	broken := 0
	for _, f := range rows {
		fmt.Fprintln(&b, f.row())
		broken += f.broken
	}
	t.Logf("\n%s\nfaults: %d kinds, promises broken %d", b.String(), len(rows), broken)
}

// TestEachRequestOnceFailsAndNothingIsLost lets the n-th request of a save fail, n = 1, 2, 3, …,
// until a save has fewer than n.
func TestEachRequestOnceFailsAndNothingIsLost(t *testing.T) {
	if *faultsTime == 0 {
		t.Skip("minutes; uploader/crash_test.go does it within one process: see make faults")
	}
	for name, m := range map[string]meddler{"500": refuse(http.StatusInternalServerError, "InternalError"), "answer lost": lose, "500 for work that was done": misreport} {
		t.Run(name, func(t *testing.T) {
			s := s3Store(t)
			program, err := plainProgram()
			must(t, err)
			mt := s.unmounted(t, "settle=100ms", "part_size=5M", "store_timeout=2s")
			mt.program = program
			mt.start()
			n := 1
			for ; ; n++ {
				met := s.proxy.nth(n, m)
				dir := fmt.Sprintf("run/checkpoint_%06d", n)
				mkdir(t, mt.path(dir))
				write(t, mt.path(dir, "large"), noise(6*mib, uint64(n)))
				write(t, mt.path(dir, "middle"), noise(1_200_000, uint64(n)))
				write(t, mt.path(dir, "small"), fmt.Sprint(n))
				write(t, mt.path("run/latest"), filepath.Base(dir))
				write(t, mt.path("run/log"), strings.Repeat("line\n", n))
				mt.wait()
				s.wantSame(mt.path(dir), dir+"/")
				if !met.Load() || t.Failed() {
					break
				}
			}
			s.proxy.meddleIf(nil)
			s.wantSame(mt.dir, "")
			s.wantNoOpenMarkers()
			want(t, "set aside", mt.status().LostFound, 0)
			t.Logf("each of %d requests of a save failed once by %q, promises broken 0", n-1, name)
		})
	}
}
