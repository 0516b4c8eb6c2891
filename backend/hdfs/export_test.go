package hdfs

import (
	"context"
	"net"
	"time"
)

// WatchDataNodes tells which data node is connected to, and waits for one no longer than it
// is told. It is for a store that has not connected yet.
func WatchDataNodes(s *Store, patience time.Duration, dialled func(address string)) {
	s.patience = patience
	dial := dialDataNode(patience)
	s.options.DatanodeDialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled(address)
		return dial(ctx, network, address)
	}
}

// Sweep is what Open does, with another time.
func Sweep(ctx context.Context, s *Store, olderThan time.Duration) { s.sweep(ctx, olderThan) }
