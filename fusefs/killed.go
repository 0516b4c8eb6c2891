package fusefs

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// Flags of a task, from the kernel's include/linux/sched.h; /proc/PID/stat shows them.
const (
	taskExiting  = 0x4
	taskSignaled = 0x400
)

const statPatience = 20 * time.Millisecond

// killed tells whether the program that closes a file is being ended by a signal, so that
// the kernel closes its files for it. A program that cannot be seen from here, as from
// another container, counts as alive.
func killed(ctx context.Context) bool {
	caller, ok := fuse.FromContext(ctx)
	if !ok || caller.Pid == 0 {
		return false
	}
	// A program that closes a file by exec holds a lock that this read waits for, and waits
	// itself for the answer to its close. Then it is not being killed; the read ends when
	// the close is answered.
	answer := make(chan bool, 1)
	go func() {
		stat, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(caller.Pid), 10) + "/stat")
		answer <- err == nil && killedStat(stat)
	}()
	patience := time.NewTimer(statPatience)
	defer patience.Stop()
	select {
	case yes := <-answer:
		return yes
	case <-patience.C:
		return false
	}
}

// killedStat reads the ninth field. The second is the program's name, in parentheses, and
// may hold anything.
func killedStat(stat []byte) bool {
	i := bytes.LastIndexByte(stat, ')')
	if i < 0 {
		return false
	}
	fields := bytes.Fields(stat[i+1:])
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && flags&taskExiting != 0 && flags&taskSignaled != 0
}
