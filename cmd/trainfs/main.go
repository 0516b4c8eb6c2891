// Command trainfs mounts a storage path for training jobs, and talks to mounts.
//
// It is flags and fstab options turned into a [Config], the wiring of the other packages
// (wire.go is the only file that knows them all), signals, and subcommands:
//
//   - options: optiontable.go holds every option as data; option.go gives values their
//     meaning, optionparse.go reads -o strings, optionhelp.go prints the table, config.go
//     checks what no single option can.
//   - a mount: mount.go (and helper.go for mount(8)) reads what is asked for, daemon.go
//     starts this program again in the background, session.go is the mount's life.
//   - control: a running mount answers HTTP on a Unix socket in its cache directory
//     (control.go, client.go); the other subcommands are its clients.
//
// Promises: mount exits 0 only once the mount answers; umount exits 0 only when everything
// is durable and unmounted; every failure is told on stderr with what to do about it, and
// leaves nothing half done. No secret is ever an option, so none is in a process title, a
// log or a status.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = "dev"

func main() {
	os.Exit(run(os.Args))
}

func run(args []string) int {
	if len(args) > 0 && isHelper(args[0]) {
		if len(args) == 2 && (args[1] == "--help" || args[1] == "-h") {
			fmt.Print(helperHelp())
			return 0
		}
		return mountExitCode(complain(runHelper(context.Background(), args[1:])))
	}
	ctx := context.Background()
	return exitCode(complain(newApp(os.Stdout, os.Stderr).RunContext(ctx, arrange(args))))
}

func runHelper(ctx context.Context, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	r, err := parseHelper(args)
	if err != nil {
		return err
	}
	return r.mount(ctx, os.Stderr)
}

// complain prints an error, unless somebody has told it already, and returns it.
func complain(err error) error {
	if _, done := errors.AsType[toldError](err); err != nil && !done {
		fmt.Fprintf(os.Stderr, "trainfs: %v\n", err)
	}
	return err
}
