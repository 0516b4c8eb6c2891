package s3

import (
	"net"
	"net/http"
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

// httpClient is the SDK's, with one thing put right.
type httpClient struct{ aws.HTTPClient }

// newHTTPClient keeps so many connections for the next request.
func newHTTPClient(connections int) httpClient {
	return httpClient{awshttp.NewBuildableClient().
		WithReadTimeout(readTimeout).
		WithDialerOptions(func(d *net.Dialer) {
			d.Timeout = dialTimeout
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
		}).
		Freeze()}
}

// Do makes net/http heed the "Expect: 100-continue" that the SDK gives large bodies. It
// does so only for requests of HTTP/1.1, and the SDK's say no version; a server that
// refuses a body early then resets the connection, and its answer may be lost with it.
func (c httpClient) Do(r *http.Request) (*http.Response, error) {
	if r.ProtoMajor == 0 {
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	}
	return c.HTTPClient.Do(r)
}

func (c httpClient) closeIdle() {
	if inner, ok := c.HTTPClient.(interface{ CloseIdleConnections() }); ok {
		inner.CloseIdleConnections()
	}
}
