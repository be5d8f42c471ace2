package parquetcheck

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go/format"
)

// A page that states 100 bytes and unpacks to ten million is refused after
// little more than 100.
func TestPageBomb(t *testing.T) {
	zeros := make([]byte, 10_000_000)
	var z, g, b bytes.Buffer
	enc, err := zstd.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	zip := gzip.NewWriter(&g)
	for _, w := range []interface {
		Write([]byte) (int, error)
		Close() error
	}{enc, zip, brotli.NewWriter(&b)} {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		codec format.CompressionCodec
		page  []byte
	}{
		{format.Brotli, b.Bytes()},
		{format.Zstd, z.Bytes()},
		{format.Gzip, g.Bytes()},
		{format.Snappy, binary.AppendUvarint(nil, uint64(len(zeros)))},
	} {
		h := &format.PageHeader{UncompressedPageSize: 100, CompressedPageSize: int32(len(c.page))}
		if err := checkPage(c.page, h, c.codec); err == nil || !strings.Contains(err.Error(), "than the 100 bytes") {
			t.Errorf("%v: %v", c.codec, err)
		}
		h.UncompressedPageSize = int32(len(zeros))
		if err := checkPage(c.page, h, c.codec); err != nil {
			t.Errorf("%v, with its true size: %v", c.codec, err)
		}
	}
	for _, codec := range []format.CompressionCodec{format.Lz4Raw, format.LZO} {
		if err := checkPage(z.Bytes(), &format.PageHeader{UncompressedPageSize: 1}, codec); err == nil || !strings.Contains(err.Error(), "is not read") {
			t.Errorf("%v: %v", codec, err)
		}
	}
	for _, codec := range []format.CompressionCodec{format.Zstd, format.Gzip, format.Brotli, format.Snappy} {
		if err := checkPage([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), &format.PageHeader{UncompressedPageSize: 100}, codec); err == nil {
			t.Errorf("%v: a page of nonsense is taken", codec)
		}
	}
}

func TestFooter(t *testing.T) {
	file := func(claimed uint32, magic string) []byte {
		return append(binary.LittleEndian.AppendUint32(make([]byte, 100), claimed), magic...)
	}
	for _, c := range []struct {
		name, want string
		file       []byte
	}{
		{"right", "", file(96, "PAR1")},
		{"long", "claims 97 bytes of the file's 108", file(97, "PAR1")},
		{"huge", "claims 4294967295 bytes", file(1<<32-1, "PAR1")},
		{"no magic", "does not end in PAR1", file(96, "PAR2")},
		{"short", "too short", []byte("PAR1PAR1")},
		{"empty", "too short", nil},
	} {
		err := Footer(bytes.NewReader(c.file), int64(len(c.file)))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Whatever the bytes of a chunk are, checking them takes no more than they and the
// bound allow.
func FuzzChunk(f *testing.F) {
	f.Add([]byte{}, int64(0), int64(0), int64(10), uint8(0))
	f.Add([]byte("\x15\x00\x15\x14\x15\x14\x2c\x15\x02\x15\x00\x15\x06\x15\x06\x00\x00data"), int64(0), int64(22), int64(1), uint8(0))
	f.Add([]byte("\x15\x00\x15\xfe\xff\xff\xff\x0f\x15\x08"), int64(0), int64(8), int64(1<<40), uint8(6))
	f.Fuzz(func(t *testing.T, b []byte, start, length, values int64, codec uint8) {
		c := &format.ColumnMetaData{DataPageOffset: start, TotalCompressedSize: length, NumValues: values, Codec: format.CompressionCodec(codec % 8)}
		n, err := Chunk(bytes.NewReader(b), int64(len(b)), c, 1<<20)
		if err == nil && (n < 0 || n > 1<<20) {
			t.Fatalf("%d bytes", n)
		}
	})
}
