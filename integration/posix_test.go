package integration

import (
	"maps"
	"slices"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"
)

// notPosix are cases of go-fuse that a local file system fails as well.
var notPosix = map[string]string{
	"FcntlFlockLocksFile": "it wants a process to conflict with its own fcntl lock, which POSIX forbids",
}

// It runs alone: some cases open files without close-on-exec, and a server that another
// test starts meanwhile would keep them open.
func TestMountIsPosix(t *testing.T) {
	for _, mode := range []string{"passthrough=auto", "passthrough=off"} {
		t.Run(mode, func(t *testing.T) {
			m := fileStore(t).mount(t, mode)
			if got, want := m.status().Passthrough, mode == "passthrough=auto"; got != want {
				t.Fatalf("passthrough is %v", got)
			}
			for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
				if notPosix[name] == "" {
					t.Run(name, func(t *testing.T) { posixtest.All[name](t, mkdir(t, m.path(name))) })
				}
			}
		})
	}
}
