package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"
)

// What a check of the doctor finds.
const (
	findingOK   = "ok"
	findingWarn = "warn" // works, and not as well as it could
	findingFail = "fail" // a mount would not work, or not keep a promise
)

// finding is the outcome of one check.
type finding struct {
	Area   string `json:"area"` // machine, store
	Check  string `json:"check"`
	Result string `json:"result"`
	Detail string `json:"detail,omitempty"`
	Advice string `json:"advice,omitempty"` // what to do
}

// diagnosis collects what the checks find, and shows it as it comes.
type diagnosis struct {
	Source   string    `json:"source"`
	CacheDir string    `json:"cache_dir"`
	OK       bool      `json:"ok"`
	Findings []finding `json:"findings"`

	area string
	show io.Writer // nil for JSON
}

func (d *diagnosis) add(check, result, detail, advice string) {
	f := finding{d.area, check, result, detail, advice}
	d.Findings = append(d.Findings, f)
	if d.show == nil {
		return
	}
	fmt.Fprintf(d.show, "%-4s  %-7s  %s", f.Result, f.Area, f.Check)
	if f.Detail != "" {
		fmt.Fprintf(d.show, ": %s", oneLine(f.Detail))
	}
	fmt.Fprintln(d.show)
	if f.Advice != "" {
		fmt.Fprintf(d.show, "      -> %s\n", f.Advice)
	}
}

func (d *diagnosis) ok(check, detail string)           { d.add(check, findingOK, detail, "") }
func (d *diagnosis) warn(check, detail, advice string) { d.add(check, findingWarn, detail, advice) }
func (d *diagnosis) fail(check, detail, advice string) { d.add(check, findingFail, detail, advice) }

// count gives the number of findings with a result.
func (d *diagnosis) count(result string) (n int) {
	for _, f := range d.Findings {
		if f.Result == result {
			n++
		}
	}
	return n
}

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "try a storage path and this machine, and say what works, what does not and what to do",
		ArgsUsage: "[SOURCE]",
		Description: `Nothing is mounted. Below .trainfs/v1/doctor/ of the storage path a few objects are written
(some 20 MiB, with --quick some bytes) and deleted again; with -o ro nothing is written there. Give the options and the
user of the mount that you mean. Exits 1 if something is wrong that a mount needs; warnings alone exit 0.

` + examples("trainfs doctor s3://bucket/run1",
			"trainfs doctor --json -o cache_dir=/scratch/trainfs gs://bucket/run1"),
		Category:     categoryProgram,
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "o", Usage: "`OPTIONS` as for mount; may be repeated"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object", DisableDefaultText: true},
			&cli.BoolFlag{Name: "quick", Usage: "measure no throughput", DisableDefaultText: true},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 1 {
				return usagef("wanted one storage path, got %s", countText(c.Args().Len(), "operand"))
			}
			// Nothing is mounted; the place only has to overlap with nothing.
			r := &mountRequest{source: c.Args().First(), mountPoint: "/nonexistent/trainfs-doctor", options: c.StringSlice("o")}
			cfg, _, err := r.resolved(processEnviron())
			if err != nil {
				return err
			}
			ctx, stop := interruptible(c)
			defer stop()
			return examine(ctx, cfg, c.App.Writer, c.Bool("json"), c.Bool("quick"))
		},
	}
}

// examine makes all checks and tells what they found.
func examine(ctx context.Context, c *Config, out io.Writer, asJSON, quick bool) error {
	d := &diagnosis{Source: c.Source, CacheDir: c.CacheDir, show: out}
	if asJSON {
		d.show = nil
	}
	d.area = "machine"
	d.machine(c, quick)
	d.area = "store"
	d.openAndTry(ctx, c, quick)
	if err := ctx.Err(); err != nil {
		return err
	}
	failed := d.count(findingFail)
	d.OK = failed == 0
	if asJSON {
		text, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(out, string(text))
	} else {
		fmt.Fprintf(out, "%d ok, %s, %d failed\n", d.count(findingOK), countText(d.count(findingWarn), "warning"), failed)
	}
	if failed > 0 {
		return told(errors.New("something is wrong"))
	}
	return nil
}

func (d *diagnosis) openAndTry(ctx context.Context, c *Config, quick bool) {
	where, err := c.location()
	if err != nil {
		d.fail("storage path", err.Error(), "")
		return
	}
	open := openers[where.location.Scheme]
	store, err := open(ctx, c, where.location, false, slog.Default())
	if err != nil {
		d.fail("open", strings.TrimPrefix(err.Error(), "open: "), "")
		return
	}
	defer func() {
		if err := store.Close(); err != nil {
			slog.Debug("close store", "err", err)
		}
	}()
	d.ok("open", "it answers, and can be listed")
	d.tryStore(ctx, store, c, quick)
}
