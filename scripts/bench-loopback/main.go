//go:build ignore

// Command bench-loopback mounts go-fuse's own LoopbackNode over a directory, with passthrough: the
// least that a FUSE file system in Go can do, and so the yardstick that scripts/bench holds
// the creation of small files to.
//
// The build tag keeps it out of ./..., where only fusefs may import go-fuse. Build it by
// name: go build scripts/bench-loopback/main.go
package main

import (
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bench-loopback DIRECTORY MOUNTPOINT")
		os.Exit(2)
	}
	directory, mountPoint := os.Args[1], os.Args[2]
	root, err := fs.NewLoopbackRoot(directory)
	if err != nil {
		log.Fatal(err)
	}
	second := time.Second // as go-fuse's example and trainfs have it
	server, err := fs.Mount(mountPoint, root, &fs.Options{
		AttrTimeout:     &second,
		EntryTimeout:    &second,
		NullPermissions: true,
		MountOptions: fuse.MountOptions{
			FsName: directory, Name: "loopback",
			DirectMount: true,
			// As trainfs, and as go-fuse's example with its -allow-other: the kernel checks modes.
			AllowOther: true,
			Options:    []string{"default_permissions"},
			// As trainfs: passthrough over a file system that is itself stacked, and no
			// question about security.capability before each write.
			MaxStackDepth:     2,
			ExtraCapabilities: fuse.CAP_HANDLE_KILLPRIV_V2,
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if server.KernelSettings().Flags64()&fuse.CAP_PASSTHROUGH == 0 {
		log.Print("no passthrough: this kernel does not offer it")
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		if err := server.Unmount(); err != nil {
			log.Print(err)
		}
	}()
	server.Wait()
}
