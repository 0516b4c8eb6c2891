package main

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestMain also plays the daemon that startDaemon starts: it runs this same binary.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "test-daemon" {
		playDaemon(os.Args[2])
	}
	goleak.VerifyTestMain(m)
}

func playDaemon(part string) {
	to := os.NewFile(reportFD, "report")
	switch part {
	case "ready":
		json.NewEncoder(to).Encode(report{Warnings: []string{"mind the gap"}})
	case "fails":
		json.NewEncoder(to).Encode(report{Error: "no such bucket", Code: exitUsage})
		os.Exit(exitUsage)
	case "dies":
		fmt.Fprintln(os.Stderr, "panic: last words")
		os.Exit(7)
	case "hangs":
		unix.Pause()
	}
	os.Exit(0)
}
