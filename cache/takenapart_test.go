package cache

import (
	"testing"
	"time"
)

// A large checkpoint may take more than a minute to be removed, after one listing.
func TestDirectoryIsTakenApartForAMinuteAfterEachRemoval(t *testing.T) {
	for name, c := range map[string]struct {
		listed, removed time.Duration // ago
		want            bool
	}{
		"at once":                {0, 0, true},
		"long removal":           {time.Hour, time.Second, true},
		"removed too long ago":   {time.Hour, 2 * takingApartTakes, false},
		"nothing was removed":    {time.Second, 0, false},
		"listed again meanwhile": {0, time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			var n names
			n.apart = map[string]*takenApart{}
			n.listed("u", []DirEntry{{Name: "shown"}})
			if name != "nothing was removed" {
				n.takenFrom("u/shown")
				n.apart["u"].removed = time.Now().Add(-c.removed)
			}
			n.apart["u"].at = time.Now().Add(-c.listed)
			if got := n.cameSince("u/new"); got != c.want {
				t.Errorf("it came since: %v", got)
			}
			if n.cameSince("u/shown") {
				t.Error("what was shown came since")
			}
		})
	}
}
