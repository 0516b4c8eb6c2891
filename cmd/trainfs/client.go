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
func (c *controlClient) status(ctx context.Context) (cache.Status, error) {
	var st cache.Status
	body, err := c.request(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return st, err
	}
	defer body.Close()
	err = json.NewDecoder(body).Decode(&st)
	return st, wrapf(err, "status of %s", c.cacheDir)
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
	body, err := c.request(ctx, http.MethodPost, path, req)
	if err != nil {
		return last, err
	}
	defer body.Close()
	dec := json.NewDecoder(body)
	for {
		var p cache.Progress
		switch err := dec.Decode(&p); {
		case ctx.Err() != nil:
			return last, ctx.Err()
		case err != nil:
			return last, fmt.Errorf("the daemon stopped in the middle of it (its log says why): %w", err)
		}
		last = p
		progress(p)
		switch {
		case p.Error != "":
			return last, errors.New(p.Error)
		case p.Done:
			return last, nil
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
