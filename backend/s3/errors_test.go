package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/trainfs/trainfs/backend"
)

// answer is an error as the SDK makes it of a response.
func answer(status int, code string) error {
	var err error = errors.New("no code")
	if code != "" {
		err = &smithy.GenericAPIError{Code: code, Message: "…"}
	}
	return &smithy.OperationError{ServiceID: "S3", OperationName: "Any", Err: &awshttp.ResponseError{
		ResponseError: &smithyhttp.ResponseError{
			Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}},
			Err:      err,
		}}}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		op     string
		want   error // nil: heals
	}{
		{404, "NoSuchKey", backend.OpGet, backend.ErrNotExist},
		{404, "NotFound", backend.OpHead, backend.ErrNotExist},
		{404, "", backend.OpHead, backend.ErrNotExist},
		{404, "NoSuchBucket", backend.OpList, backend.ErrNoBucket},
		{404, "XAdminUserNotFound", backend.OpGet, backend.ErrDenied}, // not: the object is gone
		{404, "SomethingNew", backend.OpGet, nil},
		{404, "NoSuchUpload", backend.OpPutPart, backend.ErrNoStage},
		{412, "PreconditionFailed", backend.OpPut, backend.ErrExist},
		{412, "PreconditionFailed", backend.OpPublishStage, backend.ErrExist},
		{412, "PreconditionFailed", backend.OpGet, backend.ErrChanged},
		{412, "", backend.OpGet, backend.ErrChanged},
		{409, "ConditionalRequestConflict", backend.OpPut, nil},
		{409, "OperationAborted", backend.OpPut, nil},
		{409, "ObjectParentIsFile", backend.OpPut, backend.ErrInvalidKey},
		{400, "BadDigest", backend.OpPut, backend.ErrChecksum},
		{400, "InvalidDigest", backend.OpPut, backend.ErrChecksum},
		{400, "XAmzContentChecksumMismatch", backend.OpPutPart, backend.ErrChecksum},
		{400, "InvalidPart", backend.OpPublishStage, backend.ErrChecksum},
		{400, "EntityTooLarge", backend.OpPut, backend.ErrTooLarge},
		{413, "", backend.OpPut, backend.ErrTooLarge},
		{400, "KeyTooLongError", backend.OpPut, backend.ErrInvalidKey},
		{403, "AccessDenied", backend.OpPut, backend.ErrDenied},
		{403, "", backend.OpHead, backend.ErrDenied},
		{403, "InvalidAccessKeyId", backend.OpList, backend.ErrDenied},
		{403, "SignatureDoesNotMatch", backend.OpList, backend.ErrDenied},
		{403, "SomethingNew", backend.OpList, backend.ErrDenied},
		{403, "ExpiredToken", backend.OpPut, nil},
		{400, "ExpiredToken", backend.OpPut, nil},
		{403, "RequestTimeTooSkewed", backend.OpPut, nil},
		{301, "PermanentRedirect", backend.OpList, backend.ErrConfig},
		{301, "", backend.OpHead, backend.ErrConfig},
		{400, "AuthorizationHeaderMalformed", backend.OpList, backend.ErrConfig},
		{400, "RequestTimeout", backend.OpPut, nil},
		{503, "SlowDown", backend.OpPut, nil},
		{500, "InternalError", backend.OpPut, nil},
		{502, "", backend.OpPut, nil},
	} {
		err := fail(c.op, "key", answer(c.status, c.code))
		if c.want == nil && backend.Permanent(err) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %d %s: %v, want %v", c.op, c.status, c.code, err, c.want)
		}
	}
}

func TestClassifyWhatIsNoAnswer(t *testing.T) {
	for _, err := range []error{
		errors.New("connection refused"),
		context.DeadlineExceeded,
		&smithy.OperationError{Err: errors.New("failed to refresh cached credentials")},
	} {
		if err := fail(backend.OpPut, "a", err); backend.Permanent(err) {
			t.Errorf("%v does not heal", err)
		}
	}
	if err := fail(backend.OpPut, "a", fmt.Errorf("x: %w", context.Canceled)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
