package main

import (
	"os"
	"strings"
	"testing"
)

// The tables of what works where name every kind of store that can be opened, and none
// that cannot.
func TestTheDocsNameEveryStore(t *testing.T) {
	for _, doc := range []string{"../../README.md", "../../docs/stores.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for scheme := range openers {
			if !strings.Contains(string(text), "`"+scheme+"://") {
				t.Errorf("%s has no %s://", doc, scheme)
			}
		}
		for line := range strings.Lines(string(text)) {
			scheme, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "://")
			if ok && strings.HasPrefix(line, "| `") && !strings.ContainsAny(scheme, "` ") && openers[scheme] == nil {
				t.Errorf("%s promises %s://", doc, scheme)
			}
		}
	}
}
