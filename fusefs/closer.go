package fusefs

import (
	"context"
	"fmt"
	"os"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// callerTask is the id of the task that sent a request; 0 if it cannot be seen from here.
func callerTask(ctx context.Context) uint32 {
	caller, ok := fuse.FromContext(ctx)
	if !ok {
		return 0
	}
	return caller.Pid
}

// foreign tells whether a FLUSH says nothing of the program that opened the file. A child
// gets a copy of every descriptor by fork, and closes it by exec or at its end, while the
// program goes on writing: DataLoader workers and every subprocess do. It is foreign if the
// task that opened the file lives, in another process than the one that closes.
//
// Where the tasks cannot be seen, and where the one that opened has ended, a close counts.
// Whatever closes last, RELEASE follows.
func foreign(opener, closer uint32) bool {
	if opener == 0 || closer == 0 || opener == closer {
		return false
	}
	return !there("/proc/%d/task/%d", closer, opener) && there("/proc/%d", opener)
}

func there(format string, ids ...any) bool {
	_, err := os.Lstat(fmt.Sprintf(format, ids...))
	return err == nil
}
