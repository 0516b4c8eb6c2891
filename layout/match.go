package layout

import "strings"

// match reports whether name fits the table pattern pat. In a pattern, * is any text
// (also none), # one or more digits, % exactly one digit, and everything else itself.
// A run of digits is taken whole, so no pattern has a digit after #. match does not
// allocate.
func match(pat, name string) bool {
	for pat != "" {
		switch pat[0] {
		case '*':
			if pat = pat[1:]; pat == "" {
				return true
			}
			for ; name != ""; name = name[1:] {
				if match(pat, name) {
					return true
				}
			}
			return false
		case '#':
			n := digits(name)
			if n == 0 {
				return false
			}
			name = name[n:]
		case '%':
			if name == "" || !isDigit(name[0]) {
				return false
			}
			name = name[1:]
		default:
			if name == "" || name[0] != pat[0] {
				return false
			}
			name = name[1:]
		}
		pat = pat[1:]
	}
	return name == ""
}

// digits returns the length of the run of digits that s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// role is what a name can be according to a table entry.
type role uint8

const (
	roleTemporary  role = iota // temporary file or directory
	roleUnfinished             // file beside a checkpoint that says "not finished"
	roleDir                    // checkpoint directory, precise
	roleNumbered               // checkpoint directory if it lies in a container
	roleGeneric                // checkpoint directory, if nothing precise is found
	roleContainer              // directory of checkpoint directories, itself none
	roleFile                   // one-file checkpoint, precise
	roleExtension              // one-file checkpoint by its extension
	roleTracker
	roleControl
	roleLog
	roleMarker // member that is published last
	roleCount
)

// rule is one pattern of one table entry.
type rule struct {
	pat   string
	role  role
	entry *entry
	names parser // trackers only

	// Shortcuts around match, which most names never reach.
	head   string // literal that the pattern begins with
	inner  string // literal after a leading *
	suffix bool   // the pattern is * and inner
}

// wildcards are the characters of a pattern that do not stand for themselves.
const wildcards = "*#%"

func newRule(pat string, role role, e *entry, names parser) rule {
	r := rule{pat: pat, role: role, entry: e, names: names, head: literal(pat)}
	if pat[0] == '*' {
		r.inner = literal(pat[1:])
		r.suffix = len(r.inner) == len(pat)-1
	}
	return r
}

// literal returns what stands before the first wildcard of pat.
func literal(pat string) string {
	if i := strings.IndexAny(pat, wildcards); i >= 0 {
		return pat[:i]
	}
	return pat
}

func (r *rule) match(name string) bool {
	switch {
	case r.suffix:
		return strings.HasSuffix(name, r.inner)
	case r.inner != "" && !strings.Contains(name, r.inner):
		return false
	}
	rest, ok := strings.CutPrefix(name, r.head)
	return ok && match(r.pat[len(r.head):], rest)
}

// roles holds for every role the rule that a name matches, nil for none.
type roles [roleCount]*rule

// index finds the rules that a name matches. Rules are filed under what is cheap to
// look up: the whole name, its first byte, or its last one.
type index struct {
	exact map[string][]int
	first [256][]int // patterns that begin with a literal
	last  [256][]int // patterns that begin with * and end with a literal
	rest  []int      // all others
	rules []rule
}

func newIndex(rules []rule) *index {
	x := &index{exact: map[string][]int{}, rules: rules}
	for i, r := range rules {
		first, last := r.pat[0], r.pat[len(r.pat)-1]
		switch {
		case !strings.ContainsAny(r.pat, wildcards):
			x.exact[r.pat] = append(x.exact[r.pat], i)
		case !strings.ContainsRune(wildcards, rune(first)):
			x.first[first] = append(x.first[first], i)
		case !strings.ContainsRune(wildcards, rune(last)):
			x.last[last] = append(x.last[last], i)
		default:
			x.rest = append(x.rest, i)
		}
	}
	return x
}

// lookup fills found with the rules that name matches. Rules keep the order of the
// table within a list, and the lists hold different sorts of patterns, the most
// literal first: that is the order in which they win.
func (x *index) lookup(name string, found *roles) {
	*found = roles{}
	if name == "" {
		return
	}
	for _, i := range x.exact[name] {
		if r := &x.rules[i]; found[r.role] == nil {
			found[r.role] = r
		}
	}
	x.scan(x.first[name[0]], name, found)
	x.scan(x.last[name[len(name)-1]], name, found)
	x.scan(x.rest, name, found)
}

func (x *index) scan(list []int, name string, found *roles) {
	for _, i := range list {
		if r := &x.rules[i]; found[r.role] == nil && r.match(name) {
			found[r.role] = r
		}
	}
}
