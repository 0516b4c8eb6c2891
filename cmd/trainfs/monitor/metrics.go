package monitor

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"context"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/cache"
)

// Held is about the trackers that wait for checkpoints which this node cannot finish.
type Held struct {
	Trackers int
	Longest  time.Duration
}

// Source is the mount that is looked at.
type Source interface {
	Gauges() cache.Gauges
	Held() Held
}

// Metrics counts, and takes stock of a mount when it is asked.
type Metrics struct {
	registry *prometheus.Registry
	store    *prometheus.HistogramVec
	fuse     *prometheus.HistogramVec
	metered  atomic.Pointer[backend.Metered]
	source   atomic.Pointer[Source]
}

// From a tenth of a millisecond (a local request) to a minute (a part over a slow line).
var (
	fuseBuckets  = []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 0.25, 1, 5, 30}
	storeBuckets = []float64{1e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
)

// NewMetrics makes the metrics of one mount by this version of the program.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		store: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "trainfs_store_request_seconds", Buckets: storeBuckets,
			Help: "Time that requests to the store took, by operation; of get until the body begins.",
		}, []string{"op"}),
		fuse: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "trainfs_fuse_operation_seconds", Buckets: fuseBuckets,
			Help: "Time that file system requests took in the daemon, by operation. With passthrough the kernel reads and writes without it.",
		}, []string{"op"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "trainfs_build_info", Help: "Always 1; the version is a label.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	m.registry.MustRegister(m.store, m.fuse, build, m,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Watch says whose gauges are shown; until then there are none.
func (m *Metrics) Watch(s Source) { m.source.Store(&s) }

// ObserveFUSE takes the time of one file system request.
func (m *Metrics) ObserveFUSE(op string, took time.Duration) {
	m.fuse.WithLabelValues(op).Observe(took.Seconds())
}

// Store counts what goes through s.
func (m *Metrics) Store(s backend.Store) backend.Store {
	metered := backend.NewMetered(s)
	m.metered.Store(metered)
	return backend.Intercept(metered, func(ctx context.Context, op, _ string, next func(context.Context) error) error {
		start := time.Now()
		err := next(ctx)
		m.store.WithLabelValues(op).Observe(time.Since(start).Seconds())
		return err
	})
}

// series is a number that is read when somebody asks.
type series struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func gauge(name, help string, labels ...string) series {
	return series{prometheus.NewDesc("trainfs_"+name, help, labels, nil), prometheus.GaugeValue}
}

func counter(name, help string, labels ...string) series {
	return series{prometheus.NewDesc("trainfs_"+name, help, labels, nil), prometheus.CounterValue}
}

var (
	unitsSeries     = gauge("units", "Units that are not committed, by state.", "state")
	failingSeries   = gauge("units_failing", "Units whose last upload failed: transient may heal by itself, permanent needs somebody.", "kind")
	dirtySeries     = gauge("dirty_bytes", "Bytes that are not committed yet.")
	deletionsSeries = gauge("deletions_pending", "Deletions that the store has not seen yet.")
	oldestSeries    = gauge("oldest_uncommitted_seconds", "Age of the oldest unit that is not committed; torn units are not counted. The one to alert on.")
	heldSeries      = gauge("trackers_held", "Trackers that wait for checkpoints which this node cannot finish.")
	holdSeries      = gauge("tracker_hold_seconds", "How long the longest of them has waited.")
	cacheSeries     = gauge("cache_bytes", "Disk space that the cache takes.")
	limitSeries     = gauge("cache_limit_bytes", "The bound cache_size; 0: none.")
	diskSeries      = gauge("cache_disk_free_bytes", "Free space on the cache's disk.")
	minFreeSeries   = gauge("cache_min_free_bytes", "Space that is to stay free on the cache's disk.")
	fullSeries      = gauge("cache_full", "1 while the cache is full and nothing can be evicted: writers wait.")
	reachableSeries = gauge("store_reachable", "1 while the store answers.")
	lostSeries      = gauge("lost_and_found_files", "Files that were set aside since the mount, as the store had another version.")
	hiddenSeries    = gauge("hidden_keys", "Remote keys that cannot be file names.")
	retriesSeries   = counter("retries_total", "Uploads that failed and are tried again.")
	evictedSeries   = counter("evicted_files_total", "Files whose local copies were dropped.")
	requestsSeries  = counter("store_requests_total", "Requests to the store, by operation and result.", "op", "result")
	upSeries        = counter("upload_bytes_total", "Bytes sent to the store in successful requests.")
	downSeries      = counter("download_bytes_total", "Bytes read from the store.")
)

var allSeries = []series{
	unitsSeries, failingSeries, dirtySeries, deletionsSeries, oldestSeries, heldSeries, holdSeries,
	cacheSeries, limitSeries, diskSeries, minFreeSeries, fullSeries, reachableSeries, lostSeries, hiddenSeries,
	retriesSeries, evictedSeries, requestsSeries, upSeries, downSeries,
}

// states are those that a unit that is not committed can have; all are always shown, so
// that a graph has no holes.
var states = []cache.State{cache.StateDirty, cache.StateSealed, cache.StateUploading, cache.StateTorn}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, s := range allSeries {
		to <- s.desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	tell := func(s series, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(s.desc, s.kind, value, labels...)
	}
	if metered := m.metered.Load(); metered != nil {
		snapshot := metered.Snapshot()
		for op, requests := range snapshot.Requests {
			for result, n := range requests.ByResult {
				tell(requestsSeries, float64(n), op, result)
			}
		}
		tell(upSeries, float64(snapshot.BytesUp))
		tell(downSeries, float64(snapshot.BytesDown))
	}
	if source := m.source.Load(); source != nil {
		tellMount(tell, (*source).Gauges(), (*source).Held(), time.Now())
	}
}

func tellMount(tell func(series, float64, ...string), g cache.Gauges, held Held, now time.Time) {
	for _, state := range states {
		tell(unitsSeries, float64(g.Units[state]), string(state))
	}
	tell(failingSeries, float64(g.Transient), "transient")
	tell(failingSeries, float64(g.Permanent), "permanent")
	tell(dirtySeries, float64(g.LeftBytes))
	tell(deletionsSeries, float64(g.Deletions))
	oldest := 0.0
	if !g.Oldest.IsZero() {
		oldest = max(0, now.Sub(g.Oldest).Seconds())
	}
	tell(oldestSeries, oldest)
	tell(heldSeries, float64(held.Trackers))
	tell(holdSeries, held.Longest.Seconds())
	tell(cacheSeries, float64(g.CacheBytes))
	tell(limitSeries, float64(g.CacheLimit))
	tell(diskSeries, float64(g.DiskFree))
	tell(minFreeSeries, float64(g.MinFree))
	tell(fullSeries, oneIf(g.Full))
	tell(reachableSeries, oneIf(g.StoreReachable))
	tell(lostSeries, float64(g.LostFound))
	tell(hiddenSeries, float64(g.HiddenKeys))
	tell(retriesSeries, float64(g.Retries))
	tell(evictedSeries, float64(g.Evicted))
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
