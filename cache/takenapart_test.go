package cache

import (
	"testing"
	"time"
)

// A large checkpoint may take more than a minute to be removed, after one listing.
func TestDirectoryIsTakenApartForAMinuteAfterEachRemoval(t *testing.T) {
	for name, c := range map[string]struct {
		listed, removed time.Duration // ago
		again           bool          // something is removed once more, now
		want            bool
	}{
		"at once":                {want: true},
		"long removal":           {listed: time.Hour, removed: time.Second, again: true, want: true},
		"removed too long ago":   {listed: time.Hour, removed: 2 * takingApartTakes},
		"listed too long ago":    {listed: time.Hour, removed: 2 * takingApartTakes, again: true},
		"nothing was removed":    {listed: time.Second},
		"listed again meanwhile": {removed: time.Second, want: true},
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
			if c.again {
				n.takenFrom("u/another")
			}
			if got := n.cameSince("u/new"); got != c.want {
				t.Errorf("it came since: %v", got)
			}
			if n.cameSince("u/shown") {
				t.Error("what was shown came since")
			}
		})
	}
}
