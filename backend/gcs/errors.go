package gcs

import (
	"context"
	"errors"
	"net/http"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"

	"github.com/trainfs/trainfs/backend"
	"github.com/trainfs/trainfs/backend/crc32c"
)

// statusKinds says what an answer means; what is not in it may heal (408, 429, 5xx).
var statusKinds = map[int]error{
	http.StatusBadRequest:            backend.ErrConfig,
	http.StatusUnauthorized:          backend.ErrDenied,
	http.StatusForbidden:             backend.ErrDenied,
	http.StatusNotFound:              backend.ErrNotExist,
	http.StatusMethodNotAllowed:      backend.ErrDenied,
	http.StatusNotModified:           backend.ErrChanged,
	http.StatusRequestEntityTooLarge: backend.ErrTooLarge,
	http.StatusNotImplemented:        backend.ErrConfig,
	http.StatusMovedPermanently:      backend.ErrConfig,
}

// fail makes a store's error of the SDK's, unless it is one already.
func fail(op, key string, err error) error {
	var already *backend.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	return &backend.Error{Op: op, Key: key, Kind: classify(op, err), Err: err}
}

// classify says which of backend's errors err is; nil if it may heal.
func classify(op string, err error) error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil // what the server said before that is no longer of interest
	case errors.Is(err, storage.ErrBucketNotExist):
		return backend.ErrNoBucket
	case errors.Is(err, storage.ErrObjectNotExist):
		return backend.ErrNotExist
	case tokenRefused(err):
		return backend.ErrDenied
	}
	switch code := status(err); code {
	case http.StatusPreconditionFailed:
		return precondition(op)
	case http.StatusNotFound:
		if op == backend.OpPut || op == backend.OpPutPart || op == backend.OpBeginStage || op == backend.OpList {
			return backend.ErrNoBucket // nothing else is looked for
		}
		return backend.ErrNotExist
	default:
		return statusKinds[code]
	}
}

// tokenRefused tells that no token is to be had for the credentials. A server of tokens
// that is out of order, or not reached, heals.
func tokenRefused(err error) bool {
	var refused *auth.Error
	return errors.As(err, &refused) && refused.Response != nil &&
		refused.Response.StatusCode >= 400 && refused.Response.StatusCode < 500 &&
		refused.Response.StatusCode != http.StatusRequestTimeout &&
		refused.Response.StatusCode != http.StatusTooManyRequests
}

// status is that of the answer; 0 if there was none.
func status(err error) int {
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		return answer.Code
	}
	return 0
}

// precondition says what a condition that does not hold means, each operation having one.
func precondition(op string) error {
	switch op {
	case backend.OpPut, backend.OpPublishStage, backend.OpCopy:
		return backend.ErrExist
	}
	return backend.ErrChanged
}

// failContent is fail for what sends content. The server says 400 to a wrong checksum as
// it does to anything else that it does not like; reading the content once more tells.
func failContent(op, key string, c backend.Content, err error) error {
	if status(err) != http.StatusBadRequest {
		return fail(op, key, err)
	}
	e := &backend.Error{Op: op, Key: key, Err: err}
	if sum, rerr := crc32c.Of(c.R, c.Offset, c.Size); rerr != nil || sum != c.CRC32C {
		e.Kind = backend.ErrChecksum
	}
	return e // else it was damaged on the way, and may be tried again
}
