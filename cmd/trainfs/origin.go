package main

import (
	"fmt"
	"slices"
	"strings"
)

// level says how much the place weighs that an option's value came from: flags and fstab
// over the environment over the configuration file over defaults. mount(8) itself puts the
// options of fstab before those of its command line, of which the last one wins.
type level uint8

const (
	levelDefault level = iota
	levelFile
	levelEnvironment
	levelOption
)

// origin is where the value of an option came from.
type origin struct {
	level level
	from  string   // for people
	text  []string // as it was written
}

// begin notes that values for o come from a place. What repeats adds up within a place
// only: a list from a stronger one replaces it.
func (c *Config) begin(o *option, l level, from string) {
	if old := c.origins[o.name]; o.kind == kindGlobs && old.level < l {
		*o.field(c).(*[]string) = nil
		delete(c.origins, o.name)
	}
	now := c.origins[o.name]
	now.level, now.from = l, from
	c.origins[o.name] = now
}

// wrote notes the text of a value.
func (c *Config) wrote(o *option, text string) {
	now := c.origins[o.name]
	if o.kind != kindGlobs {
		now.text = nil
	}
	now.text = append(slices.Clone(now.text), text)
	c.origins[o.name] = now
}

// environmentName is the variable that gives an option, "" if none does. TRAINFS_CACHE_DIR
// is another thing: the place below which every storage path gets a folder.
func (o *option) environmentName() string {
	if o.name == "cache_dir" {
		return ""
	}
	return "TRAINFS_" + strings.ToUpper(o.name)
}

// applyEnvironment sets what the environment says. What repeats is cut at commas there.
func (c *Config) applyEnvironment(env environ) error {
	for i := range optionTable {
		o := &optionTable[i]
		name := o.environmentName()
		if name == "" || env.getenv(name) == "" || o.name == "config" { // that one was read before
			continue
		}
		c.begin(o, levelEnvironment, "environment "+name)
		texts := []string{env.getenv(name)}
		if o.kind == kindGlobs {
			texts = nil
			for _, w := range splitOptions(env.getenv(name)) {
				texts = append(texts, w.text())
			}
		}
		for _, text := range texts {
			if err := c.setText(o, text); err != nil {
				return fmt.Errorf("environment variable %s: %w", name, err)
			}
		}
	}
	return nil
}

// setText sets an option from a file or the environment, where a choice that can be off
// may be written as a boolean.
func (c *Config) setText(o *option, text string) error {
	if on, err := parseBool(text); err == nil && o.kind != kindBool {
		switch {
		case !on && o.no != "":
			text = o.no
		case on && o.bare != "":
			text = o.bare
		}
	}
	if err := o.set(c, text); err != nil {
		return err
	}
	c.wrote(o, text)
	return nil
}

// text is the word without its key cut off.
func (w word) text() string {
	if w.hasValue {
		return w.key + "=" + w.value
	}
	return w.key
}
