package main

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is how the value of an option is written.
type kind uint8

const (
	kindBool     kind = iota // foo, nofoo, foo=on, foo=off
	kindDuration             // 500ms, 3s, 15m; a bare number is seconds
	kindSize                 // 4096, 16M, 1G; powers of 1024
	kindCount
	kindEnum
	kindGlobs // may be repeated
	kindText
	kindPath
)

// option is one row of the option table.
type option struct {
	name     string
	aliases  []string
	kind     kind
	group    string
	def      string   // default; "" leaves the field's zero value
	shown    string   // what help shows as the default, where def does not say it
	min, max string   // kindDuration, kindSize, kindCount
	values   []string // kindEnum
	bare, no string   // kindEnum: what "foo" and "nofoo" alone mean; "" if they mean nothing
	help     string
	field    func(*Config) any // pointer to bool, string, []string, int, int64 or time.Duration
}

// set parses text into the option's field of c.
func (o *option) set(c *Config, text string) error {
	if text == "" {
		return usagef("option %s needs a value: %s", o.name, o.syntax())
	}
	if strings.ContainsRune(text, 0) {
		return usagef("option %s: value contains a NUL byte", o.name)
	}
	switch field := o.field(c).(type) {
	case *bool:
		v, err := parseBool(text)
		if err != nil {
			return o.invalid(text)
		}
		*field = v
	case *string:
		if o.kind == kindEnum {
			text = o.canonical(text)
			if !slices.Contains(o.values, text) {
				return o.invalid(text)
			}
		}
		*field = text
	case *[]string:
		if _, err := path.Match(text, ""); err != nil {
			return o.invalid(text)
		}
		*field = append(*field, text)
	case *int:
		n, err := o.number(text)
		if err != nil {
			return err
		}
		*field = int(n)
	case *int64:
		n, err := o.number(text)
		if err != nil {
			return err
		}
		*field = n
	case *time.Duration:
		n, err := o.number(text)
		if err != nil {
			return err
		}
		*field = time.Duration(n)
	}
	return nil
}

// canonical lets on/off choices be written in any of the ways a boolean is.
func (o *option) canonical(text string) string {
	if slices.Contains(o.values, text) || !slices.Contains(o.values, "off") {
		return text
	}
	v, err := parseBool(text)
	switch {
	case err != nil:
		return text
	case v:
		return o.bare
	}
	return o.no
}

// number parses text by the option's kind and holds it to its range.
func (o *option) number(text string) (int64, error) {
	n, err := parseNumber(o.kind, text)
	if err != nil {
		return 0, o.invalid(text)
	}
	least, errMin := parseNumber(o.kind, o.min)
	most, errMax := parseNumber(o.kind, o.max)
	if errMin != nil || errMax != nil {
		return 0, fmt.Errorf("option %s has no range", o.name) // a test walks the table
	}
	if n < least || n > most {
		return 0, usagef("option %s=%s is out of range: from %s to %s", o.name, text, o.min, o.max)
	}
	return n, nil
}

func (o *option) invalid(text string) error {
	return usagef("option %s=%s: the value must be %s", o.name, text, o.syntax())
}

// syntax says in words what may stand after the equals sign.
func (o *option) syntax() string {
	switch o.kind {
	case kindBool:
		return "on or off"
	case kindDuration:
		return fmt.Sprintf("a duration like 500ms, 3s or 15m (a bare number is seconds), from %s to %s", o.min, o.max)
	case kindSize:
		return fmt.Sprintf("a size like 16M or 1G (powers of 1024), from %s to %s", o.min, o.max)
	case kindCount:
		return fmt.Sprintf("a number from %s to %s", o.min, o.max)
	case kindEnum:
		return strings.Join(o.values, " or ")
	case kindGlobs:
		return "a glob like run1/best_* (*, ?, [a-z])"
	case kindPath:
		return "a path"
	}
	return "a text"
}

func parseNumber(k kind, text string) (int64, error) {
	switch k {
	case kindDuration:
		d, err := parseDuration(text)
		return int64(d), err
	case kindSize:
		return parseSize(text)
	}
	return strconv.ParseInt(text, 10, 32)
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "on", "yes", "true", "1":
		return true, nil
	case "off", "no", "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither on nor off", text)
}

// parseDuration reads Go's durations, and a bare number as seconds, as mount options do.
func parseDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 || n > math.MaxInt64/int64(time.Second) {
			return 0, fmt.Errorf("%q is no possible number of seconds", text)
		}
		return time.Duration(n) * time.Second, nil
	}
	return time.ParseDuration(text)
}

// parseSize reads bytes: 4096, 64K, 16M, 1G, 2T, each also as 16MiB; powers of 1024.
func parseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "kKmMgGtTiIbB")
	var shift uint
	switch strings.ToUpper(text[len(digits):]) {
	case "":
	case "K", "KIB":
		shift = 10
	case "M", "MIB":
		shift = 20
	case "G", "GIB":
		shift = 30
	case "T", "TIB":
		shift = 40
	default:
		return 0, fmt.Errorf("%q has an unknown unit", text)
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, err
	}
	if n > math.MaxInt64>>shift {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return int64(n) << shift, nil
}
