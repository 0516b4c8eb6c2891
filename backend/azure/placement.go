package azure

import (
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/trainfs/trainfs/backend"
)

// Placement says how the server is to keep new objects; what is empty is up to the account.
type Placement struct {
	AccessTier      string // Hot, Cool, Cold, …
	EncryptionScope string
	Tags            string // index tags, as in a query
}

// check refuses, with ErrConfig, what the server would, and what nobody could read back.
func (p Placement) check() error {
	switch {
	case p.AccessTier == "" || p.tier() != nil:
		return nil
	case strings.EqualFold(p.AccessTier, string(blob.AccessTierArchive)):
		return configError(nil, "option storage_class: what is in the archive tier cannot be read back at once")
	}
	return configError(nil, "option storage_class: Azure's access tiers are Hot, Cool and Cold, not %.20q", p.AccessTier)
}

// tier takes a name in any case.
func (p Placement) tier() *blob.AccessTier {
	for _, t := range []blob.AccessTier{blob.AccessTierHot, blob.AccessTierCool, blob.AccessTierCold} {
		if strings.EqualFold(string(t), p.AccessTier) {
			return &t
		}
	}
	return nil
}

func (p Placement) scope() *blob.CPKScopeInfo {
	if p.EncryptionScope == "" {
		return nil
	}
	return &blob.CPKScopeInfo{EncryptionScope: &p.EncryptionScope}
}

func (p Placement) tags() map[string]string {
	values, err := url.ParseQuery(p.Tags)
	if err != nil || len(values) == 0 {
		return nil
	}
	tags := make(map[string]string, len(values))
	for name, v := range values {
		tags[name] = v[0]
	}
	return tags
}

func (p Placement) put(o *blockblob.UploadOptions) {
	o.Tier, o.CPKScopeInfo, o.Tags = p.tier(), p.scope(), p.tags()
}

// small is for what lives for minutes: colder tiers would charge it for months.
func (p Placement) small(o *blockblob.UploadOptions) { o.CPKScopeInfo = p.scope() }

func (p Placement) commit(o *blockblob.CommitBlockListOptions) {
	o.Tier, o.CPKScopeInfo, o.Tags = p.tier(), p.scope(), p.tags()
}

func (p Placement) copy(o *blob.CopyFromURLOptions) {
	o.Tier, o.CPKScopeInfo, o.BlobTags = p.tier(), p.scope(), p.tags()
}

func configError(err error, format string, args ...any) error {
	return backend.OpenError(backend.ErrConfig, err, format, args...)
}
