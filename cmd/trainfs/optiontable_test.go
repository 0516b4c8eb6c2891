package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestEveryOptionHasSoundDefaultRangeAndHelp(t *testing.T) {
	seen := map[string]bool{}
	for i := range optionTable {
		o := &optionTable[i]
		for _, name := range append([]string{o.name}, o.aliases...) {
			if seen[name] || slices.Contains(fstabWords, name) || slices.Contains(kernelWords, name) || refusedWords[name] != "" {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
			if strings.Contains(name, "-") || name != strings.ToLower(name) {
				t.Errorf("%s would not be found", name)
			}
			if looksSecret(name) {
				t.Errorf("%s looks like a credential", name)
			}
		}
		if o.help == "" || o.group == "" || o.syntax() == "" {
			t.Errorf("%s is not explained", o.name)
		}
		switch o.kind {
		case kindDuration, kindSize, kindCount:
			if _, err := o.number(o.def); err != nil {
				t.Errorf("default: %v", err)
			}
		case kindEnum:
			for _, v := range []string{o.def, o.bare, o.no} {
				if v != "" && !slices.Contains(o.values, v) {
					t.Errorf("%s: %q is none of %q", o.name, v, o.values)
				}
			}
		}
		c := &Config{}
		if o.field(c) == nil {
			t.Errorf("%s has no field", o.name)
		}
	}
	newConfig() // panics if a default does not parse
}

func TestHelpNamesEveryOption(t *testing.T) {
	var help, markdown bytes.Buffer
	if err := writeOptionHelp(&help); err != nil {
		t.Fatal(err)
	}
	if err := writeOptionMarkdown(&markdown); err != nil {
		t.Fatal(err)
	}
	for _, o := range optionTable {
		if !strings.Contains(help.String(), o.name+"=") || !strings.Contains(markdown.String(), "`"+o.name+"`") {
			t.Errorf("%s is missing", o.name)
		}
	}
}
