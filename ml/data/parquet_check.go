package data

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	thriftformat "github.com/parquet-go/parquet-go/format"
)

// checkFooter holds the footer's stated length against the file: the decoder
// sets memory aside for up to 4 GiB of it unseen.
func checkFooter(b []byte) error {
	const magic, length = 4, 4
	if len(b) < magic+length+magic || string(b[len(b)-magic:]) != "PAR1" {
		return errors.New("not a Parquet file: it does not end in PAR1")
	}
	footer := int64(binary.LittleEndian.Uint32(b[len(b)-magic-length:]))
	if footer > int64(len(b))-magic-length-magic {
		return fmt.Errorf("its footer claims %d bytes of the file's %d", footer, len(b))
	}
	return nil
}

// checkParquet holds the sizes that the file claims, of the table and of every
// page, against the limits before the decoder allocates for them.
func checkParquet(f *parquet.File, b []byte, limits Limits) error {
	meta := f.Metadata()
	if meta.NumRows < 0 || meta.NumRows > limits.Elements {
		return fmt.Errorf("%d rows exceed the limit of %d elements", meta.NumRows, limits.Elements)
	}
	left := limits.Bytes
	for _, group := range meta.RowGroups {
		for i := range group.Columns {
			c := &group.Columns[i].MetaData
			unpacked, err := pagesSize(b, c, limits)
			if err != nil {
				return fmt.Errorf("column %q: %w", c.PathInSchema, err)
			}
			if left -= unpacked; left < 0 {
				return fmt.Errorf("more than %d bytes after decompression", limits.Bytes)
			}
		}
	}
	return nil
}

// pagesSize walks the page headers of one column chunk and adds up what they
// unpack to.
func pagesSize(b []byte, c *thriftformat.ColumnMetaData, limits Limits) (int64, error) {
	start := c.DataPageOffset
	if c.DictionaryPageOffset > 0 && c.DictionaryPageOffset < start {
		start = c.DictionaryPageOffset
	}
	end := start + c.TotalCompressedSize
	if start < 0 || end < start || end > int64(len(b)) || c.NumValues < 0 {
		return 0, errors.New("its pages lie outside the file")
	}
	total, protocol := int64(0), new(thrift.CompactProtocol)
	for rest := b[start:end]; len(rest) > 0; {
		r := bytes.NewReader(rest)
		var h thriftformat.PageHeader
		if err := thrift.NewDecoder(protocol.NewReader(r)).Decode(&h); err != nil {
			return 0, fmt.Errorf("page header: %w", err)
		}
		values := int64(0)
		switch {
		case h.DataPageHeader.Valid:
			values = int64(h.DataPageHeader.V.NumValues)
		case h.DataPageHeaderV2.Valid:
			values = int64(h.DataPageHeaderV2.V.NumValues)
		case h.DictionaryPageHeader.Valid:
			values = int64(h.DictionaryPageHeader.V.NumValues)
		}
		if h.CompressedPageSize < 0 || h.UncompressedPageSize < 0 || int(h.CompressedPageSize) > r.Len() ||
			values < 0 || values > c.NumValues {
			return 0, fmt.Errorf("a page claims %d values in %d bytes, more than there are", values, h.CompressedPageSize)
		}
		if total += int64(h.UncompressedPageSize); total > limits.Bytes {
			return 0, fmt.Errorf("more than %d bytes after decompression", limits.Bytes)
		}
		rest = rest[len(rest)-r.Len():]
		if err := checkPage(rest[:h.CompressedPageSize], &h, c.Codec); err != nil {
			return 0, err
		}
		rest = rest[h.CompressedPageSize:]
	}
	return total, nil
}

// checkPage decompresses a page once and throws it away, because the decoder
// does not stop at the size that the header promises: a page of a kilobyte
// could fill the memory.
func checkPage(page []byte, h *thriftformat.PageHeader, codec thriftformat.CompressionCodec) error {
	want := int64(h.UncompressedPageSize)
	if v2 := h.DataPageHeaderV2; v2.Valid {
		levels := int64(v2.V.RepetitionLevelsByteLength) + int64(v2.V.DefinitionLevelsByteLength)
		if levels < 0 || levels > int64(len(page)) || levels > want {
			return errors.New("a page's levels are longer than the page")
		}
		page, want = page[levels:], want-levels // these are stored uncompressed
		if v2.V.IsCompressed.Valid && !v2.V.IsCompressed.V {
			return nil
		}
	}
	got, err := unpackedSize(page, want, codec)
	switch {
	case err != nil:
		return fmt.Errorf("decompress page: %w", err)
	case got != want:
		return fmt.Errorf("a page unpacks to another size than the %d bytes that it states", want)
	}
	return nil
}

// unpackedSize is the size of a compressed page, counted no further than just
// beyond limit.
func unpackedSize(page []byte, limit int64, codec thriftformat.CompressionCodec) (int64, error) {
	if len(page) == 0 {
		return 0, nil
	}
	switch codec {
	case thriftformat.Uncompressed:
		return int64(len(page)), nil
	case thriftformat.Snappy: // a block starts with its size, to which the decoder holds it
		size, n := binary.Uvarint(page)
		if n <= 0 || size > math.MaxInt32 {
			return 0, errors.New("malformed Snappy block")
		}
		return int64(size), nil
	case thriftformat.Gzip:
		r, err := gzip.NewReader(bytes.NewReader(page))
		if err != nil {
			return 0, err
		}
		return io.Copy(io.Discard, io.LimitReader(r, limit+1))
	case thriftformat.Zstd:
		r, err := zstd.NewReader(bytes.NewReader(page), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(1<<27))
		if err != nil {
			return 0, err
		}
		defer r.Close()
		return io.Copy(io.Discard, io.LimitReader(r, limit+1))
	}
	return 0, fmt.Errorf("compression %v is not supported; write the file with Snappy, gzip or Zstandard", codec)
}
