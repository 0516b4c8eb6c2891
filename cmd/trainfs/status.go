package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// statusTimeout is how long a daemon may take to tell its status.
const statusTimeout = 10 * time.Second

// mountsView shows something of one mount, or of all.
type mountsView struct {
	path string // "" is every mount
	json bool
	out  *os.File
	errs io.Writer
	// ask gets what is shown, and how to write it for people.
	ask func(context.Context, *controlClient) (answer any, write func(io.Writer) error, err error)
}

func askStatus(ctx context.Context, c *controlClient) (any, func(io.Writer) error, error) {
	st, err := c.status(ctx)
	return st, func(w io.Writer) error { return writeStatus(w, &st, time.Now()) }, err
}

func askCache(ctx context.Context, c *controlClient) (any, func(io.Writer) error, error) {
	a, err := c.cache(ctx)
	return a, func(w io.Writer) error { return writeCache(w, &a, time.Now()) }, err
}

// once prints every mount asked for; the error says of which it could not.
func (v *mountsView) once(ctx context.Context) error {
	var buf bytes.Buffer
	err := v.render(ctx, &buf)
	_, werr := v.out.Write(buf.Bytes())
	return errors.Join(err, werr)
}

// watch prints it again every second until ctx ends; on a terminal in the same place.
func (v *mountsView) watch(ctx context.Context) error {
	_, notTerminal := unix.IoctlGetWinsize(int(v.out.Fd()), unix.TIOCGWINSZ)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var buf bytes.Buffer
		if notTerminal == nil && !v.json {
			buf.WriteString("\x1b[H\x1b[2J") // top left, and clear
		}
		err := v.render(ctx, &buf)
		if ctx.Err() != nil {
			return nil
		}
		if _, werr := v.out.Write(buf.Bytes()); werr != nil {
			return werr
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (v *mountsView) render(ctx context.Context, w io.Writer) error {
	mounts, err := v.mounts()
	if err != nil {
		return err
	}
	if len(mounts) == 0 && !v.json {
		fmt.Fprintln(w, "no trainfs mount on this machine")
	}
	var errs []error
	gap := ""
	for _, m := range mounts {
		text, err := v.renderOne(ctx, m)
		if v.path == "" && errors.Is(err, errOthers) { // not asked for by name
			fmt.Fprintf(v.errs, "trainfs: %v\n", err)
			continue
		}
		if errs = append(errs, err); err != nil {
			continue
		}
		fmt.Fprint(w, gap+text)
		if !v.json {
			gap = "\n"
		}
	}
	return errors.Join(errs...)
}

// mounts are those asked for; a bind mount of a part shows with the whole only.
func (v *mountsView) mounts() ([]mountPoint, error) {
	if v.path != "" {
		m, _, err := locate(v.path)
		return []mountPoint{m}, err
	}
	all, err := mountTable()
	var whole []mountPoint
	seen := map[string]bool{}
	for _, m := range all {
		if m.root == "" && !seen[m.path] {
			whole = append(whole, m)
			seen[m.path] = true
		}
	}
	return whole, err
}

func (v *mountsView) renderOne(ctx context.Context, m mountPoint) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	dir, err := m.cacheDir()
	if err != nil {
		return "", err
	}
	answer, write, err := v.ask(ctx, newControlClient(dir))
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.path, err)
	}
	var b strings.Builder
	if v.json {
		err = json.NewEncoder(&b).Encode(answer)
	} else {
		err = write(&b)
	}
	return b.String(), err
}
