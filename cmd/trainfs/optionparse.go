package main

import (
	"slices"
	"strings"
	"unicode"

	"github.com/agnivade/levenshtein"
)

// word is one element of an -o string.
type word struct {
	key      string // as written
	value    string
	hasValue bool
}

// name is the key as the tables spell it: '-' and '_' are the same.
func (w word) name() string { return strings.ReplaceAll(w.key, "-", "_") }

// splitOptions cuts an -o string at its commas. A comma is kept by a backslash before it
// or by double quotes around it, which is how libmount cuts too.
func splitOptions(list string) []word {
	var words []word
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			w := word{}
			w.key, w.value, w.hasValue = strings.Cut(text.String(), "=")
			words = append(words, w)
			text.Reset()
		}
	}
	quoted := false
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '\\' && i+1 < len(list) && strings.IndexByte(`,\"`, list[i+1]) >= 0:
			i++
			text.WriteByte(list[i])
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			flush()
		default:
			text.WriteByte(c)
		}
	}
	flush()
	return words
}

// joinOption writes one option so that splitOptions reads it back.
func joinOption(key, value string) string {
	return key + "=" + strings.NewReplacer(`\`, `\\`, `,`, `\,`, `"`, `\"`).Replace(value)
}

// optionList is one -o string, and where it was written.
type optionList struct{ words, from string }

func optionLists(words []string, from string) []optionList {
	lists := make([]optionList, len(words))
	for i, w := range words {
		lists[i] = optionList{w, from}
	}
	return lists
}

// apply sets what the -o strings say; a later word wins over an earlier one. With sloppy,
// as mount -s asks for, words that nobody knows are skipped and returned.
func (c *Config) apply(lists []optionList, sloppy bool) (skipped []string, err error) {
	for _, list := range lists {
		for _, w := range splitOptions(list.words) {
			known, err := c.applyWord(w, list.from)
			switch {
			case err != nil:
				return nil, err
			case known:
			case sloppy && !looksSecret(w.name()):
				skipped = append(skipped, printable(w.key))
			default:
				return nil, unknownOption(w)
			}
		}
	}
	return skipped, nil
}

// applyWord sets one option, and tells whether it is known.
func (c *Config) applyWord(w word, from string) (known bool, err error) {
	name := w.name()
	if why, ok := refusedWords[name]; ok {
		return true, usagef("option %s: %s", name, why)
	}
	if o, negated := findOption(name); o != nil {
		c.given[o.name] = true
		c.begin(o, levelOption, from)
		return true, c.setOption(o, negated, w)
	}
	switch {
	case name == "rw":
		c.given["rw"] = true
		if !c.given["ro"] { // else the two contradict each other, and resolve says so
			c.ReadOnly = false
		}
		return true, nil
	case slices.Contains(fstabWords, name), strings.HasPrefix(name, "x_"), strings.HasPrefix(name, "X_"):
		return true, nil
	case slices.Contains(kernelWords, name):
		c.addKernelWord(name, w)
		return true, nil
	}
	return false, nil
}

// setOption sets o from any of foo, foo=value, nofoo.
func (c *Config) setOption(o *option, negated bool, w word) error {
	text := o.bare
	switch {
	case negated && w.hasValue:
		return usagef("option %s takes no value; write %s=…", w.name(), o.name)
	case w.hasValue:
		text = w.value
	case o.kind == kindBool && negated:
		text = "off"
	case o.kind == kindBool:
		text = "on"
	case negated:
		text = o.no
	}
	if err := o.set(c, text); err != nil {
		return err
	}
	c.wrote(o, text)
	return nil
}

// findOption looks a name up; nofoo and no_foo find an option foo that can be off.
func findOption(name string) (o *option, negated bool) {
	for i := range optionTable {
		o := &optionTable[i]
		for _, n := range append([]string{o.name}, o.aliases...) {
			if n == name {
				return o, false
			}
			if (o.kind == kindBool || o.no != "") && (name == "no"+n || name == "no_"+n) {
				return o, true
			}
		}
	}
	return nil, false
}

// addKernelWord keeps a mount flag; it replaces its own opposite.
func (c *Config) addKernelWord(name string, w word) {
	opposite := "no" + name
	switch {
	case name == "sync":
		opposite = "async"
	case name == "async":
		opposite = "sync"
	case strings.HasPrefix(name, "no"):
		opposite = strings.TrimPrefix(name, "no")
	}
	c.KernelOptions = slices.DeleteFunc(c.KernelOptions, func(have string) bool {
		key, _, _ := strings.Cut(have, "=")
		return key == name || key == opposite
	})
	if w.hasValue {
		name += "=" + w.value
	}
	c.KernelOptions = append(c.KernelOptions, name)
}

// looksSecret tells that a name is meant for a credential.
func looksSecret(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"passw", "secret", "access_key", "accesskey", "credential", "token", "keyfile", "key_file", "iam_role", "profile"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// unknownOption is the error for a word in no table. It never repeats a value: what looks
// like an option gone wrong may be a secret.
func unknownOption(w word) error {
	name := w.name()
	if looksSecret(name) {
		return usagef("option %s: credentials are never mount options. trainfs takes them from the SDK's own chain: environment variables, the credential and configuration files in ~/.aws (AWS_PROFILE chooses one), or the machine's role", printable(name))
	}
	return usagef("unknown option %q; the nearest known one is %q (trainfs options lists all)", printable(w.key), nearestOption(name))
}

func nearestOption(name string) string {
	var known []string
	for _, o := range optionTable {
		known = append(append(known, o.name), o.aliases...)
	}
	known = append(append(append(known, "rw"), fstabWords...), kernelWords...)
	return nearest(name, known)
}

// nearest is the known word that takes the fewest edits to reach. A word that contains
// what was typed, or the other way round, counts as near.
func nearest(typed string, known []string) string {
	const bounded = 64 // longer words have nothing to do with any of ours
	typed = strings.ToLower(typed[:min(len(typed), bounded)])
	best, least := "", 0
	for _, k := range known {
		distance := 2 * levenshtein.ComputeDistance(typed, k)
		if len(typed) >= 3 && len(k) >= 3 && (strings.Contains(k, typed) || strings.Contains(typed, k)) {
			distance = min(distance, 5)
		}
		if best == "" || distance < least {
			best, least = k, distance
		}
	}
	return best
}

// printable bounds and cleans what a user typed, for a message.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:60]) + "…"
	}
	return text
}
