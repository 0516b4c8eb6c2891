package main

import (
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/trainfs/trainfs/backend"
)

// place is where a storage path leads.
type place struct {
	location backend.Location
	identity string // the same for every spelling of the same place
	dir      string // of a file store; "" for others
}

// location takes the storage path apart, and adds what the options say. Both may say
// the same thing; saying different things is an error, for neither is plainly meant.
func (c *Config) location() (place, error) {
	loc, err := backend.ParseLocation(c.Source)
	if err != nil {
		return place{}, &codedError{exitUsage, err}
	}
	head, rawQuery, _ := strings.Cut(c.Source, "?")
	query := url.Values{}
	if loc.Scheme != "file" {
		query = normalizedQuery(rawQuery)
	}
	for _, o := range c.storeOptions() {
		if !slices.Contains(o.schemes, loc.Scheme) {
			return place{}, usagef("option %s is for %s:// storage paths; this one is %s", o.option, strings.Join(o.schemes, ":// and "), loc.Scheme)
		}
		inURL := query.Has(o.param)
		query.Set(o.param, o.value)
		merged, err := backend.ParseLocation(head + "?" + query.Encode())
		if err != nil {
			return place{}, &codedError{exitUsage, errors.Join(usagef("option %s", o.option), err)}
		}
		if inURL && !maps.Equal(merged.Params, loc.Params) {
			return place{}, usagef("option %s and %s in the storage path contradict each other: leave one out", o.option, o.param)
		}
		loc = merged
	}
	if err := c.checkStoreOptions(loc.Scheme); err != nil {
		return place{}, err
	}
	loc = completed(loc)
	p := place{location: loc, identity: loc.String()}
	if loc.Scheme == "file" {
		p.dir = loc.Path()
	}
	return p, nil
}

// checkStoreOptions refuses options that the store does not have: it would not do what
// somebody counts on.
func (c *Config) checkStoreOptions(scheme string) error {
	for _, o := range []struct {
		option  string
		given   bool
		schemes []string
	}{
		{"storage_class", c.StorageClass != "", []string{"s3", "gs", "abfs"}},
		{"acl", c.ACL != "", []string{"s3", "gs"}},
		{"kms_key", c.KMSKey != "", []string{"s3", "gs", "abfs"}},
		{"sse", c.SSE != "", []string{"s3"}},
		{"request_payer", c.RequestPayer, []string{"s3"}},
		{"tags", c.Tags != "", []string{"s3", "abfs"}},
		{"user_project", c.UserProject != "", []string{"gs"}},
	} {
		if o.given && !slices.Contains(o.schemes, scheme) {
			return usagef("option %s is for %s:// storage paths; this one is %s", o.option, strings.Join(o.schemes, ":// and "), scheme)
		}
	}
	if c.KMSKey != "" && c.SSE == "AES256" {
		return usagef("options sse=AES256 and kms_key contradict each other: leave one out")
	}
	tags, err := url.ParseQuery(c.Tags)
	if err != nil || len(tags) > 10 || tags.Has("") {
		return usagef("option tags: wanted at most ten, as team=a&project=b")
	}
	return nil
}

// storeOption is an option that is also an option of the storage path.
type storeOption struct {
	option, param, value string
	schemes              []string // that have it
}

// storeOptions are those of them that were given. The endpoint comes before its scheme.
func (c *Config) storeOptions() []storeOption {
	var given []storeOption
	for _, o := range []storeOption{
		{"endpoint", "endpoint_override", c.Endpoint, []string{"s3", "gs"}},
		{"scheme", "scheme", c.Scheme, []string{"s3", "gs"}},
		{"region", "region", c.Region, []string{"s3"}},
		{"path_style", "path_style", map[string]string{"on": "true", "off": "false"}[c.PathStyle], []string{"s3"}},
	} {
		if o.value != "" {
			given = append(given, o)
		}
	}
	return given
}

// normalizedQuery reads the options of a storage path that has parsed already.
func normalizedQuery(raw string) url.Values {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return url.Values{}
	}
	out := url.Values{}
	for name, v := range values {
		out[strings.ReplaceAll(name, "-", "_")] = v
	}
	return out
}
