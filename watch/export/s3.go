package export

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Bucket is a place in storage that speaks the protocol of S3.
type Bucket struct {
	Endpoint string // HOST or HOST:PORT
	Name     string
	Region   string // "us-east-1" if empty
	// Key and Secret are the access key.
	Key, Secret string
	// Insecure speaks HTTP in the clear: on loopback, and nowhere else.
	Insecure bool
	// Transport is used for requests; the library's own if nil.
	Transport http.RoundTripper
}

// Put stores what a reader has under a name, in parts where it is long. Nothing is
// there under that name until all is.
func (b *Bucket) Put(ctx context.Context, name string, r io.Reader) error {
	region := b.Region
	if region == "" {
		region = "us-east-1"
	}
	c, err := minio.New(b.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(b.Key, b.Secret, ""), Region: region, Secure: !b.Insecure, Transport: b.Transport,
	})
	if err != nil {
		return fmt.Errorf("store %s in bucket %s: %w", name, b.Name, err)
	}
	if _, err := c.PutObject(ctx, b.Name, name, r, -1, minio.PutObjectOptions{ContentType: "application/x-ndjson", PartSize: 16 << 20}); err != nil {
		return fmt.Errorf("store %s in bucket %s at %s: %w", name, b.Name, b.Endpoint, err)
	}
	return nil
}
