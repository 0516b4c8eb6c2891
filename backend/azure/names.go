package azure

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// The server takes a backslash in a name for a slash, drops dots from the end of a path's
// parts, and refuses control characters. Such a character becomes '%' and its number, two
// hexadecimal digits; what looks like that already gets "25" after its '%', once more for
// each time that it has been. All other names are as they are.
var (
	forbidden = regexp.MustCompile(`[\x{1}-\x{1f}\x{7f}-\x{9f}\\]|\.(/|$)`)
	escaped   = regexp.MustCompile(`%(?:25)*(?:0[1-9A-F]|1[0-9A-F]|2E|5C|7F|8[0-9A-F]|9[0-9A-F])`)
)

func escape(name string) string {
	if strings.Contains(name, "%") {
		name = escaped.ReplaceAllStringFunc(name, func(s string) string { return "%25" + s[1:] })
	}
	return forbidden.ReplaceAllStringFunc(name, func(s string) string {
		r := []rune(s)
		return fmt.Sprintf("%%%02X", r[0]) + string(r[1:])
	})
}

func unescape(name string) string {
	if !strings.Contains(name, "%") {
		return name
	}
	return escaped.ReplaceAllStringFunc(name, func(s string) string {
		if rest, ok := strings.CutPrefix(s, "%25"); ok {
			return "%" + rest
		}
		n, err := strconv.ParseUint(s[1:], 16, 8)
		if err != nil {
			return s
		}
		return string(rune(n))
	})
}

// listPrefix is a prefix that the names of all keys have which begin with prefix, and
// perhaps others: where it ends may be in the middle of what is escaped.
func listPrefix(prefix string) string {
	slash := strings.LastIndex(prefix, "/") + 1
	end := strings.IndexFunc(prefix[slash:], func(r rune) bool { return r == '%' || r == '\\' || r == '.' || unicode.IsControl(r) })
	if end < 0 {
		return escape(prefix)
	}
	return escape(prefix[:slash]) + prefix[slash:slash+end]
}
