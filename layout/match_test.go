package layout

import "testing"

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"latest", "latest", true},
		{"latest", "latest2", false},
		{"latest", "late", false},
		{"checkpoint-#", "checkpoint-500", true},
		{"checkpoint-#", "checkpoint-", false},
		{"checkpoint-#", "checkpoint-5a", false},
		{"checkpoint_%%", "checkpoint_12", true},
		{"checkpoint_%%", "checkpoint_1", false},
		{"checkpoint_%%", "checkpoint_123", false},
		{"*.tmp", ".tmp", true},
		{"*.tmp", "a.tmp", true},
		{"*.tmp", "a.tmp2", false},
		{"*epoch=#*", "val=1-epoch=3-step=4", true},
		{"*epoch=#*", "epoch=x-epoch=3", true},
		{"*epoch=#*", "epoch=x", false},
		{"ep#-ba#-rank#.pt", "ep1-ba20-rank300.pt", true},
		{"#", "100", true},
		{"#", "", false},
		{"*", "", true},
	} {
		r := newRule(c.pattern, roleDir, nil, nil)
		if got := r.match(c.name); got != c.want {
			t.Errorf("rule %q on %q: %v", c.pattern, c.name, got)
		}
		if got := match(c.pattern, c.name); got != c.want {
			t.Errorf("match(%q, %q): %v", c.pattern, c.name, got)
		}
	}
}

// TestTableIsSane holds entries to what match and the closing signals rely on.
func TestTableIsSane(t *testing.T) {
	seen := map[string]bool{User: true}
	for _, e := range table {
		if e.name == "" || seen[e.name] {
			t.Errorf("entry %q: no name, or one used twice", e.name)
		}
		seen[e.name] = true
		if len(e.closing) > 0 && len(e.dirs)+len(e.numbered)+len(e.generic) == 0 {
			t.Errorf("entry %q: closes directories that it does not have", e.name)
		}
	}
	for _, r := range names.rules {
		for i := 0; i+1 < len(r.pat); i++ {
			next := r.pat[i+1]
			if r.pat[i] == '#' && (isDigit(next) || next == '#' || next == '%') || r.pat[i] == '*' && next == '*' {
				t.Errorf("entry %q: %q in %q is not something that match can do", r.entry.name, r.pat[i:i+2], r.pat)
			}
		}
		if r.role == roleTracker && r.names == nil {
			t.Errorf("entry %q: tracker %q has no parser", r.entry.name, r.pat)
		}
	}
}
