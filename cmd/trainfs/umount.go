package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/trainfs/trainfs/cache"
)

// exitGrace is how long a daemon may take to end once its mount is gone and nothing waits
// for uploads any more.
const exitGrace = time.Minute

// umount uploads everything, unmounts, and waits for the daemon's end.
type umount struct {
	path    string
	noWait  bool
	timeout time.Duration // 0: as long as it takes
	out     *os.File
	errs    io.Writer

	mount    mountPoint
	cacheDir string
	client   *controlClient
}

func (u *umount) run(ctx context.Context) (err error) {
	if u.mount, err = findMountPoint(u.path); err != nil {
		return err
	}
	if u.mount.root != "" {
		return fmt.Errorf("%s is a bind mount of a part of a trainfs mount: take it away with umount(8)", u.mount.path)
	}
	u.cacheDir, err = u.mount.cacheDir()
	if errors.Is(err, errNoDaemon) {
		return u.cleanStale()
	}
	if err != nil {
		return err
	}
	u.client = newControlClient(u.cacheDir)
	// The drain may take long: say what will be in the way before it, not after it.
	if len(findHolders(u.mount.path, 1)) > 0 {
		return busyError(u.mount.path)
	}
	daemon, err := u.client.process(ctx)
	if err != nil {
		return err
	}
	defer daemon.Close()
	last, err := u.drainAndUnmount(ctx)
	if err != nil {
		return err
	}
	if err := u.awaitExit(ctx, daemon); err != nil {
		return err
	}
	u.report(last)
	return nil
}

// drainAndUnmount uploads first while the mount is there, so that a timeout leaves it
// there; then unmounts, and sees through what was written in between.
func (u *umount) drainAndUnmount(ctx context.Context) (last cache.Progress, err error) {
	if u.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, u.timeout)
		defer cancel()
	}
	var view progressView = noView{}
	if !u.noWait {
		view = newProgressView(u.out)
	}
	defer view.close()
	show := func(p cache.Progress) { last = p; view.update(p) }

	if !u.noWait {
		err := untilDurable(ctx, func(ctx context.Context, progress func(cache.Progress)) error {
			_, err := u.client.wait(ctx, everything, progress)
			return err
		}, show)
		if err != nil {
			return last, u.notDrained(ctx, last, err)
		}
	}
	_, err = u.client.shutdown(ctx, !u.noWait, show)
	switch {
	case errors.Is(err, errBusy):
		return last, busyError(u.mount.path)
	case err != nil && isMountRoot(u.mount.path):
		return last, u.notDrained(ctx, last, err)
	case err != nil:
		return last, u.afterwards(ctx, last, err)
	}
	return last, nil
}

// notDrained is the error while the mount is still there.
func (u *umount) notDrained(ctx context.Context, last cache.Progress, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return timeoutf("%s after %s: %s is still mounted, and uploading", leftReport(last), u.timeout, u.mount.path)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted: %s is still mounted, and uploading; %s", u.mount.path, leftReport(last))
	}
	return fmt.Errorf("%s is still mounted: %w", u.mount.path, err)
}

// afterwards is the error when the mount is gone and something is not uploaded.
func (u *umount) afterwards(ctx context.Context, last cache.Progress, err error) error {
	text := fmt.Sprintf("%s is unmounted, but %s: %s", u.mount.path, leftReport(last), u.laterText())
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return timeoutf("%s", text)
	}
	return fmt.Errorf("%s (%w)", text, err)
}

// awaitExit waits for the daemon's end, so that a mount right after this one finds the
// cache directory free.
func (u *umount) awaitExit(ctx context.Context, daemon *daemonProcess) error {
	ctx, cancel := context.WithTimeout(ctx, exitGrace)
	defer cancel()
	if err := daemon.wait(ctx); err != nil {
		return fmt.Errorf("%s is unmounted, but its daemon has not ended (%w); its log is in %s", u.mount.path, err, u.cacheDir)
	}
	return nil
}

// report warns about what stays behind.
func (u *umount) report(last cache.Progress) {
	if len(last.Torn) > 0 {
		fmt.Fprintf(u.errs, "trainfs: warning: torn, and so not uploaded; what there is of them is under %s/tree:\n", u.cacheDir)
		for _, t := range last.Torn {
			fmt.Fprintf(u.errs, "  %s\n", t)
		}
	}
	if u.noWait && last.Units+last.Deletions > 0 {
		fmt.Fprintf(u.errs, "trainfs: %s: %s\n", leftReport(last), u.laterText())
	}
}

func (u *umount) laterText() string {
	return fmt.Sprintf("it is safe in %s, and goes up at the next: trainfs mount -o cache_dir=%s '%s' %s",
		u.cacheDir, u.cacheDir, u.mount.source, u.mount.path)
}

// cleanStale takes away a mount whose daemon is gone. That is what was asked for, and yet
// not all of it: nobody knows that everything is durable.
func (u *umount) cleanStale() error {
	if err := unmountStale(u.mount.path); err != nil {
		return err
	}
	return fmt.Errorf("%s was stale, its daemon had ended; it is unmounted now. What it had not uploaded is still in its cache directory, and goes up at the next: trainfs mount '%s' %s (with the same cache_dir, if one was given)",
		u.mount.path, u.mount.source, u.mount.path)
}
