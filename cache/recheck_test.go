package cache

import (
	"testing"
	"time"
)

// What a mapping writes is looked for until ten minutes have passed, and thousands of
// committed files do not cost thousands of looks every few seconds.
func TestCommittedFilesAreLookedAtAgainAtDoublingIntervals(t *testing.T) {
	c := &Cache{}
	start := time.Now()
	c.mu.recent = map[string]recheck{"run/model.pt": newRecheck()}
	var looks []time.Duration
	for at := time.Duration(0); at < time.Hour; at += time.Second {
		for range c.dueRechecks(start.Add(at)) {
			looks = append(looks, at)
		}
	}
	if len(looks) == 0 || len(looks) > 9 {
		t.Fatalf("%d looks: %v", len(looks), looks)
	}
	if looks[0] > 10*time.Second {
		t.Errorf("the first look is after %s", looks[0])
	}
	if last := looks[len(looks)-1]; last < recentFor {
		t.Errorf("the last look is after %s, before the promised %s", last, recentFor)
	}
	if len(c.mu.recent) != 0 {
		t.Error("the file is never forgotten")
	}
}
