package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
)

func cacheCommand() *cli.Command {
	return &cli.Command{
		Name:      "cache",
		Usage:     "show what takes space in the cache, and what of it cannot go, and why",
		ArgsUsage: "[MOUNTPOINT]",
		Description: `Without MOUNTPOINT, every trainfs mount of this machine. The largest units come first, a
unit being a checkpoint directory or one other file. With --json one object a line, one line
a mount.

` + examples("trainfs cache", "trainfs cache --json /mnt/train | jq '.units[] | select(.pinned)'"),
		Category:     categoryCache,
		OnUsageError: usageError,
		Flags:        []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 1 {
				return usagef("wanted at most one mount point: trainfs cache [--json] [MOUNTPOINT]")
			}
			ctx, stop := interruptible(c)
			defer stop()
			v := mountsView{path: c.Args().First(), json: c.Bool("json"), out: os.Stdout, errs: os.Stderr, ask: askCache}
			return v.once(ctx)
		},
	}
}

func prefetchCommand() *cli.Command {
	return &cli.Command{
		Name:      "prefetch",
		Usage:     "bring what lies below the paths into the cache, and return once it is all there",
		ArgsUsage: "PATH…",
		Description: `Exits 0 once everything is local, 1 if something cannot be had or not all of it fits, 3 if
--timeout has passed. Ctrl-C ends it; what has come is kept.

` + examples("trainfs prefetch /mnt/train/run1/checkpoint_000003", "trainfs prefetch --timeout 10m /mnt/data/train /mnt/data/eval"),
		Category:     categoryCache,
		OnUsageError: usageError,
		Flags:        []cli.Flag{timeoutFlag(), quietFlag()},
		Action: func(c *cli.Context) error {
			ctx, stop := interruptible(c)
			defer stop()
			return prefetchPaths(ctx, c.Args().Slice(), transferOptions{timeout: c.Duration("timeout"), quiet: c.Bool("quiet"), errs: os.Stderr})
		},
	}
}

func evictCommand() *cli.Command {
	return &cli.Command{
		Name:      "evict",
		Usage:     "drop the local copies of what lies below the paths, as far as it is committed",
		ArgsUsage: "PATH…",
		Description: `Nothing is lost: what goes is in the store, and is fetched again when it is read. Whole units
go: of one file of a checkpoint directory, the directory. What is not committed, open or kept
local on purpose stays, and is named. Exits 0 if anything went or nothing was there, 1 if all
that is there had to stay.

` + examples("trainfs evict /mnt/train/run1/checkpoint_000003", "trainfs evict --json /mnt/train | jq .freed_bytes"),
		Category:     categoryCache,
		OnUsageError: usageError,
		Flags:        []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			ctx, stop := interruptible(c)
			defer stop()
			return evictPaths(ctx, c.Args().Slice(), c.Bool("json"), c.App.Writer)
		},
	}
}

func verifyCommand() *cli.Command {
	return &cli.Command{
		Name:      "verify",
		Usage:     "read what lies below the paths in the store, and compare it with its checksums",
		ArgsUsage: "PATH…",
		Description: `Files of checkpoint directories are compared with the manifests that trainfs has put beside
them, others with the checksum of the store or of this node. It reads from the store only:
nothing comes into the cache. Exits 0 if all is well, 1 if a file is wrong, 3 if --timeout has
passed.

  ok          its bytes have the checksum
  mismatch    they have not, or it is not as long as it should be
  missing     a manifest names it, and the store does not have it
  unreadable  the store has it, and does not give it
  extra       in a checkpoint directory, and no manifest names it; no error
  unverified  nobody knows a checksum, or it is being written; no error

With --json one object a line: a file, and at the end {"result": …, "complete": true}.

` + examples("trainfs verify /mnt/train/run1/checkpoint_000003", "trainfs verify --json /mnt/train | jq 'select(.status == \"mismatch\")'"),
		Category:     categoryCache,
		OnUsageError: usageError,
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "name the files that are well, too", DisableDefaultText: true},
			timeoutFlag(), quietFlag(),
		},
		Action: func(c *cli.Context) error {
			ctx, stop := interruptible(c)
			defer stop()
			v := &verification{json: c.Bool("json"), verbose: c.Bool("verbose"), out: os.Stdout}
			return v.run(ctx, c.Args().Slice(), transferOptions{timeout: c.Duration("timeout"), quiet: c.Bool("quiet"), errs: os.Stderr})
		},
	}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON", DisableDefaultText: true}
}

// prefetchPaths returns once everything below the paths is local.
func prefetchPaths(ctx context.Context, paths []string, o transferOptions) error {
	groups, err := byMount(paths)
	if err != nil {
		return err
	}
	ctx, view, end := o.begin(ctx, "fetched")
	defer end()
	var before, last transfer
	for _, g := range groups {
		err := g.client.prefetch(ctx, g.inside, func(p prefetchProgress) {
			last = transfer{before.done + p.Bytes, before.total + p.Total}
			view.update(last)
		})
		if err != nil {
			return o.ended(ctx, err, fmt.Sprintf("%s of %s fetched; what has come is kept", bytesText(last.done), bytesText(last.total)))
		}
		before = last
	}
	view.complete()
	return nil
}

// shownKept bounds the list of what stays; --json has more.
const shownKept = 40

// evictPaths drops local copies, and tells what went and what stays.
func evictPaths(ctx context.Context, paths []string, asJSON bool, out io.Writer) error {
	groups, err := byMount(paths)
	if err != nil {
		return err
	}
	var sum evictAnswer
	for _, g := range groups {
		a, err := g.client.evict(ctx, g.inside)
		if err != nil {
			return err
		}
		sum.Freed += a.Freed
		sum.MoreKept += a.MoreKept
		for _, k := range a.Kept {
			sum.Kept = append(sum.Kept, g.outside(k))
		}
	}
	if asJSON {
		err = json.NewEncoder(out).Encode(sum)
	} else {
		err = writeEvicted(out, &sum)
	}
	if n := len(sum.Kept) + sum.MoreKept; err == nil && sum.Freed == 0 && n > 0 {
		return fmt.Errorf("nothing could be evicted: %s had to stay", countText(n, "unit"))
	}
	return err
}

func writeEvicted(out io.Writer, a *evictAnswer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s freed\n", bytesText(a.Freed))
	shown := a.Kept[:min(len(a.Kept), shownKept)]
	for _, k := range shown {
		fmt.Fprintf(&b, "  stays: %s\n", oneLine(k))
	}
	if more := len(a.Kept) + a.MoreKept - len(shown); more > 0 {
		fmt.Fprintf(&b, "  … and %s more (--json shows them)\n", countText(more, "unit"))
	}
	_, err := io.WriteString(out, b.String())
	return err
}
