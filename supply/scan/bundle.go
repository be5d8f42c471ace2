package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

var bundleFormat = Format{
	Name:  "tensorflow-bundle",
	Doc:   "the index of a TensorFlow checkpoint, and through it the files of numbers beside it",
	match: func(_ *scanner, src *source) bool { return src.has(src.size-8, "\x57\xfb\x80\x8b\x24\x75\x47\xdb") },
	scan:  scanBundle,
}

// scanBundle reads the table (LevelDB's format) that says which tensor lies
// where in the data files. They are numbers and text only; an object of type
// variant would be decoded by code, and makes the file unproven.
func scanBundle(s *scanner, src *source, f *File) {
	footer, err := src.read(src.size-48, 40)
	if err != nil {
		f.unread("tensorflow/index", 0, errors.New("the index is cut short"))
		return
	}
	_, rest, err := blockHandle(footer) // of the meta index
	if err == nil {
		var index handle
		if index, _, err = blockHandle(rest); err == nil {
			err = bundleIndex(s, src, index)
		}
	}
	if err != nil {
		f.unread("tensorflow/index", 0, err)
		return
	}
	if src.disk == "" {
		return
	}
	base := strings.TrimSuffix(src.disk, ".index")
	shards, err := filepath.Glob(escapeGlob(base) + ".data-?????-of-?????")
	if err != nil {
		f.unread("tensorflow/index", 0, err)
	}
	for _, shard := range shards {
		s.claims[filepath.Clean(shard)] = "tensorflow-data"
	}
}

func escapeGlob(s string) string {
	return strings.NewReplacer("*", `\*`, "?", `\?`, "[", `\[`, `\`, `\\`).Replace(s)
}

type handle struct{ off, size int64 }

func blockHandle(b []byte) (h handle, rest []byte, err error) {
	off, n := binary.Uvarint(b)
	if n <= 0 || off > 1<<62 {
		return h, nil, errors.New("the index has no directory")
	}
	size, m := binary.Uvarint(b[n:])
	if m <= 0 || size > 1<<32 {
		return h, nil, errors.New("the index has no directory")
	}
	return handle{int64(off), int64(size)}, b[n+m:], nil
}

// bundleIndex reads the blocks that the index block names.
func bundleIndex(s *scanner, src *source, index handle) error {
	return tableBlock(s, src, index, func(_ string, value []byte) error {
		h, _, err := blockHandle(value)
		if err != nil {
			return err
		}
		return tableBlock(s, src, h, func(key string, value []byte) error {
			if key == "" {
				return nil // the bundle's header
			}
			entry := &source{r: strings.NewReader(string(value)), size: int64(len(value))}
			return s.proto(entry).walk(0, entry.size, func(f protoField) error {
				if f.num == 1 && f.bits == 21 { // DT_VARIANT
					return fmt.Errorf("tensor %q is of type variant, which code decodes", short(key))
				}
				return nil
			})
		})
	})
}

// tableBlock reads a block: keys that share their beginnings, with values, then
// an array of restarts, then one byte for the compression and a checksum.
func tableBlock(s *scanner, src *source, h handle, visit func(key string, value []byte) error) error {
	if h.size > 64<<20 {
		return fmt.Errorf("a block of %d bytes: %w of 64 MiB", h.size, errLimit)
	}
	b, err := src.read(h.off, h.size+5)
	if err != nil {
		return err
	}
	if b[h.size] != 0 {
		return errors.New("a block of the index is compressed, which is not read")
	}
	if h.size < 4 {
		return errors.New("a block of the index is cut short")
	}
	b = b[:h.size]
	restarts := int64(binary.LittleEndian.Uint32(b[h.size-4:]))
	if restarts > h.size/4-1 {
		return errors.New("a block of the index is cut short")
	}
	b = b[:h.size-4-4*restarts]
	key := ""
	for len(b) > 0 {
		if err := s.alive(); err != nil {
			return err
		}
		var n [3]uint64
		for i := range n {
			v, m := binary.Uvarint(b)
			if m <= 0 || v > uint64(len(b))+uint64(len(key)) {
				return errors.New("an entry of the index is damaged")
			}
			n[i], b = v, b[m:]
		}
		if n[0] > uint64(len(key)) || n[1]+n[2] > uint64(len(b)) {
			return errors.New("an entry of the index is damaged")
		}
		key = key[:n[0]] + string(b[:n[1]])
		if err := visit(key, b[n[1]:n[1]+n[2]]); err != nil {
			return err
		}
		b = b[n[1]+n[2]:]
	}
	return nil
}
