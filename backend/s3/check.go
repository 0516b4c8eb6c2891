package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/trainfs/trainfs/backend"
)

// checkCredentials tells where in the SDK's chain they were found.
func checkCredentials(ctx context.Context, cfg aws.Config) (source string, err error) {
	creds, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return "", configError(err, "no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID "+
			"and AWS_SECRET_ACCESS_KEY, or give the machine a role")
	}
	return creds.Source, nil
}

// checkAccess lists one key, which tells most of what can be wrong.
func (s *Store) checkAccess(ctx context.Context, source string) error {
	_, err := s.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket:  &s.bucket,
		Prefix:  &s.prefix,
		MaxKeys: aws.Int32(1),
	}, checkRetries)
	if err == nil {
		return nil
	}
	return s.explain(err, source)
}

// explain says what to do about a failed check.
func (s *Store) explain(err error, source string) error {
	o := s.client.Options()
	endpoint := "Amazon S3 in " + o.Region
	if o.BaseEndpoint != nil {
		endpoint = *o.BaseEndpoint
	}
	switch kind := classify(backend.OpList, err); kind {
	case backend.ErrNoBucket, backend.ErrNotExist:
		return backend.OpenError(backend.ErrNoBucket, err,
			"bucket %q does not exist at %s: create it, or correct the storage path", s.bucket, endpoint)
	case backend.ErrDenied:
		return backend.OpenError(kind, err, "%s refuses to list s3://%s/%s with the credentials from %s: they need "+
			"s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload",
			endpoint, s.bucket, s.prefix, source)
	case backend.ErrConfig:
		if region := regionHeader(err); region != "" && region != o.Region {
			return configError(err, "bucket %q is in region %s, not %s: correct region= in the storage path",
				s.bucket, region, o.Region)
		}
		return configError(err, "%s does not serve bucket %q like this: check region=, scheme= and path_style= "+
			"in the storage path", endpoint, s.bucket)
	}
	if errors.Is(err, context.Canceled) {
		return backend.OpenError(nil, err, "open of storage path was broken off")
	}
	switch code := status(err); {
	case code >= http.StatusInternalServerError, code == http.StatusTooManyRequests: // as good as no answer
		return backend.OpenError(backend.ErrUnreachable, err, "%s is not well", endpoint)
	case code != 0:
		return backend.OpenError(nil, err, "%s is not well", endpoint)
	}
	return backend.OpenError(backend.ErrUnreachable, fmt.Errorf("%w: %w", backend.ErrConfig, err),
		"%s does not answer: check the network, and endpoint_override= and scheme= in the storage path", endpoint)
}

func configError(err error, format string, args ...any) error {
	return backend.OpenError(backend.ErrConfig, err, format, args...)
}
