package s3

import (
	"cmp"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Placement says how the server is to keep new objects; what is empty is up to the bucket.
type Placement struct {
	StorageClass string
	ACL          string // canned
	SSE          string // AES256, aws:kms, aws:kms:dsse
	KMSKey       string // with aws:kms, which it stands for
	Tags         string // as in a query
}

func (p Placement) sse() types.ServerSideEncryption {
	if p.KMSKey != "" {
		return types.ServerSideEncryption(cmp.Or(p.SSE, string(types.ServerSideEncryptionAwsKms)))
	}
	return types.ServerSideEncryption(p.SSE)
}

// orNil leaves out a header.
func orNil(value string) *string {
	if value == "" {
		return nil
	}
	return &value
}

func (p Placement) put(in *s3.PutObjectInput) {
	in.StorageClass, in.ACL = types.StorageClass(p.StorageClass), types.ObjectCannedACL(p.ACL)
	in.ServerSideEncryption, in.SSEKMSKeyId, in.Tagging = p.sse(), orNil(p.KMSKey), orNil(p.Tags)
}

func (p Placement) begin(in *s3.CreateMultipartUploadInput) {
	in.StorageClass, in.ACL = types.StorageClass(p.StorageClass), types.ObjectCannedACL(p.ACL)
	in.ServerSideEncryption, in.SSEKMSKeyId, in.Tagging = p.sse(), orNil(p.KMSKey), orNil(p.Tags)
}

// copy leaves the source's tags if there are none to give.
func (p Placement) copy(in *s3.CopyObjectInput) {
	in.StorageClass, in.ACL = types.StorageClass(p.StorageClass), types.ObjectCannedACL(p.ACL)
	in.ServerSideEncryption, in.SSEKMSKeyId, in.Tagging = p.sse(), orNil(p.KMSKey), orNil(p.Tags)
	if p.Tags != "" {
		in.TaggingDirective = types.TaggingDirectiveReplace
	}
}
