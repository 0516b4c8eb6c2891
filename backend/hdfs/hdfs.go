// Package hdfs is a [backend.Store] over a directory of a Hadoop Distributed File System,
// spoken to through its native protocol.
//
// Objects are plain files, which any other tool reads. What HDFS itself cannot keep (owners
// by number, mtimes to the nanosecond, symbolic links, checksums) is in one extended
// attribute, user.trainfs, together with the length and the time of the file that it was
// written for: if another tool writes the file, it no longer counts. A symbolic link is a
// file that holds its target. The native mtime is left to the name node, whose clock
// [backend.Object.Modified] is.
//
// A directory is a marker (it has an object "dir/") unless it carries the attribute
// user.trainfs.implied, which those that trainfs makes only because a key lies below do.
// These vanish with their last key.
//
// A name in HDFS cannot have a colon. In its place stands U+F03A, a character for private
// use; keys that have that one themselves are ErrInvalidKey.
//
// What is staged lies in .trainfs/v1/staging/ID below the root, a file a part, and
// publishing is a rename. That of one part costs nothing; several have to be read and
// written once more into one file, so Capabilities ask for uploads in one part, whatever
// their size.
//
// HDFS has no write that spares what is there and is atomic as well. IfAbsent therefore
// takes a lock, an empty file in .trainfs/v1/staging that only one client can create. It
// keeps nodes that run trainfs from each other, and not from other programs.
//
// hdfs imports backend and backend/crc32c.
package hdfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/colinmarc/hdfs/v2"

	"github.com/trainfs/trainfs/backend"
)

// Store is a directory of a cluster.
type Store struct {
	where   place
	options hdfs.ClientOptions

	patience time.Duration // for data nodes to tell the name node of what they have

	connecting sync.Mutex // held while a client connects

	mu     sync.Mutex
	client *hdfs.Client // nil until the first call that a name node answers
	closed bool
}

var _ backend.Store = (*Store)(nil)

// Options of Open.
type Options struct {
	CheckTimeout time.Duration // for the name node to answer; 0: 30 s
	// SkipCheck opens a store that is out of reach: the first call that it answers connects.
	SkipCheck bool
}

// Open opens the directory of loc, and makes it if it is missing.
func Open(ctx context.Context, loc backend.Location, o Options) (*Store, error) {
	where, options, err := resolve(loc)
	if err != nil {
		return nil, err
	}
	s := &Store{where: where, options: options, patience: ioTimeout}
	if o.SkipCheck {
		return s, nil
	}
	if o.CheckTimeout <= 0 {
		o.CheckTimeout = 30 * time.Second
	}
	check, cancel := context.WithTimeout(ctx, o.CheckTimeout)
	defer cancel()
	if err := s.makeRoot(check); err != nil {
		return nil, errors.Join(s.explain(ctx, err), s.Close())
	}
	s.sweep(check, staleAfter)
	return s, nil
}

func (s *Store) makeRoot(ctx context.Context) error {
	_, err := call(ctx, s, func(c *hdfs.Client) (struct{}, error) {
		info, err := c.Stat(s.where.root)
		switch {
		case err == nil && !info.IsDir():
			return struct{}{}, fmt.Errorf("%s: %w", s.where.root, syscall.ENOTDIR)
		case err == nil:
			return struct{}{}, nil
		case !errors.Is(err, os.ErrNotExist):
			return struct{}{}, err
		}
		return struct{}{}, c.MkdirAll(s.where.root, dirPerm)
	})
	return err
}

// explain says of a failure to open what to do about it.
func (s *Store) explain(ctx context.Context, err error) error {
	nodes := strings.Join(s.options.Addresses, ", ")
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrPermission):
		return backend.OpenError(backend.ErrDenied, err, "user %q may not use %s there: another user goes into the URL (hdfs://USER@host:port/path) or HADOOP_USER_NAME", s.options.User, s.where.root)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, os.ErrExist):
		return backend.OpenError(backend.ErrNoBucket, err, "%s is no directory", s.where.root)
	case exceptionOf(err) == safeModeException:
		return backend.OpenError(backend.ErrUnreachable, nil, "the name node at %s is in safe mode and takes no writes: wait until it has left it, or look at hdfs dfsadmin -safemode get", nodes)
	case exceptionOf(err) != "":
		return backend.OpenError(backend.ErrConfig, err, "the name node at %s refuses %s", nodes, s.where.root)
	}
	return backend.OpenError(backend.ErrUnreachable, err, "no name node answers at %s: wrong host or port (the one of its RPC, 8020 or 9000, not of its web pages), or it is down", nodes)
}

func (s *Store) Capabilities() backend.Capabilities {
	return backend.Capabilities{
		MinPartSize:    1,
		MaxPartSize:    64 << 40,
		MaxParts:       10_000,
		MaxSize:        64 << 40, // 1,048,576 blocks are a file's most, of 64 MiB at least as a rule
		ConditionalPut: true,
		WholeFiles:     true,
	}
}

// Close does not wait for a name node that keeps a call waiting.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.client != nil {
		go s.client.Close()
		s.client = nil
	}
	return nil
}

// current gives the client, if there is one yet.
func (s *Store) current() (*hdfs.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, os.ErrClosed
	}
	return s.client, nil
}

// connected gives the client, and connects it at first.
func (s *Store) connected() (*hdfs.Client, error) {
	s.connecting.Lock()
	defer s.connecting.Unlock()
	if c, err := s.current(); c != nil || err != nil {
		return c, err
	}
	c, err := hdfs.NewClient(s.options)
	if err != nil {
		return nil, err
	}
	// The client asks for these once, and keeps them without a lock.
	if _, err := c.ServerDefaults(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(os.ErrClosed, c.Close())
	}
	s.client = c
	return c, nil
}

// call makes calls of the client, which knows no contexts: when ctx ends it returns, and
// what is under way ends by itself, by the time limits of its connections.
func call[T any](ctx context.Context, s *Store, f func(*hdfs.Client) (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	if err := ctx.Err(); err != nil {
		var none T
		return none, err
	}
	done := make(chan result, 1)
	go func() {
		var r result
		c, err := s.connected()
		if err == nil {
			r.value, err = f(c)
		}
		r.err = err
		done <- r
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// check is what every call on a key begins with.
func check(ctx context.Context, op, key string) error {
	if err := ctx.Err(); err != nil {
		return &backend.Error{Op: op, Key: key, Err: err}
	}
	if err := backend.CheckKey(op, key); err != nil {
		return err
	}
	if reserved(key) {
		return &backend.Error{Op: op, Key: key, Kind: backend.ErrInvalidKey, Err: errors.New("reserved for staging")}
	}
	if strings.ContainsRune(key, colonStandIn) {
		return &backend.Error{Op: op, Key: key, Kind: backend.ErrInvalidKey, Err: errors.New("U+F03A stands for a colon")}
	}
	return nil
}
