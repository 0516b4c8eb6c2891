package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A configuration file says in YAML what options say otherwise: one key an option, by its
// name, and the two operands as source and mount_point:
//
//	source: s3://bucket/run1
//	mount_point: /mnt/train
//	cache_size: 500G
//	settle: 10s
//	allow_other: on
//	exclude: ["*.bak", scratch/*]

// maxConfigFile is far above what all options take, in bytes.
const maxConfigFile = 256 << 10

// The keys of a file that are no options.
const (
	sourceKey     = "source"
	mountPointKey = "mount_point"
)

// findConfigFile says which file to read, "" for none: the one that is named last among
// the options, or by TRAINFS_CONFIG, or the first that exists of the usual places.
func (r *mountRequest) findConfigFile(env environ) (path string, named bool, err error) {
	option := optionNamed("config")
	for _, list := range r.lists() {
		for _, w := range splitOptions(list.words) {
			if w.name() == option.name {
				path, named = w.value, true
			}
		}
	}
	if !named {
		path, named = env.getenv(option.environmentName()), env.getenv(option.environmentName()) != ""
	}
	switch {
	case named && path == "":
		return "", true, usagef("option config needs a value: %s", option.syntax())
	case named:
		path, err = filepath.Abs(path)
		return path, true, err
	}
	for _, path := range env.configFiles {
		if _, err := os.Stat(path); err == nil {
			return path, false, nil
		}
	}
	return "", false, nil
}

// usualConfigFiles are looked for in this order when none is named.
func usualConfigFiles(env environ) []string {
	var paths []string
	if env.uid != 0 {
		base := env.getenv("XDG_CONFIG_HOME")
		if !filepath.IsAbs(base) && env.home != "" {
			base = filepath.Join(env.home, ".config")
		}
		if filepath.IsAbs(base) {
			paths = append(paths, filepath.Join(base, "trainfs", "trainfs.yaml"))
		}
	}
	return append(paths, "/etc/trainfs/trainfs.yaml")
}

// applyFile sets what a configuration file says.
func (c *Config) applyFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("configuration file %s does not exist", path)
	} else if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return usagef("configuration file %s is not a regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	switch {
	case err != nil:
		return fmt.Errorf("configuration file %s: %w", path, err)
	case len(text) > maxConfigFile:
		return usagef("configuration file %s is larger than %s", path, bytesText(maxConfigFile))
	}
	c.ConfigFile = path
	return c.applyYAML(path, string(text))
}

func (c *Config) applyYAML(path, text string) error {
	dec := yaml.NewDecoder(strings.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil // empty, or comments only
	case err != nil:
		return usagef("configuration file %s: %v", path, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return usagef("configuration file %s: more than one document", path)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		return usagef("configuration file %s, line %d: wanted lines of the form option: value", path, root.Line)
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		at := fmt.Sprintf("configuration file %s, line %d", path, key.Line)
		name := word{key: key.Value}.name()
		if o, _ := findOption(name); o != nil {
			name = o.name // an alias of it
		}
		if line, twice := seen[name]; twice {
			return usagef("%s: %s is already given in line %d", at, printable(key.Value), line)
		}
		seen[name] = key.Line
		if err := c.applyKey(key, value, at); err != nil {
			return &codedError{exitUsage, fmt.Errorf("%s: %w", at, err)}
		}
	}
	return nil
}

// applyKey sets one line of a file.
func (c *Config) applyKey(key, value *yaml.Node, at string) error {
	texts, list, err := scalars(value)
	if err != nil {
		return fmt.Errorf("%s: %w", printable(key.Value), err)
	}
	name := word{key: key.Value}.name()
	from := strings.Replace(at, "configuration file ", "file ", 1)
	switch {
	case (name == sourceKey || name == mountPointKey) && (list || texts[0] == ""):
		return fmt.Errorf("%s needs one value", name)
	case name == sourceKey:
		c.Source, c.sourceFrom = texts[0], from
		return nil
	case name == mountPointKey:
		if !filepath.IsAbs(texts[0]) {
			return fmt.Errorf("mount_point %s is not absolute", printable(texts[0]))
		}
		c.MountPoint = texts[0]
		return nil
	}
	o, negated := findOption(name)
	switch {
	case o == nil || negated:
		return unknownKey(key.Value)
	case o.name == "config":
		return errors.New("a configuration file cannot name another one")
	case list && o.kind != kindGlobs:
		return fmt.Errorf("option %s takes one value, not a list", o.name)
	case o.kind == kindPath && !filepath.IsAbs(texts[0]):
		return fmt.Errorf("option %s: %s is not an absolute path", o.name, printable(texts[0]))
	}
	c.begin(o, levelFile, from)
	for _, text := range texts {
		if err := c.setText(o, text); err != nil {
			return err
		}
	}
	return nil
}

// scalars gives the texts of a value, which is one or a list of them.
func scalars(n *yaml.Node) (texts []string, list bool, err error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return nil, false, errors.New("has no value")
		}
		return []string{n.Value}, false, nil
	case yaml.SequenceNode:
		for _, each := range n.Content {
			if each.Kind != yaml.ScalarNode || each.Tag == "!!null" {
				return nil, true, errors.New("is a list of something else than values")
			}
			texts = append(texts, each.Value)
		}
		return texts, true, nil
	}
	return nil, false, errors.New("wanted a value, or a list of values")
}

// unknownKey never repeats a value, as unknownOption does not.
func unknownKey(key string) error {
	name := word{key: key}.name()
	if looksSecret(name) {
		return unknownOption(word{key: key})
	}
	known := []string{sourceKey, mountPointKey}
	for _, o := range optionTable {
		known = append(append(known, o.name), o.aliases...)
	}
	return usagef("unknown option %q; the nearest known one is %q (trainfs options lists all)", printable(key), nearest(name, known))
}

// optionNamed is an option that the table is known to have.
func optionNamed(name string) *option {
	o, _ := findOption(name)
	return o
}
