package hdfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	dialTimeout = 10 * time.Second
	ioTimeout   = time.Minute // for one read or write of a connection: nothing came that long
)

// dialNameNode makes connections on which nothing waits for ever.
func dialNameNode(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := dial(ctx, network, address, ioTimeout)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func dial(ctx context.Context, network, address string, patience time.Duration) (*patientConn, error) {
	c, err := (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &patientConn{Conn: c, patience: patience}, nil
}

// patientConn ends a read or write that nothing comes of. After a failure it is closed: an
// answer that came late would be taken for that of the next request.
type patientConn struct {
	net.Conn
	patience time.Duration
}

func (c *patientConn) Read(b []byte) (int, error) {
	c.Conn.SetReadDeadline(time.Now().Add(c.patience))
	n, err := c.Conn.Read(b)
	if err != nil {
		c.Conn.Close()
	}
	return n, err
}

func (c *patientConn) Write(b []byte) (int, error) {
	c.Conn.SetWriteDeadline(time.Now().Add(c.patience))
	n, err := c.Conn.Write(b)
	if err != nil {
		c.Conn.Close()
	}
	return n, err
}

// SetDeadline is for the client's own limits, of which there are none.
func (c *patientConn) SetDeadline(time.Time) error { return nil }

// nodeError is trouble with a data node. It says which one, and that the end of a
// connection, which the client's reader would take for that of the block, is an error.
type nodeError struct {
	address string
	err     error
}

func (e *nodeError) Error() string { return fmt.Sprintf("data node %s: %v", e.address, e.err) }
func (e *nodeError) Unwrap() error { return e.err }

func nodeTrouble(address string, err error) error {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		err = op.Err // the rest are addresses
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("connection lost")
	}
	return &nodeError{address, err}
}

func dialDataNode(patience time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address, patience)
		if err != nil {
			return nil, nodeTrouble(address, err)
		}
		return &nodeConn{patientConn: c, address: address}, nil
	}
}

// nodeConn is a connection to a data node. It fails as a whole, with the error that came
// first: reads always do from then on. A write does once, which tells the client to give up.
// The client's writer of a block ends the goroutine that reads acknowledgements only if it
// could send its last packet, so those that come after are taken, and lost: they are not
// acknowledged, which the writer finds.
type nodeConn struct {
	*patientConn
	address string

	mu     sync.Mutex
	failed error
	told   bool // a write has returned it
}

func (c *nodeConn) Read(b []byte) (int, error) {
	if err := c.failure(); err != nil {
		return 0, err
	}
	n, err := c.patientConn.Read(b)
	return n, c.fail(err)
}

func (c *nodeConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	err, told := c.failed, c.told
	c.told = err != nil
	c.mu.Unlock()
	if told {
		return len(b), nil
	}
	if err != nil {
		return 0, err
	}
	n, err := c.patientConn.Write(b)
	if err = c.fail(err); err != nil {
		c.mu.Lock()
		c.told = true
		c.mu.Unlock()
	}
	return n, err
}

func (c *nodeConn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

func (c *nodeConn) fail(err error) error {
	if err == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = nodeTrouble(c.address, err)
	}
	return c.failed
}
