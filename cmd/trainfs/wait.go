package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/trainfs/trainfs/cache"
)

func timeoutFlag() cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Aliases: []string{"t"}, Usage: "give up after `DURATION` (like 90s or 10m), with exit code 3", DefaultText: "never"}
}

func quietFlag() cli.Flag {
	return &cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "show no progress", DisableDefaultText: true}
}

// interruptible is the command's context, which Ctrl-C ends.
func interruptible(c *cli.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(c.Context, unix.SIGINT, unix.SIGTERM)
}

// mountPaths are the paths of one command that lie in one mount.
type mountPaths struct {
	mount  mountPoint
	client *controlClient
	inside []string // relative to the mount's root
}

// outside is the path in the mount of something whose path the daemon has told.
func (g *mountPaths) outside(inside string) string {
	return filepath.Join(g.mount.path, strings.TrimPrefix(inside, g.mount.root))
}

// byMount sorts paths by the daemon that has to do with them. They must exist.
func byMount(paths []string) ([]*mountPaths, error) { return sortByMount(paths, locate) }

func sortByMount(paths []string, find func(string) (mountPoint, string, error)) ([]*mountPaths, error) {
	if len(paths) == 0 {
		return nil, usagef("no path given")
	}
	var groups []*mountPaths
	byDir := map[string]*mountPaths{}
	for _, p := range paths {
		m, inside, err := find(p)
		if err != nil {
			return nil, err
		}
		dir, err := m.cacheDir()
		if err != nil {
			return nil, err
		}
		g := byDir[dir]
		if g == nil {
			g = &mountPaths{mount: m, client: newControlClient(dir)}
			byDir[dir] = g
			groups = append(groups, g)
		}
		g.inside = append(g.inside, inside)
	}
	return groups, nil
}

func commitPaths(ctx context.Context, paths []string) error {
	groups, err := byMount(paths)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := g.client.commit(ctx, g.inside); err != nil {
			return err
		}
	}
	return nil
}

type waitOptions struct {
	timeout time.Duration // 0: as long as it takes
	quiet   bool
	out     *os.File
}

// waitFor returns once everything below the paths is committed.
func waitFor(ctx context.Context, paths []string, o waitOptions) error {
	groups, err := byMount(paths)
	if err != nil {
		return err
	}
	if o.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.timeout)
		defer cancel()
	}
	var view progressView = noView{}
	if !o.quiet {
		view = newProgressView(o.out)
	}
	defer view.close()
	sum := newProgressSum(len(groups), view.update)
	waits, ctx := errgroup.WithContext(ctx)
	for i, g := range groups {
		waits.Go(func() error { return waitOne(ctx, g, func(p cache.Progress) { sum.update(i, p) }) })
	}
	err = waits.Wait()
	if errors.Is(err, context.DeadlineExceeded) {
		return timeoutf("%s after %s", leftReport(sum.total()), o.timeout)
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("interrupted: %s; uploading goes on", leftReport(sum.total()))
	}
	return err
}

// waitOne waits for the paths in one mount. Torn data will never be committed: that is a
// failure at once, not a timeout later.
func waitOne(ctx context.Context, g *mountPaths, progress func(cache.Progress)) error {
	var last cache.Progress
	err := untilDurable(ctx, func(ctx context.Context, progress func(cache.Progress)) error {
		_, err := g.client.wait(ctx, g.inside, progress)
		return err
	}, func(p cache.Progress) { last = p; progress(p) })
	if err == nil && len(last.Torn) > 0 {
		return fmt.Errorf("all else is committed, but torn, and so never uploaded: %q", last.Torn)
	}
	return err
}

// noView shows nothing.
type noView struct{}

func (noView) update(cache.Progress) {}
func (noView) close()                {}
