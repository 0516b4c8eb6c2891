package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/trainfs/trainfs/backend"
)

// Options of Open. The zero value is good.
type Options struct {
	// CheckTimeout bounds the check that Open makes; 10 s.
	CheckTimeout time.Duration
	// SkipCheck opens without asking the server anything, for a node that goes on with what
	// it has while the server is out of reach.
	SkipCheck bool

	Placement
}

const (
	// What the SDK tries by itself; the layers above go on for ever.
	maxRetries = 3
	firstWait  = 200 * time.Millisecond
	maxWait    = 2 * time.Second
)

// Open opens the storage path and checks that it can be listed. Its errors say what to do:
// ErrNoBucket, ErrDenied, or ErrConfig for want of credentials or of an account, or (then
// it is ErrUnreachable as well) a server that does not answer.
func Open(ctx context.Context, loc backend.Location, opts Options) (*Store, error) {
	if opts.CheckTimeout <= 0 {
		opts.CheckTimeout = 10 * time.Second
	}
	if err := opts.Placement.check(); err != nil {
		return nil, err
	}
	loc = Complete(loc)
	if loc.Params["account"] == "" {
		return nil, configError(nil, "no storage account: write abfs://%s@ACCOUNT.dfs.core.windows.net/…, or set AZURE_STORAGE_ACCOUNT", loc.Bucket)
	}
	creds, err := findCredentials(loc)
	if err != nil {
		return nil, err
	}
	s := &Store{creds: creds, where: loc, prefix: loc.Prefix, place: opts.Placement, copyWholeBytes: maxCopyBytes}
	if s.prefix != "" {
		s.prefix += "/"
	}
	transport := newTransport()
	s.closeIdle = transport.CloseIdleConnections
	if s.client, err = newClient(creds, containerURL(loc), transport); err != nil {
		return nil, configError(brief(err), "the Azure client cannot be made")
	}
	if opts.SkipCheck {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(ctx, opts.CheckTimeout)
	defer cancel()
	// Someone waits for the mount: a failure is told at once.
	ctx = policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: 1, RetryDelay: firstWait, MaxRetryDelay: firstWait})
	if _, _, err := s.listFlat(ctx, s.name(""), nil, 1); err != nil {
		s.closeIdle()
		return nil, s.explain(err)
	}
	return s, nil
}

// serviceURL is where the account is.
func serviceURL(loc backend.Location) string {
	account, authority := loc.Params["account"], cmp.Or(loc.Params["authority"], ".blob.core.windows.net")
	scheme := cmp.Or(loc.Params["scheme"], "https")
	if strings.HasPrefix(authority, ".") {
		return scheme + "://" + account + authority
	}
	return scheme + "://" + authority + "/" + account
}

func containerURL(loc backend.Location) string { return serviceURL(loc) + "/" + loc.Bucket }

func newClient(creds credentials, url string, transport *http.Transport) (*container.Client, error) {
	opts := &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Telemetry: policy.TelemetryOptions{ApplicationID: "trainfs"},
		Retry:     policy.RetryOptions{MaxRetries: maxRetries, RetryDelay: firstWait, MaxRetryDelay: maxWait},
	}}
	switch {
	case creds.sharedKey != nil:
		return container.NewClientWithSharedKeyCredential(url, creds.sharedKey, opts)
	case creds.token != nil:
		return container.NewClient(url, creds.token, opts)
	case creds.sas != "":
		url += "?" + creds.sas
	}
	return container.NewClientWithNoCredential(url, opts)
}

const (
	dialTimeout = 10 * time.Second
	// A server that says nothing for so long is taken for dead.
	answerTimeout = 5 * time.Minute
	connections   = 64 // that are kept open for the next request
)

func newTransport() *http.Transport {
	dialer := &net.Dialer{
		Timeout: dialTimeout,
		// A machine that is gone without a word is noticed in about a minute.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 3},
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
		MaxIdleConns: 2 * connections, MaxIdleConnsPerHost: connections, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: answerTimeout,
		WriteBufferSize: 256 << 10, ReadBufferSize: 128 << 10,
	}
}

// explain says what to do about a failed check.
func (s *Store) explain(err error) error {
	where, account, what := serviceURL(s.where), s.where.Params["account"], brief(err)
	var (
		noHost   *net.DNSError
		wrong    = classify(backend.OpList, err)
		refused  *azidentity.AuthenticationFailedError
		answered = status(err) != 0
	)
	switch {
	case wrong == backend.ErrNoBucket, wrong == backend.ErrNotExist:
		return backend.OpenError(backend.ErrNoBucket, what, "container %q does not exist at %s: create it, or correct the storage path", s.where.Bucket, where)
	case errors.As(err, &refused) && wrong == backend.ErrDenied:
		return backend.OpenError(wrong, what, "Microsoft Entra refuses the credentials (%s): they are wrong, expired or of another tenant", s.creds.from)
	case wrong == backend.ErrDenied && (codeOf(err) == bloberror.AuthenticationFailed || s.creds.sharedKey != nil): // a key may do everything
		return backend.OpenError(wrong, what, "%s refuses %s: it is wrong, has expired or is of another account, or this machine's clock is wrong, "+
			"or the account lets in no keys or not this network", where, s.creds.from)
	case wrong == backend.ErrDenied:
		return backend.OpenError(wrong, what, "%s refuses to list container %q with %s: it needs the role Storage Blob Data Contributor, "+
			"or a SAS token with the permissions racwdl (and t for tags), and a network that the account's firewall lets in", where, s.where.Bucket, s.creds.from)
	case errors.Is(err, context.Canceled):
		return backend.OpenError(nil, what, "open of storage path was broken off")
	case status(err) == http.StatusTooManyRequests, status(err) == http.StatusServiceUnavailable:
		return backend.OpenError(backend.ErrUnreachable, what, "%s is busy, and asks for fewer requests; try again later", where)
	case wrong != nil && answered:
		return backend.OpenError(backend.ErrConfig, what, "%s does not serve container %q like this: check the storage path and the options storage_class, kms_key and tags", where, s.where.Bucket)
	case answered: // as good as not
		return backend.OpenError(backend.ErrUnreachable, what, "%s is not well", where)
	case errors.Is(err, errNoToken):
		return configError(what, "no Azure credentials: %s", howToLogIn)
	case errors.As(err, &noHost) && noHost.IsNotFound:
		return backend.OpenError(backend.ErrUnreachable, fmt.Errorf("%w: %w", backend.ErrConfig, what),
			"there is no storage account %q at %s, or no DNS here: correct the storage path, or check the network", account, where)
	}
	return backend.OpenError(backend.ErrUnreachable, fmt.Errorf("%w: %w", backend.ErrConfig, what),
		"%s does not answer: check the network, and the host and enable_tls= in the storage path", where)
}
