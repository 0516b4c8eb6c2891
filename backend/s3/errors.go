package s3

import (
	"context"
	"errors"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/trainfs/trainfs/backend"
)

// kinds says what an error code means, of Amazon's servers and others'.
var kinds = map[string]error{
	"NoSuchKey":    backend.ErrNotExist,
	"NotFound":     backend.ErrNotExist, // HEAD has no body to say more
	"NoSuchBucket": backend.ErrNoBucket,
	"NoSuchUpload": backend.ErrNoStage,

	"BadDigest":                   backend.ErrChecksum,
	"InvalidDigest":               backend.ErrChecksum,
	"XAmzContentChecksumMismatch": backend.ErrChecksum,
	"InvalidPart":                 backend.ErrChecksum,
	"InvalidPartOrder":            backend.ErrChecksum,

	"EntityTooLarge": backend.ErrTooLarge,

	"KeyTooLongError":           backend.ErrInvalidKey,
	"InvalidObjectName":         backend.ErrInvalidKey,
	"XMinioInvalidObjectName":   backend.ErrInvalidKey,
	"XMinioParentIsObject":      backend.ErrInvalidKey, // a key below an object
	"ParentIsObject":            backend.ErrInvalidKey,
	"ObjectParentIsFile":        backend.ErrInvalidKey, // the same, versitygw
	"ExistingObjectIsDirectory": backend.ErrInvalidKey, // an object where keys are below

	"AccessDenied":          backend.ErrDenied,
	"AllAccessDisabled":     backend.ErrDenied,
	"AccountProblem":        backend.ErrDenied,
	"InvalidAccessKeyId":    backend.ErrDenied,
	"XAdminUserNotFound":    backend.ErrDenied, // the same, versitygw, with status 404
	"SignatureDoesNotMatch": backend.ErrDenied,
	"MethodNotAllowed":      backend.ErrDenied,

	"PermanentRedirect":                  backend.ErrConfig, // wrong region
	"AuthorizationHeaderMalformed":       backend.ErrConfig, // the same
	"IllegalLocationConstraintException": backend.ErrConfig,
	"InvalidBucketName":                  backend.ErrConfig,
	"NotImplemented":                     backend.ErrConfig,

	// These heal, though their status would say otherwise: the chain gets new credentials,
	// clocks are set, another conditional request comes to its end.
	"ExpiredToken":               nil,
	"ExpiredTokenException":      nil,
	"TokenRefreshRequired":       nil,
	"RequestTimeTooSkewed":       nil,
	"RequestExpired":             nil,
	"RequestTimeout":             nil,
	"ConditionalRequestConflict": nil,
	"OperationAborted":           nil,
}

// statusKinds are for answers without a code in them.
var statusKinds = map[int]error{
	http.StatusMovedPermanently:      backend.ErrConfig,
	http.StatusTemporaryRedirect:     backend.ErrConfig,
	http.StatusPermanentRedirect:     backend.ErrConfig,
	http.StatusForbidden:             backend.ErrDenied,
	http.StatusNotFound:              backend.ErrNotExist,
	http.StatusMethodNotAllowed:      backend.ErrDenied,
	http.StatusRequestEntityTooLarge: backend.ErrTooLarge,
	http.StatusNotImplemented:        backend.ErrConfig,
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
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil // what the server said before that is no longer of interest
	}
	var code string
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	status := status(err)
	if code == "PreconditionFailed" || status == http.StatusPreconditionFailed {
		return precondition(op)
	}
	if kind, known := kinds[code]; known {
		return kind
	}
	if code != "" && status == http.StatusNotFound {
		return nil // something is not found, but that it is the object nobody has said
	}
	return statusKinds[status]
}

// status is that of the answer; 0 if there was none (the SDK makes a ResponseError even then).
func status(err error) int {
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		return response.HTTPStatusCode()
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
