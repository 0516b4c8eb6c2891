package backend

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// Results that [Metered] counts requests by.
const (
	ResultOK       = "ok"
	ResultAnswered = "answered" // a definite answer: no such object, exists already, changed
	ResultFailed   = "failed"   // may heal, or needs someone to change something
	ResultCanceled = "canceled" // by the caller
)

// Metered counts what goes through a Store.
type Metered struct {
	Store // every call but Put, PutPart and Get, which count bytes as well

	ops       map[string]*meter // fixed after NewMetered
	bytesUp   atomic.Int64
	bytesDown atomic.Int64
}

type meter struct {
	results map[string]*atomic.Int64
	nanos   atomic.Int64
}

// NewMetered wraps s.
func NewMetered(s Store) *Metered {
	m := &Metered{ops: make(map[string]*meter)}
	for _, op := range Ops() {
		results := make(map[string]*atomic.Int64)
		for _, r := range []string{ResultOK, ResultAnswered, ResultFailed, ResultCanceled} {
			results[r] = new(atomic.Int64)
		}
		m.ops[op] = &meter{results: results}
	}
	m.Store = Intercept(s, m.around)
	return m
}

// Requests of one operation.
type Requests struct {
	ByResult map[string]int64 // how many ended so
	Time     time.Duration    // that all of them took together; of Get until the body begins
}

// Snapshot is what a Metered has counted so far.
type Snapshot struct {
	Requests  map[string]Requests // by operation
	BytesUp   int64               // of successful Put and PutPart
	BytesDown int64               // read from Get's bodies
}

// Snapshot reads the counters, each at its own moment.
func (m *Metered) Snapshot() Snapshot {
	s := Snapshot{
		Requests:  make(map[string]Requests, len(m.ops)),
		BytesUp:   m.bytesUp.Load(),
		BytesDown: m.bytesDown.Load(),
	}
	for op, meter := range m.ops {
		r := Requests{ByResult: make(map[string]int64), Time: time.Duration(meter.nanos.Load())}
		for result, n := range meter.results {
			r.ByResult[result] = n.Load()
		}
		s.Requests[op] = r
	}
	return s
}

func (m *Metered) around(ctx context.Context, op, _ string, next func(context.Context) error) error {
	start := time.Now()
	err := next(ctx)
	meter := m.ops[op]
	meter.nanos.Add(int64(time.Since(start)))
	meter.results[result(err)].Add(1)
	return err
}

func result(err error) string {
	if err == nil {
		return ResultOK
	}
	if errors.Is(err, context.Canceled) {
		return ResultCanceled
	}
	for _, answer := range []error{ErrNotExist, ErrExist, ErrChanged, ErrNoStage} {
		if errors.Is(err, answer) {
			return ResultAnswered
		}
	}
	return ResultFailed
}

// Put implements [Store].
func (m *Metered) Put(ctx context.Context, key string, c Content, o PutOptions) (Object, error) {
	obj, err := m.Store.Put(ctx, key, c, o)
	if err == nil {
		m.bytesUp.Add(c.Size)
	}
	return obj, err
}

// PutPart implements [Store].
func (m *Metered) PutPart(ctx context.Context, s Stage, n int, c Content) (Part, error) {
	p, err := m.Store.PutPart(ctx, s, n, c)
	if err == nil {
		m.bytesUp.Add(c.Size)
	}
	return p, err
}

// Get implements [Store].
func (m *Metered) Get(ctx context.Context, key string, o GetOptions) (io.ReadCloser, Object, error) {
	body, obj, err := m.Store.Get(ctx, key, o)
	if err != nil {
		return nil, obj, err
	}
	return &meteredBody{ReadCloser: body, count: &m.bytesDown}, obj, nil
}

type meteredBody struct {
	io.ReadCloser
	count *atomic.Int64
}

func (b *meteredBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.count.Add(int64(n))
	return n, err
}
