package gcs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/trainfs/trainfs/backend"
)

// Options of Open. The zero value is good.
type Options struct {
	// CheckTimeout bounds the check that Open makes; 10 s.
	CheckTimeout time.Duration
	// SkipCheck opens without asking the server anything, for a node that goes on with what
	// it has while the server is out of reach.
	SkipCheck bool

	UserProject  string // who pays for requests, where it is not the bucket's owner
	StorageClass string // of new objects; "" is the bucket's own
	KMSKey       string // full resource name; "" is the bucket's own
	ACL          string // predefined: projectPrivate, bucketOwnerFullControl, …
}

const (
	// What the SDK tries by itself; the layers above go on for ever.
	maxAttempts = 4
	maxBackoff  = 2 * time.Second
)

// Open opens the storage path and checks that it can be listed. Its errors say what to do:
// ErrNoBucket, ErrDenied, or ErrConfig for want of credentials, or (then it is
// ErrUnreachable as well) an endpoint that does not answer.
func Open(ctx context.Context, loc backend.Location, opts Options) (*Store, error) {
	if opts.CheckTimeout <= 0 {
		opts.CheckTimeout = 10 * time.Second
	}
	// The client outlives the mount's start, and so must not end with ctx.
	client, err := storage.NewClient(context.WithoutCancel(ctx), clientOptions(loc)...)
	if err != nil {
		return nil, backend.OpenError(backend.ErrConfig, err, "no Google credentials: run gcloud auth "+
			"application-default login, or set GOOGLE_APPLICATION_CREDENTIALS, or give the machine a service "+
			"account; a public bucket needs none: gs://anonymous@%s/…", loc.Bucket)
	}
	client.SetRetry(
		storage.WithMaxAttempts(maxAttempts),
		storage.WithBackoff(gax.Backoff{Initial: 200 * time.Millisecond, Max: maxBackoff, Multiplier: 2}),
	)
	s := &Store{client: client, bucket: client.Bucket(loc.Bucket), name: loc.Bucket, prefix: loc.Prefix, opts: opts}
	if s.prefix != "" {
		s.prefix += "/"
	}
	if opts.UserProject != "" {
		s.bucket = s.bucket.UserProject(opts.UserProject)
	}
	if opts.SkipCheck {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, opts.CheckTimeout)
	defer cancel()
	if err := s.checkAccess(ctx); err != nil {
		client.Close()
		return nil, s.explain(err, loc)
	}
	return s, nil
}

// clientOptions are the options of the URL. To a server without TLS no token is sent: it
// could be read on the way, and only emulators are reached like this.
func clientOptions(loc backend.Location) []option.ClientOption {
	opts := []option.ClientOption{option.WithUserAgent("trainfs")}
	endpoint := loc.Params["endpoint_override"]
	if endpoint != "" {
		opts = append(opts, option.WithEndpoint(endpoint+"/storage/v1/"))
	} else if loc.Params["scheme"] == "http" {
		endpoint = "http://storage.googleapis.com"
		opts = append(opts, option.WithEndpoint(endpoint+"/storage/v1/"))
	}
	if loc.Params["anonymous"] == "true" || strings.HasPrefix(endpoint, "http:") {
		opts = append(opts, option.WithoutAuthentication())
	}
	return opts
}

// checkAccess lists one key, which tells most of what can be wrong.
func (s *Store) checkAccess(ctx context.Context) error {
	it := s.bucket.Retryer(storage.WithMaxAttempts(2)).Objects(ctx, &storage.Query{Prefix: s.prefix})
	it.PageInfo().MaxSize = 1
	if _, err := it.Next(); err != nil && !errors.Is(err, iterator.Done) {
		return err
	}
	return nil
}

// explain says what to do about a failed check.
func (s *Store) explain(err error, loc backend.Location) error {
	endpoint := "Google Cloud Storage"
	if e := loc.Params["endpoint_override"]; e != "" {
		endpoint = e
	}
	var answer *googleapi.Error
	switch kind := classify(backend.OpList, err); {
	case kind == backend.ErrNoBucket, kind == backend.ErrNotExist:
		return backend.OpenError(backend.ErrNoBucket, err,
			"bucket %q does not exist at %s: create it, or correct the storage path", s.name, endpoint)
	case kind == backend.ErrDenied && tokenRefused(err):
		return backend.OpenError(kind, err, "Google refuses the credentials%s: they are revoked, expired or of a "+
			"deleted account; renew them", credentialsSource())
	case kind == backend.ErrDenied:
		return backend.OpenError(kind, err, "%s refuses to list gs://%s/%s with these credentials%s: they need the "+
			"role roles/storage.objectUser on the bucket", endpoint, s.name, s.prefix, credentialsSource())
	case kind == backend.ErrConfig && errors.As(err, &answer):
		return backend.OpenError(kind, err, "%s does not serve bucket %q like this: check its name, "+
			"endpoint_override= and scheme= in the storage path, and the option user_project", endpoint, s.name)
	case errors.Is(err, context.Canceled):
		return backend.OpenError(nil, err, "open of storage path was broken off")
	case errors.As(err, &answer):
		if answer.Code == http.StatusTooManyRequests {
			return backend.OpenError(backend.ErrUnreachable, err, "%s asks for fewer requests; try again later", endpoint)
		}
		if answer.Code >= http.StatusInternalServerError { // as good as no answer
			return backend.OpenError(backend.ErrUnreachable, err, "%s is not well", endpoint)
		}
		return backend.OpenError(nil, err, "%s is not well", endpoint)
	}
	return backend.OpenError(backend.ErrUnreachable, fmt.Errorf("%w: %w", backend.ErrConfig, err),
		"%s does not answer: check the network, and endpoint_override= and scheme= in the storage path", endpoint)
}

// credentialsSource names where the default chain found them, where that is known.
func credentialsSource() string {
	creds, err := credentials.DetectDefault(&credentials.DetectOptions{Scopes: []string{storage.ScopeReadWrite}})
	if err != nil || creds == nil || len(creds.JSON()) == 0 {
		return ""
	}
	return " of the credentials file (GOOGLE_APPLICATION_CREDENTIALS, or gcloud's)"
}
