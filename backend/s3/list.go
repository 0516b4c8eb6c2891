package s3

import (
	"context"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/trainfs/trainfs/backend"
)

func (s *Store) List(ctx context.Context, o backend.ListOptions) (backend.Page, error) {
	in := &s3.ListObjectsV2Input{
		Bucket:       &s.bucket,
		Prefix:       s.full(o.Prefix),
		EncodingType: types.EncodingTypeUrl, // XML has no place for some characters
	}
	if o.Shallow {
		in.Delimiter = aws.String("/")
	}
	if o.Token != "" {
		in.ContinuationToken = &o.Token
	}
	if o.Limit > 0 {
		in.MaxKeys = aws.Int32(int32(min(o.Limit, 1000)))
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return backend.Page{}, fail(backend.OpList, o.Prefix, err)
	}
	page, err := s.page(out)
	return page, fail(backend.OpList, o.Prefix, err)
}

func (s *Store) page(out *s3.ListObjectsV2Output) (backend.Page, error) {
	var page backend.Page
	for _, found := range out.Contents {
		key, ok, err := s.relative(found.Key, out.EncodingType)
		if err != nil {
			return backend.Page{}, err
		}
		if !ok {
			continue
		}
		page.Objects = append(page.Objects, backend.Object{
			Key:      key,
			Size:     aws.ToInt64(found.Size),
			ETag:     unquote(found.ETag),
			Modified: aws.ToTime(found.LastModified),
		})
	}
	for _, found := range out.CommonPrefixes {
		prefix, ok, err := s.relative(found.Prefix, out.EncodingType)
		if err != nil {
			return backend.Page{}, err
		}
		if ok {
			page.Prefixes = append(page.Prefixes, prefix)
		}
	}
	if aws.ToBool(out.IsTruncated) {
		page.Token = aws.ToString(out.NextContinuationToken)
	}
	return page, nil
}

// relative gives a listed key as seen from the storage path; false for the marker of the
// storage path itself.
func (s *Store) relative(listed *string, encoding types.EncodingType) (string, bool, error) {
	key := aws.ToString(listed)
	if encoding == types.EncodingTypeUrl { // a server that did not do it does not say so
		var err error
		if key, err = url.QueryUnescape(key); err != nil {
			return "", false, err
		}
	}
	key, ok := strings.CutPrefix(key, s.prefix)
	return key, ok && key != "", nil
}
