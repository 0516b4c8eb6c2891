package azure

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNamesThatTheServerWouldChangeAreEscaped(t *testing.T) {
	for key, want := range map[string]string{
		"plain/name.pt":    "plain/name.pt",
		"100%":             "100%",
		"a%20b":            "a%20b",
		`back\slash`:       "back%5Cslash",
		"dots..":           "dots.%2E",
		"v1./x":            "v1%2E/x",
		"...":              "..%2E",
		".hidden":          ".hidden",
		"new\tline":        "new%09line",
		"\u0085":           "%85",
		"already%5C":       "already%255C",
		"twice%255C":       "twice%25255C",
		"lower%5c, %252e.": "lower%5c, %252e%2E",
	} {
		if got := escape(key); got != want || unescape(got) != key {
			t.Errorf("%q: %q, want %q; back: %q", key, got, want, unescape(got))
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, seed := range []string{"a", `%5C\`, "a./b..", "%25\\", "%2525252E", "..%2E", "%%5C.", "\x01\u009f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if !utf8.ValidString(key) || strings.Contains(key, "\x00") {
			return
		}
		name := escape(key)
		if unescape(name) != key {
			t.Errorf("%q becomes %q by way of %q", key, unescape(name), name)
		}
		if forbidden.MatchString(name) {
			t.Errorf("%q is left as %q", key, name)
		}
		for end := range key {
			if p := listPrefix(key[:end]); !strings.HasPrefix(name, p) {
				t.Errorf("%q is not below %q, the prefix of %q", name, p, key[:end])
			}
		}
	})
}
