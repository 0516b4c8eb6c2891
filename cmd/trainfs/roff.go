package main

import (
	"fmt"
	"strings"
	"unicode"
)

// roff writes a manual page in the language of man(7). What is passed in is plain text; an
// indented line of it stays a line of its own.
type roff struct{ strings.Builder }

func (m *roff) title(name, what string) {
	fmt.Fprintf(m, ".TH %s 8 \"\" \"trainfs %s\" \"System Administration\"\n", strings.ToUpper(name), roffEscape(version))
	m.section("NAME")
	fmt.Fprintf(m, "%s \\- %s\n", roffEscape(name), roffEscape(what))
}

func (m *roff) section(name string)    { fmt.Fprintf(m, ".SH %s\n", roffEscape(name)) }
func (m *roff) subsection(name string) { fmt.Fprintf(m, ".SS %s\n", roffEscape(name)) }

// line is a line of a synopsis.
func (m *roff) line(s string) { fmt.Fprintf(m, "%s\n.br\n", roffEscape(s)) }

// term is an entry of a list of words and their meanings.
func (m *roff) term(term, meaning string) {
	fmt.Fprintf(m, ".TP\n.B %s\n%s\n", roffEscape(term), roffEscape(meaning))
}

// text writes paragraphs; empty lines divide them.
func (m *roff) text(s string) {
	fixed := false // inside lines that stay as they are
	set := func(to bool) {
		switch {
		case to && !fixed:
			m.WriteString(".nf\n")
		case !to && fixed:
			m.WriteString(".fi\n")
		}
		fixed = to
	}
	m.WriteString(".P\n")
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		switch {
		case line == "":
			set(false)
			m.WriteString(".P\n")
			continue
		case strings.HasPrefix(line, "  "):
			set(true)
		default:
			set(false)
		}
		m.WriteString(roffEscape(line) + "\n")
	}
	set(false)
}

// roffEscape takes from text what roff would read as its own, and what is not ASCII.
func roffEscape(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '.' && i == 0:
			b.WriteString(`\&.`)
		case roffSpecial[r] != "":
			b.WriteString(roffSpecial[r])
		case r > unicode.MaxASCII:
			fmt.Fprintf(&b, `\[u%04X]`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

var roffSpecial = map[rune]string{
	'\\': `\e`, '-': `\-`, '\'': `\(aq`, '`': `\(ga`, '~': `\(ti`, '^': `\(ha`, '…': "...",
}
