package s3

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	dialTimeout = 10 * time.Second
	// A server that says nothing for so long is taken for dead. CompleteMultipartUpload is
	// what servers think longest about.
	readTimeout = 5 * time.Minute
)

// httpClient is the SDK's, with two things put right.
type httpClient struct {
	build   func() aws.HTTPClient
	current atomic.Pointer[aws.HTTPClient]
}

// newHTTPClient keeps so many connections for the next request.
func newHTTPClient(connections int) *httpClient {
	builder := awshttp.NewBuildableClient().
		WithReadTimeout(readTimeout).
		WithDialerOptions(func(d *net.Dialer) {
			d.Timeout = dialTimeout
			d.Control = leaveNothing
			// A machine that is gone without a word is noticed in about a minute.
			d.KeepAliveConfig = net.KeepAliveConfig{
				Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3,
			}
		}).
		WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns, t.MaxIdleConnsPerHost = 2*connections, connections
			t.TLSHandshakeTimeout = dialTimeout
			// One connection a request: HTTP/2 would put them all on one.
			t.ForceAttemptHTTP2 = false
			t.WriteBufferSize, t.ReadBufferSize = 256<<10, 128<<10
		})
	c := &httpClient{build: builder.Freeze}
	fresh := c.build()
	c.current.Store(&fresh)
	return c
}

// Do makes net/http heed the "Expect: 100-continue" that the SDK gives large bodies. It
// does so only for requests of HTTP/1.1, and the SDK's say no version; a server that
// refuses a body early then resets the connection, and its answer may be lost with it.
//
// Where an answer has not come in time the network may have forgotten the connection, and
// then those that lie idle too: they are not used again. A caller who has only lost interest
// says nothing about the network.
func (c *httpClient) Do(r *http.Request) (*http.Response, error) {
	if r.ProtoMajor == 0 {
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	}
	used := c.current.Load()
	resp, err := (*used).Do(r)
	if err != nil && !lostInterest(r.Context()) {
		// The SDK's client cannot be told to close them. A new one has none, and those of the
		// old one are closed when nobody has used them for a while.
		fresh := c.build()
		c.current.CompareAndSwap(used, &fresh)
	}
	return resp, err
}

// lostInterest tells whether the caller has given a request up, and not for want of an answer:
// another request of a group has failed, say, as all do while the store refuses.
func lostInterest(ctx context.Context) bool {
	var late interface{ Timeout() bool }
	return errors.Is(ctx.Err(), context.Canceled) && !(errors.As(context.Cause(ctx), &late) && late.Timeout())
}

// leaveNothing has the kernel drop what is not sent yet when a connection is closed. Without it
// a request that was given up in an outage could arrive after it, and replace what a later one has
// put under its key.
func leaveNothing(_, _ string, conn syscall.RawConn) (err error) {
	cerr := conn.Control(func(fd uintptr) {
		err = syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
	})
	return errors.Join(cerr, err)
}
