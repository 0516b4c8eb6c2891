package s3

import (
	"context"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// rereadAfter is how long keys from a file are used before the file is looked at again.
var rereadAfter = 10 * time.Second

// fileKeys has keys that somebody has put into ~/.aws anew be used without another mount. The
// SDK renews what says when it expires (roles, SSO, a credential_process), and takes what stands in
// a file for what it will be for ever.
type fileKeys struct {
	load func(context.Context) (aws.Config, error)

	mu   sync.Mutex
	last aws.Credentials
}

// rereading gives the credentials of cfg, which load has loaded.
func rereading(cfg aws.Config, load func(context.Context) (aws.Config, error)) aws.CredentialsProvider {
	if !standsInAFile(cfg.Credentials) {
		return cfg.Credentials
	}
	keys, err := cfg.Credentials.Retrieve(context.Background())    // asks nobody
	if err != nil || keys.Source == config.CredentialsSourceName { // those of the environment stay what they are
		return cfg.Credentials
	}
	return aws.NewCredentialsCache(&fileKeys{load: load, last: keys})
}

// standsInAFile says so of those in the environment as well.
func standsInAFile(p aws.CredentialsProvider) bool {
	return p != nil && aws.IsCredentialsProvider(p, credentials.StaticCredentialsProvider{})
}

// Retrieve implements aws.CredentialsProvider. A file that cannot be read, or has no keys at the
// moment, changes nothing: somebody may be writing it.
func (f *fileKeys) Retrieve(ctx context.Context) (aws.Credentials, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cfg, err := f.load(ctx); err == nil && standsInAFile(cfg.Credentials) {
		if keys, err := cfg.Credentials.Retrieve(ctx); err == nil {
			f.last = keys
		}
	}
	keys := f.last
	keys.CanExpire, keys.Expires = true, time.Now().Add(rereadAfter)
	return keys, nil
}
