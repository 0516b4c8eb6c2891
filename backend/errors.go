package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// What a store can answer beside success. A store wraps these, through [Error], with
// the operation, the key and its own words.
var (
	ErrNotExist = errors.New("no such object")
	ErrExist    = errors.New("object exists already")
	ErrChanged  = errors.New("object was changed meanwhile")
	ErrNoStage  = errors.New("no such unfinished upload")
	ErrChecksum = errors.New("checksum mismatch")

	// The following do not heal by themselves: someone has to change something.
	ErrDenied     = errors.New("access denied")
	ErrNoBucket   = errors.New("no such bucket or directory")
	ErrInvalidKey = errors.New("the store cannot have such a key: rename or delete the file")
	ErrTooLarge   = errors.New("object too large for this store")
	ErrConfig     = errors.New("wrong configuration") // wrong region or endpoint, no credentials
)

// ErrUnreachable is what opening a store fails with, beside ErrConfig, if nobody answers:
// the configuration may be wrong, or the network down, and a node that has been there
// before may go on without (P7).
var ErrUnreachable = errors.New("store does not answer")

// Error is a store's failure: what was tried, on which key, and why it failed.
type Error struct {
	Op   string // "put", "list", …
	Key  string
	Kind error // one of the sentinels, or nil for what may heal
	Err  error // the store's own error
}

func (e *Error) Error() string {
	what := e.Op
	if e.Key != "" {
		what = fmt.Sprintf("%s %q", e.Op, e.Key)
	}
	switch {
	case e.Kind == nil:
		return fmt.Sprintf("%s: %v", what, e.Err)
	case e.Err == nil || errors.Is(e.Err, e.Kind):
		return fmt.Sprintf("%s: %v", what, cmp.Or(e.Err, e.Kind))
	}
	return fmt.Sprintf("%s: %v: %v", what, e.Kind, e.Err)
}

// Unwrap makes both the sentinel and the store's own error match.
func (e *Error) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Kind, e.Err} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Permanent tells that trying again soon is of no use: the answer is definite, or
// someone has to change something first. Everything else may heal.
func Permanent(err error) bool {
	for _, kind := range []error{
		ErrNotExist, ErrExist, ErrChanged, ErrNoStage, ErrChecksum,
		ErrDenied, ErrNoBucket, ErrInvalidKey, ErrTooLarge, ErrConfig,
		context.Canceled,
	} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// OpenError is a failure to open a storage path, which someone waits for: what to do comes
// before what the SDK says.
func OpenError(kind, err error, format string, args ...any) error {
	return &Error{Op: OpOpen, Kind: kind, Err: &advice{text: fmt.Sprintf(format, args...), err: err}}
}

type advice struct {
	text string
	err  error
}

func (a *advice) Error() string {
	if a.err == nil {
		return a.text
	}
	return a.text + " (" + a.err.Error() + ")"
}

func (a *advice) Unwrap() error { return a.err }
