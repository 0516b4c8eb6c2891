package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache"
	"github.com/trainfs/trainfs/uploader"
)

// errNoDaemon tells that nobody answers for a cache directory.
var errNoDaemon = errors.New("its daemon is not running")

// controlClient talks to the daemon of one mount.
type controlClient struct {
	http     *http.Client
	cacheDir string
}

func newControlClient(cacheDir string) *controlClient {
	c := &controlClient{cacheDir: cacheDir}
	c.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return c.dial(ctx)
		},
	}}
	return c
}

func (c *controlClient) dial(ctx context.Context) (*net.UnixConn, error) {
	name, done, err := socketPath(c.cacheDir)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", name)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return nil, fmt.Errorf("cache directory %s: %w", c.cacheDir, errNoDaemon)
	case err != nil:
		return nil, fmt.Errorf("control socket in %s: %w", c.cacheDir, err)
	}
	return conn.(*net.UnixConn), nil
}

// status asks for the daemon's status.
func (c *controlClient) status(ctx context.Context) (st mountStatus, err error) {
	err = c.ask(ctx, http.MethodGet, "/status", nil, &st)
	return st, err
}

// cache asks what is in the cache.
func (c *controlClient) cache(ctx context.Context) (a cacheAnswer, err error) {
	err = c.ask(ctx, http.MethodGet, "/cache", nil, &a)
	return a, err
}

// evict drops the local copies of what lies below paths.
func (c *controlClient) evict(ctx context.Context, paths []string) (a evictAnswer, err error) {
	err = c.ask(ctx, http.MethodPost, "/evict", pathsRequest{paths}, &a)
	return a, err
}

// prefetch returns once everything below paths is local.
func (c *controlClient) prefetch(ctx context.Context, paths []string, progress func(prefetchProgress)) error {
	return lines(ctx, c, "/prefetch", pathsRequest{paths}, func(p prefetchProgress) streamEnd {
		progress(p)
		return p.streamEnd
	})
}

// verify compares the remote content of what lies below paths.
func (c *controlClient) verify(ctx context.Context, paths []string, report func(uploader.VerifyEvent)) error {
	return lines(ctx, c, "/verify", pathsRequest{paths}, func(p verifyProgress) streamEnd {
		report(p.VerifyEvent)
		return p.streamEnd
	})
}

// ask sends a request and reads its one answer.
func (c *controlClient) ask(ctx context.Context, method, path string, in, out any) error {
	body, err := c.request(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close()
	return wrapf(json.NewDecoder(body).Decode(out), "answer of the daemon of %s", c.cacheDir)
}

// commit asks to close and upload what lies below paths, and returns once that is accepted.
func (c *controlClient) commit(ctx context.Context, paths []string) error {
	body, err := c.request(ctx, http.MethodPost, "/commit", pathsRequest{paths})
	if err != nil {
		return err
	}
	return body.Close()
}

// wait follows a wait to its end.
func (c *controlClient) wait(ctx context.Context, paths []string, progress func(cache.Progress)) (cache.Progress, error) {
	return c.stream(ctx, "/wait", pathsRequest{paths}, progress)
}

// shutdown unmounts and stops the daemon; errBusy if files are open.
func (c *controlClient) shutdown(ctx context.Context, wait bool, progress func(cache.Progress)) (cache.Progress, error) {
	return c.stream(ctx, "/shutdown", shutdownRequest{wait}, progress)
}

// stream reads the lines of progress and returns the last one.
func (c *controlClient) stream(ctx context.Context, path string, req any, progress func(cache.Progress)) (last cache.Progress, err error) {
	err = lines(ctx, c, path, req, func(p cache.Progress) streamEnd {
		last = p
		progress(p)
		return streamEnd{p.Done, p.Error}
	})
	return last, err
}

// lines reads a stream to its end; each says whether a line is the last one.
func lines[T any](ctx context.Context, c *controlClient, path string, req any, each func(T) streamEnd) error {
	body, err := c.request(ctx, http.MethodPost, path, req)
	if err != nil {
		return err
	}
	defer body.Close()
	dec := json.NewDecoder(body)
	for {
		var line T
		switch err := dec.Decode(&line); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the daemon stopped in the middle of it (its log says why): %w", err)
		}
		switch end := each(line); {
		case end.Error != "":
			return errors.New(end.Error)
		case end.Done:
			return nil
		}
	}
}

// request sends one request and gives the body of a good answer.
func (c *controlClient) request(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://trainfs"+controlPrefix+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, unwrapURL(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusConflict {
		return nil, errBusy
	}
	var answer errorAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRequestBytes)).Decode(&answer); err != nil || answer.Error == "" {
		return nil, fmt.Errorf("the daemon answered %s", resp.Status)
	}
	return nil, errors.New(answer.Error)
}
