package fusefs

import (
	"maps"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// notPosix are cases of go-fuse that a local file system fails as well.
var notPosix = map[string]string{
	"FcntlFlockLocksFile": "a process must not conflict with its own fcntl lock; see TestLocksAreThoseOfALocalDisk",
}

func TestPosix(t *testing.T) {
	bothWays(t, func(t *testing.T, mode func(*Config)) {
		for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
			t.Run(name, func(t *testing.T) {
				if why, ok := notPosix[name]; ok {
					t.Skip(why)
				}
				mnt, _ := testMount(t, &fake{}, mode)
				posixtest.All[name](t, mnt)
			})
		}
	})
}
