package s3

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/trainfs/trainfs/backend"
)

// Options of Open. The zero value is good.
type Options struct {
	// Connections that are kept open for the next request; 64.
	Connections int
	// CheckTimeout bounds the check that Open makes; 10 s.
	CheckTimeout time.Duration
	// SkipCheck opens without asking the server anything, for a node that goes on with what
	// it has while the server is out of reach. The region is then not looked for either.
	SkipCheck bool

	Placement
	// RequestPayer says with every request that the requester pays.
	RequestPayer bool
}

const (
	// What the SDK tries by itself; the layers above go on for ever.
	maxAttempts = 4
	maxBackoff  = 2 * time.Second
	// fallbackRegion is what servers other than Amazon's expect if they expect any.
	fallbackRegion = "us-east-1"
)

// Open opens the storage path and checks that it can be listed. Its errors say what to do:
// ErrNoBucket, ErrDenied, or ErrConfig for want of credentials, a wrong region, or (then
// it is ErrUnreachable as well) an endpoint that does not answer.
func Open(ctx context.Context, loc backend.Location, opts Options) (*Store, error) {
	if opts.Connections <= 0 {
		opts.Connections = 64
	}
	if opts.CheckTimeout <= 0 {
		opts.CheckTimeout = 10 * time.Second
	}
	cfg, err := loadConfig(ctx)
	if err != nil {
		return nil, configError(err, "the AWS configuration cannot be read")
	}
	cfg.Credentials = rereading(cfg, loadConfig)
	s := newStore(cfg, loc, opts)
	if opts.SkipCheck {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, opts.CheckTimeout)
	defer cancel()
	source, err := checkCredentials(ctx, cfg)
	if err == nil {
		s, err = s.inRegion(ctx, cfg, loc, opts)
	}
	if err == nil {
		err = s.checkAccess(ctx, source)
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

func loadConfig(ctx context.Context) (aws.Config, error) {
	return config.LoadDefaultConfig(ctx,
		config.WithAppID("trainfs"),
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
		config.WithRetryer(newRetryer(maxAttempts)),
	)
}

func newRetryer(attempts int) func() aws.Retryer {
	return func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = attempts, maxBackoff
		})
	}
}

func newStore(cfg aws.Config, loc backend.Location, opts Options) *Store {
	s := &Store{bucket: loc.Bucket, prefix: loc.Prefix, copyWholeBytes: maxPutBytes, place: opts.Placement}
	if s.prefix != "" {
		s.prefix += "/"
	}
	// Only for S3: the credential chain has a client of its own, with the short timeouts
	// that asking a machine for its role needs.
	client := newHTTPClient(opts.Connections)
	s.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = client
		applyParams(o, loc.Params)
		if opts.RequestPayer {
			o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("x-amz-request-payer", "requester"))
		}
	})
	return s
}

// applyParams gives the options of the URL precedence over the SDK's own.
func applyParams(o *s3.Options, params map[string]string) {
	if endpoint := params["endpoint_override"]; endpoint != "" {
		o.BaseEndpoint = &endpoint
	}
	// Few servers other than Amazon's have a name in DNS for each bucket.
	o.UsePathStyle = o.UsePathStyle || o.BaseEndpoint != nil
	if style := params["path_style"]; style != "" {
		o.UsePathStyle = style == "true"
	}
	if region := params["region"]; region != "" {
		o.Region = region
	}
	if o.Region == "" && o.BaseEndpoint != nil {
		o.Region = fallbackRegion
	}
	o.EndpointOptions.DisableHTTPS = params["scheme"] == "http"
}

// inRegion gives the store with the bucket's region, which nobody needs to know: neither
// the URL nor the SDK's chain may name one, or the chain's may be where the machine is.
func (s *Store) inRegion(ctx context.Context, cfg aws.Config, loc backend.Location, opts Options) (*Store, error) {
	o := s.client.Options()
	if loc.Params["region"] != "" || o.BaseEndpoint != nil {
		return s, nil
	}
	region := bucketRegion(ctx, s)
	if region == "" || region == o.Region {
		if o.Region == "" {
			return s, configError(nil, "the region of bucket %q is not known: add region=… to the storage path", s.bucket)
		}
		return s, nil
	}
	cfg.Region = region
	return newStore(cfg, loc, opts), nil
}

// bucketRegion asks Amazon, which tells it even to those whom it tells nothing else.
func bucketRegion(ctx context.Context, s *Store) string {
	out, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket}, checkRetries, func(o *s3.Options) {
		if o.Region == "" {
			o.Region = fallbackRegion
		}
	})
	if err == nil {
		return aws.ToString(out.BucketRegion)
	}
	return regionHeader(err)
}

func regionHeader(err error) string {
	var response *awshttp.ResponseError
	if errors.As(err, &response) && response.HTTPResponse() != nil {
		return response.HTTPResponse().Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}

// checkRetries makes a failure be told at once, while someone waits for the mount.
func checkRetries(o *s3.Options) { o.Retryer = newRetryer(2)() }
