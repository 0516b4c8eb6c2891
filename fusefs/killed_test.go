package fusefs

import "testing"

func TestKilledStat(t *testing.T) {
	for _, c := range []struct {
		stat string
		want bool
	}{
		{"12 (python3) R 1 12 12 0 -1 4194304 100 0", false},
		{"12 (python3) R 1 12 12 0 -1 1028 100 0", true},
		{"12 (a) b) R 1 12 12 0 -1 1028 100 0", true},
		{"12 (python3) R 1 12 12 0 -1 4 100 0", false}, // it exits by itself
		{"12 (python3", false},
		{"", false},
	} {
		if got := killedStat([]byte(c.stat)); got != c.want {
			t.Errorf("%q: %v, want %v", c.stat, got, c.want)
		}
	}
}
