package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// The manual pages, by name. They are made of the same tables as --help and "trainfs
// options", so they cannot say anything else.
var manPages = map[string]func(*roff, *cli.App){
	"trainfs":       (*roff).trainfs,
	"mount.trainfs": (*roff).mountHelper,
}

func manCommand() *cli.Command {
	return &cli.Command{
		Name:      "man",
		Usage:     "print a manual page, in the form that man(1) reads",
		ArgsUsage: "[trainfs|mount.trainfs]",
		Description: examples("trainfs man | man -l -",
			"trainfs man mount.trainfs > /usr/local/share/man/man8/mount.trainfs.8"),
		Category:     categoryProgram,
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			name := "trainfs"
			if c.Args().Present() {
				name = c.Args().First()
			}
			page, ok := manPages[name]
			if !ok || c.Args().Len() > 1 {
				return usagef("no manual page %q; there are trainfs and mount.trainfs", printable(strings.Join(c.Args().Slice(), " ")))
			}
			m := &roff{}
			page(m, c.App)
			_, err := io.WriteString(c.App.Writer, m.String())
			return err
		},
	}
}

func (m *roff) trainfs(app *cli.App) {
	m.title("trainfs", "mount remote storage for training jobs")
	m.section("SYNOPSIS")
	for _, c := range app.VisibleCommands() {
		if c.Name != "help" {
			m.line(synopsis(c))
		}
	}
	m.section("DESCRIPTION")
	m.text(sentence(app.Usage) + "\n\n" + app.Description)
	m.section("COMMANDS")
	for _, c := range app.VisibleCommands() {
		m.command("", c)
	}
	m.section("FILES")
	m.term("/etc/fstab", "Lines of type trainfs: mount.trainfs(8).")
	m.term("/etc/trainfs/trainfs.yaml", "The configuration file, if there is one: option config of mount.trainfs(8).")
	m.term("CACHE/tree, CACHE/journal, CACHE/log", "In the cache directory: the files themselves, what is known of them, and the daemon's log.")
	m.section("SEE ALSO")
	m.text("mount.trainfs(8), mount(8), fstab(5), systemd.mount(5), fuse(4)")
}

func (m *roff) mountHelper(*cli.App) {
	m.title("mount.trainfs", "the options of a trainfs mount, and its line in fstab")
	m.section("SYNOPSIS")
	for line := range strings.Lines(helperSynopsis) {
		m.line(strings.TrimSpace(line))
	}
	m.section("DESCRIPTION")
	m.text(helperText)
	m.section("OPTIONS")
	group := ""
	for i := range optionTable {
		o := &optionTable[i]
		if o.group != group {
			group = o.group
			m.subsection(group)
		}
		m.term(fmt.Sprintf("%s=%s", o.name, o.shownValues()), o.help+" (default: "+o.shownDefault()+")")
	}
	m.subsection("Words of fstab, accepted and without effect")
	m.text(strings.Join(fstabWords, " ") + " rw x-*")
	m.subsection("Passed on to the kernel")
	m.text(strings.Join(kernelWords, " "))
	m.section("SEE ALSO")
	m.text("trainfs(8), mount(8), fstab(5), systemd.mount(5)")
}

func synopsis(c *cli.Command) string {
	s := "trainfs " + c.Name
	if len(ownFlags(c)) > 0 {
		s += " [FLAGS]"
	}
	return strings.TrimSpace(s + " " + c.ArgsUsage)
}

// command writes one command, and those that it has below it.
func (m *roff) command(above string, c *cli.Command) {
	if c.Name == "help" || c.Hidden {
		return
	}
	m.subsection(strings.TrimSpace("trainfs " + above + c.Name + " " + c.ArgsUsage))
	m.text(sentence(c.Usage))
	m.text(c.Description)
	for _, f := range ownFlags(c) {
		m.term(flagText(f))
	}
	for _, sub := range c.Subcommands {
		m.command(above+c.Name+" ", sub)
	}
}

func sentence(usage string) string { return strings.ToUpper(usage[:1]) + usage[1:] + "." }

// ownFlags are a command's flags but for --help, which all have.
func ownFlags(c *cli.Command) []cli.DocGenerationFlag {
	var flags []cli.DocGenerationFlag
	for _, f := range c.VisibleFlags() {
		if doc, ok := f.(cli.DocGenerationFlag); ok && f.Names()[0] != "help" {
			flags = append(flags, doc)
		}
	}
	return flags
}

// flagText gives a flag as it is typed, and what it does.
func flagText(f cli.DocGenerationFlag) (name, usage string) {
	var names []string
	for _, n := range f.Names() {
		if len(n) == 1 {
			names = append(names, "-"+n)
		} else {
			names = append(names, "--"+n)
		}
	}
	usage = f.GetUsage()
	value := ""
	if before, rest, ok := strings.Cut(usage, "`"); ok { // the library's mark for a value's name
		if v, after, ok := strings.Cut(rest, "`"); ok {
			value, usage = v, before+v+after
		}
	}
	if f.TakesValue() && value == "" {
		value = "VALUE"
	}
	return strings.TrimSpace(strings.Join(names, ", ") + " " + value), usage
}
