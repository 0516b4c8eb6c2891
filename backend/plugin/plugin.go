// Package plugin is a [backend.Store] that another program serves: a plug-in, which trainfs
// starts and talks to through its standard input and output, as docs/plugins.md describes.
//
// The program is trainfs-store-NAME for a storage path plugin://NAME/path, and does what a
// Store does, one operation a message. What is common to all is done here: pieces of
// bounded size, checksums of what is sent, time limits, a new start of a program that has
// died. What the program says is not believed where it can be checked: an answer that
// cannot be true is an error that may heal, and never content.
//
// A program that answers nothing for Options.Timeout, not even that it works, is killed and
// started again; calls that were under way fail as they do when a network fails, and are
// tried again by whoever made them.
//
// plugin imports backend and backend/crc32c.
package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/trainfs/trainfs/backend"
)

// Version of the protocol that this package speaks.
const Version = 1

// prefix of the names of programs.
const prefix = "trainfs-store-"

// places are looked into for a program that is not in PATH, which mount(8) sets anew.
var places = []string{"/usr/local/lib/trainfs", "/usr/lib/trainfs"}

// Options of Open.
type Options struct {
	Program      string        // "": trainfs-store-NAME in PATH, /usr/local/lib/trainfs or /usr/lib/trainfs
	Args         []string      // of the program
	CheckTimeout time.Duration // for the store to answer; 0: 30 s
	Timeout      time.Duration // for any sign of life in a call; 0: 1 min
	SkipCheck    bool          // opens a store that is out of reach
	Logger       *slog.Logger  // gets what the program writes to its standard error; nil: nobody
}

// Store is a storage path that a program serves.
type Store struct {
	loc  backend.Location
	o    Options
	caps backend.Capabilities

	mu      sync.Mutex
	child   *child // nil until the first call, and after it has died
	started time.Time
	closed  bool
}

var _ backend.Store = (*Store)(nil)

// Open starts the program for loc and lets it look at its store.
func Open(ctx context.Context, loc backend.Location, o Options) (*Store, error) {
	o.CheckTimeout = cmp.Or(o.CheckTimeout, 30*time.Second)
	o.Timeout = cmp.Or(o.Timeout, time.Minute)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Program == "" {
		program, err := find(prefix + loc.Bucket)
		if err != nil {
			return nil, err
		}
		o.Program = program
	}
	s := &Store{loc: loc, o: o}
	check, cancel := context.WithTimeout(ctx, o.CheckTimeout)
	defer cancel()
	c, err := s.running(check)
	if err == nil && !o.SkipCheck {
		_, err = c.call(check, message{Op: opOpen}, nil)
	}
	if err != nil {
		return nil, errors.Join(explain(ctx, s.o.Program, err), s.Close())
	}
	return s, nil
}

func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range places {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", backend.OpenError(backend.ErrConfig, nil, "no program %s, neither in PATH nor in %s or %s: install the plug-in, or mend the name after plugin://", name, places[0], places[1])
}

func explain(ctx context.Context, program string, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, backend.ErrConfig), errors.Is(err, backend.ErrDenied), errors.Is(err, backend.ErrNoBucket):
		return err
	}
	return backend.OpenError(backend.ErrUnreachable, err, "the plug-in %s does not reach its store", program)
}

// Capabilities are what the program said at its first start.
func (s *Store) Capabilities() backend.Capabilities { return s.caps }

// Close ends the program: its input ends, and then, if it takes no notice, so does it.
func (s *Store) Close() error {
	s.mu.Lock()
	c := s.child
	s.child, s.closed = nil, true
	s.mu.Unlock()
	if c != nil {
		c.end()
	}
	return nil
}

// running gives the program, and starts it if it does not run: at most once a second.
func (s *Store) running(ctx context.Context) (*child, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.child != nil && s.child.alive() {
		return s.child, nil
	}
	if wait := time.Until(s.started.Add(time.Second)); !s.started.IsZero() && wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
		}
	}
	s.started = time.Now()
	c, err := start(s.o)
	if err != nil {
		return nil, err
	}
	caps, err := c.hello(ctx, s.loc)
	if err != nil {
		c.kill(err)
		return nil, err
	}
	if s.child == nil {
		s.caps = caps
	}
	s.child = c
	return c, nil
}

// do makes one call.
func (s *Store) do(ctx context.Context, m message, body []byte) (*answer, error) {
	key := cmp.Or(m.Key, m.Prefix)
	if err := ctx.Err(); err != nil {
		return nil, &backend.Error{Op: m.Op, Key: key, Err: err}
	}
	c, err := s.running(ctx)
	if err != nil {
		return nil, &backend.Error{Op: m.Op, Key: key, Err: err}
	}
	a, err := c.call(ctx, m, body)
	if err != nil {
		var told *backend.Error
		if errors.As(err, &told) {
			told.Key = key
			return nil, told
		}
		return nil, &backend.Error{Op: m.Op, Key: key, Err: err}
	}
	return a, nil
}

// lie is an answer that cannot be true.
func lie(op, key, format string, args ...any) error {
	return &backend.Error{Op: op, Key: key, Err: fmt.Errorf("the plug-in breaks the protocol: "+format, args...)}
}
