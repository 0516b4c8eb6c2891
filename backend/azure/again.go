package azure

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// again calls f, which sends a body, a few times if it fails in a way that may pass. The
// SDK would do that by itself, but it rewinds the one reader of the body while net/http may
// still read it for the attempt before: a server that answers early makes them race. So f
// makes a new reader each time.
func again(ctx context.Context, f func(ctx context.Context) error) error {
	once := policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		err := f(once)
		if err == nil || !passing(err) || wait >= firstWait<<maxRetries {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// passing tells that it is no use to tell of it yet.
func passing(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errNoToken) {
		return false
	}
	s := status(err)
	return s == 0 || slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}, s)
}
