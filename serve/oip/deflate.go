package oip

import (
	"compress/zlib"
	"io"

	"google.golang.org/grpc/encoding"
)

// Triton's client compresses if told to, with gzip or with deflate, for which gRPC has
// no code of its own. A message is bounded by the server's limit after decompression
// too.
func init() { encoding.RegisterCompressor(deflate{}) }

// deflate is the coding of this name in gRPC and HTTP: zlib (RFC 1950).
type deflate struct{}

func (deflate) Name() string { return "deflate" }

func (deflate) Compress(w io.Writer) (io.WriteCloser, error) {
	return zlib.NewWriterLevel(w, zlib.BestSpeed)
}

func (deflate) Decompress(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }
