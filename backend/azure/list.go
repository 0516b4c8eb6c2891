package azure

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/trainfs/trainfs/backend"
)

const listLimit = 5000 // the server's own

var withMetadata = container.ListBlobsInclude{Metadata: true}

func (s *Store) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	if err := started(ctx, backend.OpList, o.Prefix); err != nil {
		return backend.Page{}, err
	}
	var (
		items    []*container.BlobItem
		prefixes []*container.BlobPrefix
		next     *string
		err      error
	)
	prefix, limit := listPrefix(s.prefix+o.Prefix), int32(listLimit)
	if o.Limit > 0 {
		limit = int32(min(o.Limit, listLimit))
	}
	if o.Shallow {
		items, prefixes, next, err = s.listShallow(ctx, prefix, optional(o.Token), limit)
	} else {
		items, next, err = s.listFlat(ctx, prefix, optional(o.Token), limit)
	}
	if err != nil {
		return backend.Page{}, fail(backend.OpList, o.Prefix, err)
	}
	page := backend.Page{Objects: s.objects(items, o.Prefix)}
	for _, p := range prefixes {
		if key, ok := s.key(p.Name, o.Prefix); ok && !strings.HasPrefix(key, stagingDir) {
			page.Prefixes = append(page.Prefixes, key)
		}
	}
	slices.Sort(page.Prefixes)
	if next != nil {
		page.Token = *next
	}
	return page, nil
}

func (s *Store) listFlat(ctx context.Context, prefix string, token *string, limit int32) ([]*container.BlobItem, *string, error) {
	page, err := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{
		Prefix: &prefix, Marker: token, MaxResults: &limit, Include: withMetadata,
	}).NextPage(ctx)
	if err != nil {
		return nil, nil, err
	}
	if page.Segment == nil {
		return nil, nil, errNoList
	}
	return page.Segment.BlobItems, page.NextMarker, nil
}

func (s *Store) listShallow(ctx context.Context, prefix string, token *string, limit int32) ([]*container.BlobItem, []*container.BlobPrefix, *string, error) {
	page, err := s.client.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{
		Prefix: &prefix, Marker: token, MaxResults: &limit, Include: withMetadata,
	}).NextPage(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	if page.Segment == nil {
		return nil, nil, nil, errNoList
	}
	return page.Segment.BlobItems, page.Segment.BlobPrefixes, page.NextMarker, nil
}

var errNoList = errors.New("the answer to a listing has no list")

// objects are sorted here: what is escaped has another place in the server's order.
func (s *Store) objects(items []*container.BlobItem, prefix string) []backend.Object {
	var found []backend.Object
	for _, item := range items {
		key, ok := s.key(item.Name, prefix)
		if !ok || strings.HasPrefix(key, stagingDir) || item.Properties == nil || isFolder(key, item.Metadata) {
			continue
		}
		found = append(found, describe(key, item.Properties.ContentLength, item.Properties.ETag, item.Properties.LastModified, item.Metadata))
	}
	slices.SortFunc(found, func(a, b backend.Object) int { return cmp.Compare(a.Key, b.Key) })
	return found
}

// key gives a listed name as seen from the storage path; false for the marker of the
// storage path itself, and for what does not begin with prefix.
func (s *Store) key(name *string, prefix string) (string, bool) {
	if name == nil {
		return "", false
	}
	key, ok := strings.CutPrefix(unescape(*name), s.prefix)
	return key, ok && key != "" && strings.HasPrefix(key, prefix)
}

// isFolder tells a directory of an account with a hierarchical namespace, which is there
// whenever something is in it. Its blob is none of ours.
func isFolder(key string, meta map[string]*string) bool {
	for name, value := range meta {
		if strings.EqualFold(name, "hdi_isfolder") && value != nil && *value == "true" {
			return !backend.IsMarker(key)
		}
	}
	return false
}

// optional leaves out what is empty.
func optional(value string) *string {
	if value == "" {
		return nil
	}
	return to.Ptr(value)
}
