package scan

import (
	"bufio"
	"compress/bzip2"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

var compressedFormat = Format{
	Name:  "compressed",
	Doc:   "one stream of gzip, zlib, bzip2, xz, LZMA or Zstandard, as joblib writes it",
	match: func(_ *scanner, src *source) bool { return codec(src) != nil },
	scan:  scanCompressed,
}

// opener begins to unpack a stream.
type opener func(*bufio.Reader) (io.Reader, error)

// codecs are told apart by what a stream begins with. LZ4 is left out: what is
// compressed by it is unknown, and so unproven.
var codecs = []struct {
	magic string
	open  opener
}{
	{"\x1f\x8b\x08", func(r *bufio.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"BZh", func(r *bufio.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"\xfd7zXZ\x00", func(r *bufio.Reader) (io.Reader, error) {
		return xz.ReaderConfig{DictCap: 64 << 20}.NewReader(r)
	}},
	{"\x5d\x00\x00", func(r *bufio.Reader) (io.Reader, error) {
		return lzma.ReaderConfig{DictCap: 64 << 20}.NewReader(r)
	}},
	{"\x28\xb5\x2f\xfd", func(r *bufio.Reader) (io.Reader, error) {
		return zstd.NewReader(r, zstd.WithDecoderMaxMemory(256<<20), zstd.WithDecoderConcurrency(1))
	}},
	{"\x78\x01", openZlib}, {"\x78\x5e", openZlib}, {"\x78\x9c", openZlib}, {"\x78\xda", openZlib},
}

func openZlib(r *bufio.Reader) (io.Reader, error) { return zlib.NewReader(r) }

func codec(src *source) opener {
	for _, c := range codecs {
		if src.has(0, c.magic) {
			return c.open
		}
	}
	return nil
}

func scanCompressed(s *scanner, src *source, f *File) {
	packed := bufio.NewReader(io.NewSectionReader(src.r, 0, src.size))
	r, err := codec(src)(packed)
	if err != nil {
		f.unread("archive/damaged", 0, err)
		return
	}
	if d, ok := r.(*zstd.Decoder); ok {
		defer d.Close()
	}
	if s.unpack(f, "content", src, r, src.size) == nil {
		return
	}
	if _, err := packed.ReadByte(); !errors.Is(err, io.EOF) {
		f.unread("archive/trailing", 0, errors.New("bytes follow after the end of the compressed stream"))
	}
}
