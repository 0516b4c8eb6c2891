package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// The groups in which help shows the commands, in its order.
const (
	categoryMounts  = "Mounts"
	categoryUploads = "Uploads"
	categoryCache   = "Cache and store"
	categoryProgram = "This program"
)

func mountCommand() *cli.Command {
	return &cli.Command{
		Name:      "mount",
		Usage:     "mount a storage path; returns once the mount answers",
		ArgsUsage: "[SOURCE] MOUNTPOINT",
		Description: `SOURCE is s3://bucket/path?endpoint_override=…&region=…&scheme=…, gs://bucket/path,
abfs://container@account.dfs.core.windows.net/path, hdfs://host:port/path, plugin://NAME/path, file:///path or /path.
Without one, RAY_STORAGE gives it. "trainfs options" explains every option. As a mount
helper: ln -s "$(command -v trainfs)" /sbin/mount.trainfs, then in /etc/fstab
  s3://bucket/run1 /mnt/train trainfs _netdev,allow_other 0 0

` + examples("trainfs mount s3://bucket/run1 /mnt/train",
			"trainfs mount -o settle=10s,allow_other /nfs/runs/run1 /mnt/train",
			"trainfs mount --config /etc/trainfs/run1.yaml",
			"trainfs mount -f -o log_level=debug s3://bucket/run1?endpoint_override=http://127.0.0.1:9000 /mnt/train"),
		Category:     categoryMounts,
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "o", Usage: "`OPTIONS` as in fstab: name=value,…; may be repeated"},
			&cli.BoolFlag{Name: "f", Aliases: []string{"foreground"}, Usage: "stay in the foreground, log to stderr"},
			configFlag(),
			&cli.BoolFlag{Name: "s", Usage: "ignore options that are unknown", DisableDefaultText: true},
			&cli.BoolFlag{Name: "v", Usage: "say what is done", DisableDefaultText: true},
			&cli.BoolFlag{Name: "help-options", Usage: "explain every option and exit", DisableDefaultText: true},
			&cli.BoolFlag{Name: daemonFlag, Hidden: true},
		},
		Action: func(c *cli.Context) error {
			if c.Bool("help-options") {
				return writeOptionHelp(c.App.Writer)
			}
			r := &mountRequest{
				options: c.StringSlice("o"), sloppy: c.Bool("s"), verbose: c.Bool("v"),
				foreground: c.Bool("f"), daemon: c.Bool(daemonFlag), config: c.String("config"),
			}
			switch a := c.Args(); a.Len() {
			case 0:
				if r.config == "" {
					return usagef("no storage path and no mount point; the form is: trainfs mount [-o OPTIONS] SOURCE MOUNTPOINT")
				}
			case 1:
				r.mountPoint = a.Get(0)
			case 2:
				r.source, r.mountPoint = a.Get(0), a.Get(1)
			default:
				return usagef("wanted a storage path and a mount point, got %s; the form is: trainfs mount [-o OPTIONS] SOURCE MOUNTPOINT", countText(a.Len(), "operand"))
			}
			ctx, stop := interruptible(c)
			defer stop()
			return r.mount(ctx, os.Stderr)
		},
	}
}

func umountCommand() *cli.Command {
	return &cli.Command{
		Name:      "umount",
		Aliases:   []string{"unmount"},
		Usage:     "upload everything, then unmount",
		ArgsUsage: "MOUNTPOINT",
		Description: `Exits 0 only when everything is durable and the mount is gone. Torn units (half
written when the machine or the daemon died) are named, and do not keep it from unmounting.
With --timeout it exits 3 when the time has passed, and the mount is still there.

` + examples("trainfs umount /mnt/train",
			"trainfs umount --timeout 10m /mnt/train",
			"trainfs umount --no-wait /mnt/train   # the rest goes up at the next mount"),
		Category:     categoryMounts,
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "no-wait", Usage: "unmount now; what is not uploaded stays in the cache directory", DisableDefaultText: true},
			timeoutFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() != 1 {
				return usagef("wanted one mount point: trainfs umount [--no-wait] [--timeout D] MOUNTPOINT")
			}
			if c.Bool("no-wait") && c.IsSet("timeout") {
				return usagef("--no-wait and --timeout contradict each other")
			}
			ctx, stop := interruptible(c)
			defer stop()
			u := umount{path: c.Args().First(), noWait: c.Bool("no-wait"), timeout: c.Duration("timeout"), out: os.Stdout, errs: os.Stderr}
			return u.run(ctx)
		},
	}
}

func statusCommand() *cli.Command {
	return &cli.Command{
		Name:      "status",
		Usage:     "show what is not uploaded yet, and why",
		ArgsUsage: "[MOUNTPOINT]",
		Description: `Without MOUNTPOINT, every trainfs mount of this machine. With --json one object a line,
one line a mount.

` + examples("trainfs status", "trainfs status --watch /mnt/train", "trainfs status --json /mnt/train | jq .bytes_left"),
		Category:     categoryUploads,
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print JSON", DisableDefaultText: true},
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "again every second, until interrupted"},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 1 {
				return usagef("wanted at most one mount point: trainfs status [--json] [--watch] [MOUNTPOINT]")
			}
			ctx, stop := interruptible(c)
			defer stop()
			v := mountsView{path: c.Args().First(), json: c.Bool("json"), out: os.Stdout, errs: os.Stderr, ask: askStatus}
			if c.Bool("watch") {
				return v.watch(ctx)
			}
			return v.once(ctx)
		},
	}
}

func waitCommand() *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "return once everything below the paths is durable in the store",
		ArgsUsage: "PATH…",
		Description: `Exits 0 once committed, 1 if something is torn, 3 if --timeout has passed.

` + examples("trainfs wait /mnt/train/run1/checkpoint_000003", "trainfs wait --timeout 5m /mnt/train"),
		Category:     categoryUploads,
		OnUsageError: usageError,
		Flags:        []cli.Flag{timeoutFlag(), quietFlag()},
		Action: func(c *cli.Context) error {
			ctx, stop := interruptible(c)
			defer stop()
			return waitFor(ctx, c.Args().Slice(), waitOptions{timeout: c.Duration("timeout"), quiet: c.Bool("quiet"), out: os.Stdout})
		},
	}
}

func commitCommand() *cli.Command {
	return &cli.Command{
		Name:      "commit",
		Usage:     "say that what lies below the paths is finished: close it and upload it now",
		ArgsUsage: "PATH…",
		Description: `Does not wait for settle, nor for the pause after a failed upload. Returns once the
daemon has accepted it; --wait returns once it is durable.

` + examples("trainfs commit /mnt/train/run1/checkpoint_000003", "trainfs commit --wait --timeout 5m /mnt/train"),
		Category:     categoryUploads,
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "wait", Aliases: []string{"w"}, Usage: "then wait until it is durable"},
			timeoutFlag(), quietFlag(),
		},
		Action: func(c *cli.Context) error {
			if c.IsSet("timeout") && !c.Bool("wait") {
				return usagef("--timeout is for --wait")
			}
			ctx, stop := interruptible(c)
			defer stop()
			paths := c.Args().Slice()
			if err := commitPaths(ctx, paths); err != nil || !c.Bool("wait") {
				return err
			}
			return waitFor(ctx, paths, waitOptions{timeout: c.Duration("timeout"), quiet: c.Bool("quiet"), out: os.Stdout})
		},
	}
}

func optionsCommand() *cli.Command {
	return &cli.Command{
		Name:         "options",
		Usage:        "explain every mount option",
		Description:  examples("trainfs options", "trainfs options --markdown > docs/options.md"),
		Category:     categoryProgram,
		OnUsageError: usageError,
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "markdown", Usage: "as a table for documentation", DisableDefaultText: true}},
		Action: func(c *cli.Context) error {
			if c.Bool("markdown") {
				return writeOptionMarkdown(c.App.Writer)
			}
			return writeOptionHelp(c.App.Writer)
		},
	}
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:         "version",
		Usage:        "print the version",
		Description:  examples("trainfs version", "trainfs version --json"),
		Category:     categoryProgram,
		OnUsageError: usageError,
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "print JSON", DisableDefaultText: true}},
		Action: func(c *cli.Context) error {
			v := map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v["revision"] = s.Value
					}
				}
			}
			if c.Bool("json") {
				return json.NewEncoder(c.App.Writer).Encode(v)
			}
			_, err := fmt.Fprintf(c.App.Writer, "trainfs %s (%s, %s)\n", version, v["go"], v["platform"])
			return err
		},
	}
}
