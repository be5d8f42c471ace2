// Package parquetcheck holds what a Parquet file claims of its sizes against what
// is there, before the decoder sets memory aside for it: the decoder believes a
// header that promises gigabytes, and does not stop at the size that one promises.
package parquetcheck

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Limits of a page, far above what writers make: a page is held in memory, packed
// and unpacked.
const (
	maxPageBytes   = 64 << 20
	maxPageValues  = 1 << 24
	maxHeaderBytes = 1 << 20
)

// Footer holds the footer's stated length against the file.
func Footer(f io.ReaderAt, size int64) error {
	var tail [8]byte
	if size < 12 {
		return errors.New("not a Parquet file: it is too short")
	}
	if _, err := f.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	if string(tail[4:]) != "PAR1" {
		return errors.New("not a Parquet file: it does not end in PAR1")
	}
	if n := int64(binary.LittleEndian.Uint32(tail[:])); n > size-12 {
		return fmt.Errorf("not a Parquet file: its footer claims %d bytes of the file's %d", n, size)
	}
	return nil
}

// Chunk walks the pages of one column of a group of rows, and adds up what they
// unpack to: more than most is an error. Every page is unpacked once and thrown away,
// a page at a time.
func Chunk(f io.ReaderAt, size int64, c *format.ColumnMetaData, most int64) (unpacked int64, err error) {
	start := c.DataPageOffset
	if c.DictionaryPageOffset > 0 && c.DictionaryPageOffset < start {
		start = c.DictionaryPageOffset
	}
	end := start + c.TotalCompressedSize
	if start < 0 || end < start || end > size || c.NumValues < 0 {
		return 0, errors.New("its pages lie outside the file")
	}
	r := bufio.NewReaderSize(io.NewSectionReader(f, start, end-start), maxHeaderBytes)
	protocol := new(thrift.CompactProtocol)
	var page []byte
	for left := end - start; left > 0; {
		// From bytes that are there: a reader of a stream sets memory aside for
		// whatever length a header states.
		head, err := r.Peek(int(min(left, maxHeaderBytes)))
		if err != nil {
			return 0, err
		}
		decode := protocol.NewReaderFromBytes(head)
		var h format.PageHeader
		if err := thrift.NewDecoder(decode).Decode(&h); err != nil {
			return 0, fmt.Errorf("page header: %w", err)
		}
		used, err := r.Discard(decode.BytesRead())
		if err != nil {
			return 0, err
		}
		left -= int64(used)
		values := int64(0)
		switch {
		case h.DataPageHeader.Valid:
			values = int64(h.DataPageHeader.V.NumValues)
		case h.DataPageHeaderV2.Valid:
			values = int64(h.DataPageHeaderV2.V.NumValues)
		case h.DictionaryPageHeader.Valid:
			values = int64(h.DictionaryPageHeader.V.NumValues)
		}
		packed, plain := int64(h.CompressedPageSize), int64(h.UncompressedPageSize)
		if packed < 0 || plain < 0 || packed > left || values < 0 || values > c.NumValues {
			return 0, fmt.Errorf("a page claims %d values in %d bytes, more than there are", values, packed)
		}
		if packed > maxPageBytes || plain > maxPageBytes || values > maxPageValues {
			return 0, fmt.Errorf("a page has %d values in %d bytes: write pages of at most %d in %d", values, plain, maxPageValues, maxPageBytes)
		}
		if int64(cap(page)) < packed {
			page = make([]byte, packed)
		}
		page = page[:packed]
		if _, err := io.ReadFull(r, page); err != nil {
			return 0, err
		}
		left -= packed
		if unpacked += plain; unpacked > most {
			return 0, fmt.Errorf("more than %d bytes after decompression", most)
		}
		if err := checkPage(page, &h, c.Codec); err != nil {
			return 0, err
		}
	}
	return unpacked, nil
}

// checkPage holds what a page unpacks to against what it states.
func checkPage(page []byte, h *format.PageHeader, codec format.CompressionCodec) error {
	want := int64(h.UncompressedPageSize)
	if v2 := h.DataPageHeaderV2; v2.Valid {
		levels := int64(v2.V.RepetitionLevelsByteLength) + int64(v2.V.DefinitionLevelsByteLength)
		if levels < 0 || levels > int64(len(page)) || levels > want {
			return errors.New("a page's levels are longer than the page")
		}
		page, want = page[levels:], want-levels // these are stored as they are
		if v2.V.IsCompressed.Valid && !v2.V.IsCompressed.V {
			return nil
		}
	}
	got, err := unpackedSize(page, want, codec)
	if err != nil {
		return fmt.Errorf("unpack a page: %w", err)
	}
	if got != want {
		return fmt.Errorf("a page unpacks to another size than the %d bytes that it states", want)
	}
	return nil
}

// unpackedSize is the size of a page, counted no further than just beyond limit.
func unpackedSize(page []byte, limit int64, codec format.CompressionCodec) (int64, error) {
	if len(page) == 0 {
		return 0, nil
	}
	var r io.Reader
	switch codec {
	case format.Uncompressed:
		return int64(len(page)), nil
	case format.Snappy: // a block begins with its size, to which the decoder holds it
		size, n := binary.Uvarint(page)
		if n <= 0 || size > math.MaxInt32 {
			return 0, errors.New("malformed Snappy block")
		}
		return int64(size), nil
	case format.Gzip:
		z, err := gzip.NewReader(bytes.NewReader(page))
		if err != nil {
			return 0, err
		}
		r = z
	case format.Zstd:
		z, err := zstd.NewReader(bytes.NewReader(page), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<27))
		if err != nil {
			return 0, err
		}
		defer z.Close()
		r = z
	case format.Brotli:
		r = brotli.NewReader(bytes.NewReader(page))
	default:
		// Of LZ4 the decoder makes zeros where a page is no smaller than what it
		// unpacks to, and takes all memory there is for a block that is malformed.
		return 0, fmt.Errorf("compression %v is not read: write the file with Snappy, gzip, Zstandard or Brotli", codec)
	}
	return io.Copy(io.Discard, io.LimitReader(r, limit+1))
}
