package data

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/redoubt-ml/redoubt"
)

// Limits bounds what a reader accepts. Zero fields mean the defaults.
type Limits struct {
	// Bytes bounds each file, as stored and again after decompression. The
	// default is 2 GiB.
	Bytes int64
	// Elements bounds the numbers in one array. The default is 2^29 (2 GiB as
	// float32): ten times the 60,000 images of MNIST, or 3,500 of ImageNet.
	Elements int64
	// Columns bounds the columns of a table. The default is 65,536.
	Columns int
	// Files bounds the images in a folder and the arrays in an NPZ. The default
	// is 1,000,000.
	Files int
	// Pixels bounds one image, width times height. The default is 2^26.
	Pixels int64
}

func (l Limits) orDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 2 << 30
	}
	if l.Elements == 0 {
		l.Elements = 1 << 29
	}
	if l.Columns == 0 {
		l.Columns = 1 << 16
	}
	if l.Files == 0 {
		l.Files = 1_000_000
	}
	if l.Pixels == 0 {
		l.Pixels = 1 << 26
	}
	return l
}

// elements is the number of elements of a shape, or an error beyond the limit.
func (l Limits) elements(shape ...int64) (int64, error) {
	n := int64(1)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		// A zero dimension makes an empty array; the others are still checked,
		// so that the shape as a whole stays within an int64.
		if d > 0 && n > l.Elements/d {
			return 0, fmt.Errorf("shape %v exceeds the limit of %d elements", shape, l.Elements)
		}
		n *= max(d, 1)
	}
	for _, d := range shape {
		if d == 0 {
			return 0, nil
		}
	}
	return n, nil
}

// source reads whole files within limits and remembers their digests. Bytes
// are read once, so that what is decoded is what was digested.
type source struct {
	limits Limits
	names  []string
	sums   []redoubt.Digest
}

// file returns the content of a file as stored.
func (s *source) file(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.read(f, path)
}

func (s *source) read(f *os.File, name string) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case info.Size() > s.limits.Bytes:
		return nil, fmt.Errorf("%s has %d bytes; the limit is %d", name, info.Size(), s.limits.Bytes)
	}
	b, err := readAtMost(f, s.limits.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	s.names = append(s.names, name)
	s.sums = append(s.sums, redoubt.DigestBytes(b))
	return b, nil
}

// unpacked is file, decompressed if the name ends in .gz.
func (s *source) unpacked(path string) ([]byte, error) {
	b, err := s.file(path)
	if err != nil || !strings.HasSuffix(strings.ToLower(path), ".gz") {
		return b, err
	}
	if b, err = gunzip(b, s.limits.Bytes); err != nil {
		return nil, fmt.Errorf("decompress %s: %w", path, err)
	}
	return b, nil
}

func (s *source) digest() redoubt.Digest {
	if len(s.sums) == 1 {
		return s.sums[0]
	}
	var listing strings.Builder
	for i, sum := range s.sums {
		fmt.Fprintf(&listing, "%s  %s\n", sum, s.names[i])
	}
	return redoubt.DigestBytes([]byte(listing.String()))
}

func gunzip(b []byte, limit int64) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return readAtMost(z, limit)
}

var errTooLong = errors.New("more bytes than the limit")

// readAtMost reads to the end, growing with what really arrives: a size that a
// header claims is never allocated on trust.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w of %d", errTooLong, limit)
	}
	return b, nil
}
