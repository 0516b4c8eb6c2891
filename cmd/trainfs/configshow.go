package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

const fstabPath = "/etc/fstab"

func configCommand() *cli.Command {
	show := &cli.Command{
		Name:      "show",
		Usage:     "print the value of every option for a storage path, and where it came from",
		ArgsUsage: "[SOURCE] [MOUNTPOINT]",
		Description: `Shows what mount(8) would mount: flags, else the line of SOURCE in /etc/fstab, else the
environment (TRAINFS_ and the option's name in capitals), else the configuration file, else
defaults. Nothing is mounted, and the store is not asked.

` + examples("trainfs config show s3://bucket/run1", "trainfs config show --json -o settle=10s s3://bucket/run1 /mnt/train",
			"trainfs config show --config /etc/trainfs/run1.yaml"),
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.StringSliceFlag{Name: "o", Usage: "`OPTIONS` as in fstab: name=value,…; may be repeated"},
			configFlag(),
			&cli.BoolFlag{Name: "json", Usage: "print JSON", DisableDefaultText: true},
		},
		Action: func(c *cli.Context) error {
			if c.Args().Len() > 2 {
				return usagef("wanted at most a storage path and a mount point: trainfs config show [--json] [-o OPTIONS] [SOURCE] [MOUNTPOINT]")
			}
			r := &mountRequest{source: c.Args().Get(0), mountPoint: c.Args().Get(1), options: c.StringSlice("o"), config: c.String("config")}
			s, err := showConfig(r, processEnviron(), fstabPath)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				enc := json.NewEncoder(c.App.Writer)
				enc.SetIndent("", "  ")
				return enc.Encode(s)
			}
			return s.write(c.App.Writer)
		},
	}
	return &cli.Command{
		Name:         "config",
		Usage:        "show what the options of a mount would be",
		ArgsUsage:    "show [SOURCE] [MOUNTPOINT]",
		Description:  examples("trainfs config show s3://bucket/run1"),
		Category:     categoryProgram,
		OnUsageError: usageError,
		Subcommands:  []*cli.Command{show},
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				return usagef("config does what? The form is: trainfs config show [--json] [-o OPTIONS] [SOURCE] [MOUNTPOINT]")
			}
			return usagef("unknown command config %q; the nearest one is %q", printable(c.Args().First()), "config show")
		},
	}
}

// configFlag is shorter to type than -o config=FILE.
func configFlag() cli.Flag {
	return &cli.StringFlag{Name: "config", Usage: "read `FILE`, in YAML, for what is not said otherwise"}
}

// shownConfig is the whole configuration of a mount.
type shownConfig struct {
	Source     string        `json:"source"`
	SourceFrom string        `json:"source_from"`
	MountPoint string        `json:"mount_point,omitempty"`
	File       string        `json:"config_file,omitempty"`
	Fstab      string        `json:"fstab,omitempty"` // the line that was used
	Options    []shownOption `json:"options"`
}

type shownOption struct {
	Name  string   `json:"name"`
	Value string   `json:"value"`
	List  []string `json:"list,omitempty"` // of an option that may be repeated
	From  string   `json:"from"`
}

// showConfig works out what mounting would work out.
func showConfig(r *mountRequest, env environ, fstab string) (*shownConfig, error) {
	s := &shownConfig{}
	lines, err := readFstab(fstab)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		if line.source == r.source && (r.mountPoint == "" || filepath.Clean(line.mountPoint) == filepath.Clean(r.mountPoint)) {
			r.fstab, r.fstabFrom = line.options, fmt.Sprintf("fstab, line %d", line.number)
			r.mountPoint, s.Fstab = line.mountPoint, fmt.Sprintf("%s, line %d", fstab, line.number)
			break
		}
	}
	// Without a mount point all else can be told; the place it is checked against is nobody's.
	c, _, err := r.read(env)
	if err != nil {
		return nil, err
	}
	mountPoint := c.MountPoint
	if c.MountPoint == "" {
		c.MountPoint = "/nonexistent/trainfs-config-show"
	}
	if err := c.resolve(env); err != nil {
		return nil, err
	}
	s.Source, s.SourceFrom, s.MountPoint, s.File = c.Source, c.sourceFrom, mountPoint, c.ConfigFile
	for i := range optionTable {
		s.Options = append(s.Options, c.shown(&optionTable[i]))
	}
	return s, nil
}

// shown tells one option. A default that depends on something is given in words.
func (c *Config) shown(o *option) shownOption {
	at := c.origins[o.name]
	s := shownOption{Name: o.name, Value: strings.Join(at.text, ","), From: at.from}
	if o.kind == kindGlobs {
		s.List = at.text
	}
	switch {
	case o.name == "cache_dir":
		s.Value = c.CacheDir
		if at.level == levelDefault {
			s.From = c.cacheDirFrom
		}
	case o.name == "config" && at.level == levelDefault:
		s.Value, s.From = cmp.Or(c.ConfigFile, "none"), "default"
	case o.name == "ro" && !c.ReadOnly && at.level != levelDefault:
		s.Value = "off"
	case at.level == levelDefault:
		s.Value, s.From = o.shownDefault(), "default"
	}
	return s
}

func (s *shownConfig) write(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintf(tw, "storage path\t%s\t%s\n", printable(s.Source), s.SourceFrom)
	for _, line := range [][2]string{{"mount point", s.MountPoint}, {"file", s.File}, {"fstab", s.Fstab}} {
		if line[1] != "" {
			fmt.Fprintf(tw, "%s\t%s\t\n", line[0], oneLine(line[1]))
		}
	}
	for _, o := range s.Options {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", o.Name, oneLine(o.Value), oneLine(o.From))
	}
	return errors.Join(tw.Flush())
}
