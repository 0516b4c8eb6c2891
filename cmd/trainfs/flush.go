package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/trainfs/trainfs/cache"
)

func flushCommand() *cli.Command {
	return &cli.Command{
		Name:      "flush",
		Usage:     "upload what a dead mount has left in its cache directory, without mounting",
		ArgsUsage: "--cache-dir DIR",
		Description: `The same as mounting again and waiting: what was closed is uploaded, an upload that was
under way goes on. The cache directory knows its storage path and the options it was mounted
with; -o adds to them. Exits 0 once all is durable, 1 if something is torn (half written, so never
uploaded) or cannot be uploaded, 3 if --timeout has passed.

` + examples("trainfs flush --cache-dir /scratch/trainfs",
			"trainfs flush --cache-dir /scratch/trainfs --dry-run --json"),
		Category:     categoryUploads,
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "cache-dir", Usage: "the cache directory, `DIR`"},
			&cli.StringSliceFlag{Name: "o", Usage: "`OPTIONS` of the mount that are other than at the last one"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would be uploaded", DisableDefaultText: true},
			jsonFlag(), timeoutFlag(), quietFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.String("cache-dir") == "" || c.Args().Len() > 0 {
				return usagef("wanted a cache directory and no operand: trainfs flush --cache-dir DIR [--dry-run] [--json]")
			}
			ctx, stop := interruptible(c)
			defer stop()
			f := flush{
				dir: c.String("cache-dir"), options: c.StringSlice("o"), dry: c.Bool("dry-run"), json: c.Bool("json"),
				timeout: c.Duration("timeout"), quiet: c.Bool("quiet") || c.Bool("json"), out: c.App.Writer,
			}
			return f.run(ctx)
		},
	}
}

type flush struct {
	dir              string
	options          []string
	dry, json, quiet bool
	timeout          time.Duration
	out              io.Writer
}

// flushResult is what --json prints.
type flushResult struct {
	Source    string             `json:"source"`
	CacheDir  string             `json:"cache_dir"`
	DryRun    bool               `json:"dry_run,omitempty"`
	Units     []cache.UnitStatus `json:"units"` // not committed, at the start
	Deletions int                `json:"deletions"`
	Bytes     int64              `json:"bytes"` // not committed, at the start
	Torn      []string           `json:"torn,omitempty"`
	Left      *cache.Progress    `json:"left,omitempty"` // at the end
}

// config is that of the last mount, as far as it is about uploading.
func (f *flush) config() (*Config, error) {
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return nil, err
	}
	source, err := cache.SourceOf(dir)
	if err != nil {
		return nil, err
	}
	saved, err := loadMountFile(dir)
	if err != nil {
		return nil, err
	}
	if saved.Source != "" {
		source = saved.Source
	}
	c := newConfig()
	if _, err := c.apply(optionLists(saved.forFlush(), mountFileName), true); err != nil {
		return nil, err
	}
	if _, err := c.apply(optionLists(f.options, "flag -o"), false); err != nil {
		return nil, err
	}
	if c.ReadOnly || c.CacheDir != "" {
		return nil, usagef("ro and cache_dir= are no options for a flush")
	}
	c.Source, c.CacheDir = source, dir
	processEnviron() // the SDKs look for credentials below HOME
	return c, c.checkContradictions()
}

func (f *flush) run(ctx context.Context) error {
	c, err := f.config()
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	if !f.quiet {
		log = newLogger(newLogSink(os.Stderr), newLogLevel("warn", c.Debug), c.LogFormat)
	}
	p, err := buildParts(ctx, c, log)
	if errors.Is(err, cache.ErrLocked) {
		return fmt.Errorf("%w: that one uploads by itself (trainfs status, trainfs wait)", err)
	}
	if err != nil {
		return err
	}
	st := p.engine.Status()
	r := flushResult{Source: c.Source, CacheDir: c.CacheDir, DryRun: f.dry, Units: append([]cache.UnitStatus{}, st.Units...), Deletions: st.Deletions, Bytes: st.BytesLeft}
	for _, u := range st.Units {
		if u.State == cache.StateTorn {
			r.Torn = append(r.Torn, u.Path)
		}
	}
	if !f.dry {
		var left cache.Progress
		left, err = f.upload(ctx, p.engine)
		r.Left = &left
	}
	err = errors.Join(err, p.close())
	f.report(&r)
	if err == nil && len(r.Torn) > 0 && !f.dry {
		return fmt.Errorf("all else is committed, but torn, and so never uploaded: %q", r.Torn)
	}
	return err
}

// upload runs the engine until nothing is left that it could do.
func (f *flush) upload(ctx context.Context, e engine) (last cache.Progress, err error) {
	if f.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.timeout)
		defer cancel()
	}
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- e.Run(running) }()
	defer func() { end(); <-done }()
	var view progressView = noView{}
	if out, ok := f.out.(*os.File); ok && !f.quiet {
		view = newProgressView(out)
	}
	defer view.close()
	if err := e.Commit(ctx, everything); err != nil {
		return last, err
	}
	wait, stuck := context.WithCancel(ctx)
	defer stuck()
	err = untilDurable(wait, func(ctx context.Context, progress func(cache.Progress)) error {
		return e.Wait(ctx, everything, progress)
	}, cutShort(stuck, func(p cache.Progress) { last = p; view.update(p) }))
	switch {
	case err == nil:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = timeoutf("%s after %s", leftReport(last), f.timeout)
	case ctx.Err() != nil:
		err = fmt.Errorf("interrupted: %s; it stays in %s", leftReport(last), f.dir)
	case wait.Err() != nil:
		err = fmt.Errorf("cannot be uploaded: %s", leftReport(last))
	}
	return last, err
}

func (f *flush) report(r *flushResult) {
	if f.json {
		_ = json.NewEncoder(f.out).Encode(r)
		return
	}
	if f.quiet && !f.dry {
		return
	}
	what := "was to upload"
	if f.dry {
		what = "would upload"
		for _, u := range r.Units {
			fmt.Fprintf(f.out, "%-9s  %s\n", u.State, oneLine(u.Path))
		}
	}
	fmt.Fprintf(f.out, "%s -> %s: %s %s (%s), %s\n", r.CacheDir, r.Source, what,
		countText(len(r.Units)-len(r.Torn), "unit"), bytesText(r.Bytes), countText(r.Deletions, "deletion"))
}
