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

// statusView shows one mount, or all.
type statusView struct {
	path string // "" is every mount
	json bool
	out  *os.File
	errs io.Writer
}

// once prints the status of every mount asked for; the error says of which it could not.
func (v *statusView) once(ctx context.Context) error {
	var buf bytes.Buffer
	err := v.render(ctx, &buf)
	_, werr := v.out.Write(buf.Bytes())
	return errors.Join(err, werr)
}

// watch prints it again every second until ctx ends; on a terminal in the same place.
func (v *statusView) watch(ctx context.Context) error {
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

func (v *statusView) render(ctx context.Context, w io.Writer) error {
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
func (v *statusView) mounts() ([]mountPoint, error) {
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

func (v *statusView) renderOne(ctx context.Context, m mountPoint) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	dir, err := m.cacheDir()
	if err != nil {
		return "", err
	}
	st, err := newControlClient(dir).status(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.path, err)
	}
	var b strings.Builder
	if v.json {
		err = json.NewEncoder(&b).Encode(st)
	} else {
		err = writeStatus(&b, &st, time.Now())
	}
	return b.String(), err
}
