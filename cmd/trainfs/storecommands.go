package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/uploader"
)

func gcCommand() *cli.Command {
	return &cli.Command{
		Name:      "gc",
		Usage:     "remove from a storage path what dead nodes have left there",
		ArgsUsage: "SOURCE",
		Description: `Removes unfinished uploads that are older than --older-than, and manifests none of whose
files exists. Open markers keep a checkpoint from being shown while its node is writing it; those
of nodes that will never come back go with --dead-node (trainfs fsck names them), unless they hide half
a checkpoint. Files under
their own names are never touched. Exits 0, or 1 if something could not be removed.

` + examples("trainfs gc --dry-run s3://bucket/run1",
			"trainfs gc --older-than 24h s3://bucket/run1",
			"trainfs gc --dead-node 82564bbfb7cb36b2 s3://bucket/run1"),
		Category:     categoryCache,
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "older-than", Value: 7 * 24 * time.Hour, Usage: "leave alone what is younger than `DURATION`", DefaultText: "168h"},
			&cli.StringSliceFlag{Name: "dead-node", Usage: "`ID` of a node that will never come back; may be repeated"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only say what would go", DisableDefaultText: true},
			jsonFlag(), storeOptionsFlag(),
		},
		Action: func(c *cli.Context) error {
			return onStore(c, "gc", func(ctx context.Context, store backend.Store) error {
				return collect(ctx, store, uploader.GarbageOptions{
					OlderThan: c.Duration("older-than"), DeadNodes: c.StringSlice("dead-node"), DryRun: c.Bool("dry-run"),
				}, c.Bool("json"), c.App.Writer)
			})
		},
	}
}

func collect(ctx context.Context, store backend.Store, o uploader.GarbageOptions, asJSON bool, out io.Writer) error {
	if o.OlderThan < 0 {
		return usagef("--older-than %s is negative", o.OlderThan)
	}
	n := 0
	failed, err := uploader.CollectGarbage(ctx, store, o, func(g uploader.Garbage) {
		n++
		if asJSON {
			_ = json.NewEncoder(out).Encode(g)
			return
		}
		what := "removed"
		if o.DryRun {
			what = "would remove"
		}
		if g.Err != "" {
			what = "cannot remove"
		}
		fmt.Fprintf(out, "%s  %-8s  %s: %s", what, g.Kind, oneLine(g.Key), g.Why)
		if !g.Since.IsZero() {
			fmt.Fprintf(out, " (since %s)", g.Since.Format(time.RFC3339))
		}
		if g.Err != "" {
			fmt.Fprintf(out, ": %s", oneLine(g.Err))
		}
		fmt.Fprintln(out)
	})
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%s of %d could not be removed", countText(failed, "thing"), n)
	}
	if n == 0 && !asJSON {
		fmt.Fprintln(out, "nothing to remove")
	}
	return nil
}

// storeOptionsFlag lets commands without a mount have the options that say how to reach the store.
func storeOptionsFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "o", Usage: "`OPTIONS` of the mount that say how the store is reached: endpoint=, region=, …"}
}

// onStore opens the storage path that is the only operand, and calls do.
func onStore(c *cli.Context, name string, do func(context.Context, backend.Store) error) (err error) {
	if c.Args().Len() > 1 {
		return usagef("wanted one storage path: trainfs %s SOURCE", name)
	}
	cfg := newConfig()
	if _, err := cfg.apply(optionLists(c.StringSlice("o"), "flag -o"), false); err != nil {
		return err
	}
	env := processEnviron()
	if cfg.Source = c.Args().First(); cfg.Source == "" {
		cfg.Source = env.getenv("RAY_STORAGE")
	}
	if cfg.Source == "" {
		return usagef("no storage path: trainfs %s SOURCE, or set RAY_STORAGE", name)
	}
	where, err := cfg.location()
	if err != nil {
		return err
	}
	ctx, stop := interruptible(c)
	defer stop()
	store, err := openStore(ctx, cfg, where.location, where.identity, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return do(ctx, store)
}

// fsckStore says what of a storage path is not complete, and whose that is.
func fsckStore(ctx context.Context, store backend.Store, asJSON bool, out io.Writer) error {
	units, err := uploader.Audit(ctx, store, "")
	if err != nil {
		return err
	}
	open, broken := 0, 0
	for _, u := range units {
		if len(u.Open) > 0 {
			open++
		}
		if len(u.Missing)+len(u.Problems) > 0 {
			broken++
		}
		if asJSON {
			_ = json.NewEncoder(out).Encode(struct {
				*uploader.AuditedUnit
				Complete bool `json:"complete"`
			}{u, u.Complete()})
			continue
		}
		if !u.Complete() {
			fmt.Fprint(out, auditText(u))
		}
	}
	if !asJSON {
		fmt.Fprintf(out, "%s, %d of them being written or deleted, %d with files missing\n", countText(len(units), "checkpoint"), open, broken)
	}
	if broken > 0 {
		return fmt.Errorf("%s: the store does not have what their manifests name", countText(broken, "checkpoint"))
	}
	return nil
}

func auditText(u *uploader.AuditedUnit) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", oneLine(u.Unit))
	for _, m := range u.Open {
		what := "is being written"
		if m.State == "deleting" {
			what = "is being deleted"
		}
		fmt.Fprintf(&b, "  %s by node %s", what, m.Node)
		if m.Host != "" {
			fmt.Fprintf(&b, " (host %s)", oneLine(m.Host))
		}
		fmt.Fprintf(&b, " since %s: not shown until then\n", m.Since.Format(time.RFC3339))
	}
	const most = 20
	for i, key := range u.Missing {
		if i == most {
			fmt.Fprintf(&b, "  … and %d more\n", len(u.Missing)-most)
			break
		}
		fmt.Fprintf(&b, "  missing: %s\n", oneLine(key))
	}
	for _, p := range u.Problems {
		fmt.Fprintf(&b, "  cannot be read: %s\n", oneLine(p))
	}
	return b.String()
}

func fsckCommand() *cli.Command {
	return &cli.Command{
		Name:      "fsck",
		Usage:     "say which checkpoints of a storage path are not complete, and whose they are; or check and repair a cache directory",
		ArgsUsage: "SOURCE | --cache-dir DIR",
		Description: `Reads listings, markers and manifests, no contents (trainfs verify does), and needs no
mount. Exits 1 if files that a manifest names are missing. A checkpoint that a node is still
writing is named, and is no error.

With --cache-dir it looks at a cache directory that is not mounted instead, and asks no store: is the
journal whole, and that of the last start; what is waiting, torn or set aside. What cannot be believed is
set aside in lost+found, as a mount would do; --dry-run only says so, and exits 1.

` + examples("trainfs fsck s3://bucket/run1", "trainfs fsck --dry-run --cache-dir /var/cache/trainfs/run1", "trainfs fsck --json s3://bucket/run1 | jq 'select(.complete | not)'"),
		Category:     categoryCache,
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.PathFlag{Name: "cache-dir", Usage: "check the cache directory `DIR`, which is not mounted"},
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "change nothing in it (nor is a storage path ever changed)", DisableDefaultText: true},
			jsonFlag(), storeOptionsFlag(),
		},
		Action: func(c *cli.Context) error {
			if dir := c.Path("cache-dir"); dir != "" {
				if c.Args().Len() > 0 || len(c.StringSlice("o")) > 0 {
					return usagef("--cache-dir asks no store: give it without a storage path and -o")
				}
				return fsckCacheDir(dir, c.Bool("dry-run"), c.Bool("json"), c.App.Writer)
			}
			// A storage path is only read, with --dry-run or without.
			return onStore(c, "fsck", func(ctx context.Context, store backend.Store) error {
				return fsckStore(ctx, store, c.Bool("json"), c.App.Writer)
			})
		},
	}
}
