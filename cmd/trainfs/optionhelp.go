package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// shownDefault is what help prints as an option's default.
func (o *option) shownDefault() string {
	switch {
	case o.shown != "":
		return o.shown
	case o.def != "":
		return o.def
	}
	return "none"
}

// shownValues is the short form of what may stand after the equals sign.
func (o *option) shownValues() string {
	switch o.kind {
	case kindBool:
		return "on|off"
	case kindEnum:
		return strings.Join(o.values, "|")
	case kindGlobs:
		return "GLOB"
	case kindPath:
		return "PATH"
	case kindText:
		return "TEXT"
	}
	return o.min + "…" + o.max
}

// writeOptionHelp prints the option table for a terminal.
func writeOptionHelp(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	group := ""
	for i := range optionTable {
		o := &optionTable[i]
		if o.group != group {
			group = o.group
			fmt.Fprintf(tw, "\n%s\n", group)
		}
		fmt.Fprintf(tw, "  %s=%s\t(%s)\n", o.name, o.shownValues(), o.shownDefault())
		for _, line := range wrap(o.help, 90) {
			fmt.Fprintf(tw, "      %s\n", line)
		}
	}
	fmt.Fprintln(tw, "\nWords of fstab, accepted and without effect")
	for _, line := range wrap(strings.Join(fstabWords, " ")+" rw x-*", 90) {
		fmt.Fprintf(tw, "      %s\n", line)
	}
	fmt.Fprintln(tw, "\nPassed on to the kernel (suid and dev without effect: a mount is always nosuid and nodev)")
	for _, line := range wrap(strings.Join(kernelWords, " "), 90) {
		fmt.Fprintf(tw, "      %s\n", line)
	}
	fmt.Fprintln(tw, "\nIn names - and _ are the same. A comma within a value is written \\, . An option that can be\noff also goes as nofoo. Given twice, the last one wins; checkpoint, not_checkpoint and exclude add up.")
	return tw.Flush()
}

// writeOptionMarkdown prints the option table for the documentation.
func writeOptionMarkdown(w io.Writer) error {
	var b strings.Builder
	group := ""
	for i := range optionTable {
		o := &optionTable[i]
		if o.group != group {
			group = o.group
			fmt.Fprintf(&b, "\n### %s\n\n| option | default | values | |\n|---|---|---|---|\n", group)
		}
		values := strings.ReplaceAll(o.shownValues(), "|", `\|`)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", o.name, o.shownDefault(), values, o.help)
	}
	_, err := io.WriteString(w, strings.TrimPrefix(b.String(), "\n"))
	return err
}

// wrap breaks text at spaces into lines of at most width bytes, where words allow.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}
