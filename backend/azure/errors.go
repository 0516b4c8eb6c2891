package azure

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"

	"github.com/trainfs/trainfs/backend"
)

// kinds says what an error code means, where its status does not say it.
var kinds = map[bloberror.Code]error{
	bloberror.BlobNotFound:             backend.ErrNotExist,
	bloberror.ContainerNotFound:        backend.ErrNoBucket,
	bloberror.ContainerDisabled:        backend.ErrDenied,
	bloberror.ContainerBeingDeleted:    backend.ErrNoBucket,
	bloberror.BlobAlreadyExists:        backend.ErrExist,
	bloberror.BlobImmutableDueToPolicy: backend.ErrDenied,
	bloberror.BlobArchived:             backend.ErrDenied,
	bloberror.BlobBeingRehydrated:      nil,
	bloberror.InvalidBlockList:         backend.ErrNoStage,
	bloberror.InvalidResourceName:      backend.ErrInvalidKey,
	bloberror.InvalidURI:               backend.ErrInvalidKey,
	bloberror.ResourceTypeMismatch:     backend.ErrInvalidKey, // a directory and a file of one name
	"PathConflict":                     backend.ErrInvalidKey, // the same
	bloberror.InvalidBlobType:          backend.ErrInvalidKey, // a page or append blob is there
	bloberror.BlockCountExceedsLimit:   backend.ErrTooLarge,
	bloberror.RequestBodyTooLarge:      backend.ErrTooLarge,
	bloberror.SourceConditionNotMet:    backend.ErrChanged,
	bloberror.FeatureVersionMismatch:   backend.ErrConfig,
	bloberror.UnsupportedHeader:        backend.ErrConfig,
	bloberror.InvalidHeaderValue:       backend.ErrConfig,
	"EncryptionScopeNotFound":          backend.ErrConfig,
	"PublicAccessNotPermitted":         backend.ErrDenied,

	// These heal: the lease of another tool ends, its unfinished upload is forgotten, and what
	// was damaged on the way is sent again.
	bloberror.LeaseIDMissing:     nil,
	bloberror.InvalidBlobOrBlock: nil,
	bloberror.CRC64Mismatch:      nil,
	bloberror.MD5Mismatch:        nil,
}

// statusKinds are for all other codes; what is not in it may heal (408, 429, 5xx).
var statusKinds = map[int]error{
	http.StatusMovedPermanently:      backend.ErrConfig,
	http.StatusUnauthorized:          backend.ErrDenied,
	http.StatusForbidden:             backend.ErrDenied,
	http.StatusNotFound:              backend.ErrNotExist,
	http.StatusMethodNotAllowed:      backend.ErrDenied,
	http.StatusNotModified:           backend.ErrChanged,
	http.StatusRequestEntityTooLarge: backend.ErrTooLarge,
	http.StatusNotImplemented:        backend.ErrConfig,
}

// advice is added where the code alone helps nobody.
var advice = map[bloberror.Code]string{
	bloberror.InvalidBlobOrBlock: "; another tool has begun an upload of this name and not finished it: finish it there, or wait until the server forgets it after a week",
	bloberror.BlobArchived:       "; bring it back from the archive tier first",
	bloberror.LeaseIDMissing:     "; another tool holds a lease on it",
}

// fail makes a store's error of the SDK's, unless it is one already.
func fail(op, key string, err error) error {
	var already *backend.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	return &backend.Error{Op: op, Key: key, Kind: classify(op, err), Err: brief(err)}
}

// classify says which of backend's errors err is; nil if it may heal.
func classify(op string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil // what the server said before that is no longer of interest
	}
	var refused *azidentity.AuthenticationFailedError
	if errors.As(err, &refused) && refused.RawResponse != nil && refusal(refused.RawResponse.StatusCode) {
		return backend.ErrDenied
	}
	code, status := codeOf(err), status(err)
	if kind, known := kinds[code]; known {
		return kind
	}
	if status == http.StatusPreconditionFailed {
		return precondition(op)
	}
	if status == http.StatusNotFound && (op == backend.OpPut || op == backend.OpPutPart || op == backend.OpBeginStage || op == backend.OpList) {
		return backend.ErrNoBucket // nothing else is looked for
	}
	return statusKinds[status]
}

// refusal tells that no token is to be had for the credentials. A server of tokens that is
// out of order heals.
func refusal(status int) bool {
	return status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

// precondition says what a condition that does not hold means, each operation having one.
func precondition(op string) error {
	switch op {
	case backend.OpPut, backend.OpPublishStage, backend.OpCopy:
		return backend.ErrExist
	}
	return backend.ErrChanged
}

// status is that of the answer; 0 if there was none.
func status(err error) int {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

func codeOf(err error) bloberror.Code {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return bloberror.Code(answer.ErrorCode)
	}
	return ""
}

// short is an error in one line. The SDK's has a page, and net/http's the whole URL, in
// which a SAS token is a secret.
type short struct {
	text string
	err  error
}

func (s *short) Error() string { return s.text }
func (s *short) Unwrap() error { return s.err }

func brief(err error) error {
	var (
		answer *azcore.ResponseError
		call   *url.Error
	)
	switch {
	case errors.As(err, &answer):
		return &short{fmt.Sprintf("%d %s%s%s", answer.StatusCode, answer.ErrorCode, message(answer), advice[bloberror.Code(answer.ErrorCode)]), err}
	case errors.As(err, &call):
		return &short{strings.ToLower(call.Op) + ": " + call.Err.Error(), err}
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return &short{text, err}
}

// message is what the server says in words, of which the first line is meant for people.
func message(answer *azcore.ResponseError) string {
	if answer.RawResponse == nil {
		return ""
	}
	body, err := runtime.Payload(answer.RawResponse)
	var said struct{ Message string }
	if err != nil || xml.Unmarshal(body, &said) != nil || said.Message == "" {
		return ""
	}
	line, _, _ := strings.Cut(said.Message, "\n")
	return ": " + strings.TrimSpace(line)
}
