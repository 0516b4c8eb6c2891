package main

import (
	"context"
	"errors"
	"fmt"
)

// What the process returns. mount(8) has codes of its own, which the mount helper uses.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // the command line or an option is wrong; nothing was tried
	exitTimeout = 3 // --timeout passed before all was done

	mountExitUsage   = 1 // of mount(8): "incorrect invocation or permissions"
	mountExitFailure = 32
)

// codedError is an error that knows its exit code.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// toldError is an error that somebody has already told the user, or logged.
type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

// told marks an error as told.
func told(err error) error {
	if err == nil {
		return nil
	}
	return toldError{err}
}

// usagef is an error of the command line or of an option.
func usagef(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

// timeoutf is what a --timeout that has passed leaves.
func timeoutf(format string, args ...any) error {
	return &codedError{exitTimeout, fmt.Errorf(format, args...)}
}

// exitCode is what the process returns for err.
func exitCode(err error) int {
	var coded *codedError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	}
	return exitFailure
}

// mountExitCode is the same in the words of mount(8).
func mountExitCode(err error) int {
	switch exitCode(err) {
	case exitOK:
		return exitOK
	case exitUsage:
		return mountExitUsage
	}
	return mountExitFailure
}
