package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

// newApp is the command line. Every command returns its error; main prints it and turns it
// into an exit code.
func newApp(stdout, stderr io.Writer) *cli.App {
	cli.VersionFlag = &cli.BoolFlag{Name: "version", Usage: "print the version"}
	app := &cli.App{
		Name:      "trainfs",
		Usage:     "mount remote storage for training jobs: writes at the speed of the local disk, checkpoints all or nothing",
		UsageText: "trainfs COMMAND [FLAGS] …\ntrainfs SOURCE MOUNTPOINT [-o OPTIONS]   the same as trainfs mount",
		Description: `SOURCE is s3://bucket/path, gs://bucket/path, abfs://container@account.dfs.core.windows.net/path, hdfs://host:port/path, file:///path or /path; without one, RAY_STORAGE gives it.
Exit codes: 0 done, 1 failed, 2 wrong command line or option, 3 a --timeout passed.
(Called as mount.trainfs, by mount(8), it has mount(8)'s: 1 usage, 32 failed.)`,
		Version:                   version,
		Writer:                    stdout,
		ErrWriter:                 stderr,
		DisableSliceFlagSeparator: true, // -o has its own commas
		ExitErrHandler:            func(*cli.Context, error) {},
		OnUsageError:              usageError,
		CommandNotFound:           nil,
		Action:                    unknownCommand,
		Commands: []*cli.Command{
			mountCommand(), umountCommand(),
			statusCommand(), waitCommand(), commitCommand(), flushCommand(),
			cacheCommand(), prefetchCommand(), evictCommand(), verifyCommand(), fsckCommand(), gcCommand(),
			doctorCommand(), configCommand(), optionsCommand(), logLevelCommand(), completionCommand(), manCommand(), versionCommand(),
		},
	}
	app.CustomAppHelpTemplate = strings.Replace(cli.AppHelpTemplate,
		`{{template "visibleCommandCategoryTemplate" .}}`, commandGroups(app.Commands), 1)
	return app
}

// commandGroups lists the commands by group, in our order; the library's own is the
// alphabet's.
func commandGroups(commands []*cli.Command) string {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	group := ""
	for _, c := range commands {
		if c.Category != group {
			group = c.Category
			fmt.Fprintf(tw, "\n   %s:", group)
		}
		fmt.Fprintf(tw, "\n     %s\t%s", c.Name, c.Usage)
	}
	fmt.Fprint(tw, "\n     help\tshow this, or the help of one command")
	tw.Flush() // a Builder takes everything
	return b.String()
}

func usageError(_ *cli.Context, err error, _ bool) error {
	return &codedError{exitUsage, err}
}

// unknownCommand runs when no command was named.
func unknownCommand(c *cli.Context) error {
	if !c.Args().Present() {
		return cli.ShowAppHelp(c)
	}
	var names []string
	for _, cmd := range c.App.Commands {
		names = append(names, cmd.Name)
	}
	typed := c.Args().First()
	return usagef("unknown command %q; the nearest one is %q (trainfs --help lists all)", printable(typed), nearest(typed, names))
}

// arrange makes a command line into the form that the flag parser takes: a bare
// "trainfs SOURCE MOUNTPOINT" becomes a mount, and flags may follow operands.
func arrange(args []string) []string {
	if len(args) < 2 {
		return args
	}
	app := newApp(nil, nil)
	name := args[1]
	if cmd := app.Command(name); cmd != nil {
		rest := 2
		if len(args) > 2 { // a command of a command, which comes before flags
			for _, sub := range cmd.Subcommands {
				if sub.Name == args[2] {
					cmd, rest = sub, 3
				}
			}
		}
		return append(slices.Clone(args[:rest]), flagsFirst(cmd, args[rest:])...)
	}
	if looksLikeMount(args[1:]) {
		return append([]string{args[0], "mount"}, flagsFirst(app.Command("mount"), args[1:])...)
	}
	return args
}

// looksLikeMount tells a mount without the word from a mistyped command.
func looksLikeMount(args []string) bool {
	return strings.Contains(args[0], "/") ||
		strings.HasPrefix(args[0], "-o") || args[0] == "-f"
}

// flagsFirst moves a command's operands behind its flags.
func flagsFirst(cmd *cli.Command, args []string) []string {
	var flags, operands []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			operands = append(operands, args[i+1:]...)
			i = len(args)
		case len(arg) < 2 || arg[0] != '-':
			operands = append(operands, arg)
		default:
			if name, value, ok := shortWithValue(cmd, arg); ok {
				flags = append(flags, name, value)
				continue
			}
			flags = append(flags, arg)
			if takesValue(cmd, arg) && i+1 < len(args) {
				i++
				flags = append(flags, args[i])
			}
		}
	}
	if len(operands) > 0 {
		flags = append(append(flags, "--"), operands...)
	}
	return flags
}

// shortWithValue cuts -oro into -o ro, as getopt(3) does.
func shortWithValue(cmd *cli.Command, arg string) (name, value string, ok bool) {
	if len(arg) > 2 && arg[1] != '-' && !strings.HasPrefix(arg, "-o=") && takesValue(cmd, arg[:2]) {
		return arg[:2], arg[2:], true
	}
	return "", "", false
}

// takesValue tells whether the argument after a flag belongs to it.
func takesValue(cmd *cli.Command, arg string) bool {
	name := strings.TrimLeft(arg, "-")
	for _, f := range cmd.Flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}

// examples is the end of a command's help.
func examples(lines ...string) string {
	return fmt.Sprintf("Examples:\n  %s", strings.Join(lines, "\n  "))
}
