//go:build killpoint

package killpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var (
	target  Step
	crossed atomic.Int64 // how often target may still be crossed
)

func init() {
	text := os.Getenv(Env)
	if text == "" {
		return
	}
	name, count, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n < 1 || !slices.Contains(Steps, Step(name)) {
		fmt.Fprintf(os.Stderr, "%s=%q is not STEP:N with a known step\n", Env, text)
		os.Exit(2)
	}
	target = Step(name)
	crossed.Store(n)
}

// At kills the process if this is the crossing that was asked for.
func At(s Step) {
	if s == target && target != "" && crossed.Add(-1) == 0 {
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// BootID is what a test says of the machine: another one than before is a power cut.
func BootID() string { return os.Getenv(BootEnv) }
