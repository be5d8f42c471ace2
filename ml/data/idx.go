package data

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// IDX is the format of MNIST: two zero bytes, an element type, the number of
// dimensions, each size as a big-endian uint32, the elements big-endian.

// idxTypes are the element types of the format.
var idxTypes = map[byte]dtype{
	0x08: {kind: 'u', size: 1},
	0x09: {kind: 'i', size: 1},
	0x0B: {kind: 'i', size: 2, big: true},
	0x0C: {kind: 'i', size: 4, big: true},
	0x0D: {kind: 'f', size: 4, big: true},
	0x0E: {kind: 'f', size: 8, big: true},
}

// isIDX takes a pair of files whose names say idx or ubyte, as those of MNIST
// do under every mirror's spelling.
func isIDX(paths []string, stem string) bool {
	return len(paths) == 2 && (strings.HasSuffix(stem, "idx") || strings.Contains(stem, "-idx") ||
		strings.Contains(stem, ".idx") || strings.HasSuffix(stem, "ubyte"))
}

func openIDX(src *source, paths []string, _ Options) (*Set, error) {
	var arrays [2]*onnx.Tensor
	for i, path := range paths {
		b, err := src.unpacked(path)
		if err != nil {
			return nil, err
		}
		if arrays[i], err = decodeIDX(b, src.limits); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if len(arrays[0].Dims) == 1 && len(arrays[1].Dims) > 1 {
		return nil, fmt.Errorf("%s holds labels and %s samples; give the samples first", paths[0], paths[1])
	}
	set, err := fromArrays(arrays[0], arrays[1])
	if err == nil && len(set.X.Shape) == 4 {
		set.Layout = guess(set.X.Shape[1:])
	}
	return set, err
}

func decodeIDX(b []byte, limits Limits) (*onnx.Tensor, error) {
	if len(b) < 4 || b[0] != 0 || b[1] != 0 {
		return nil, fmt.Errorf("not an IDX file: it starts with % x", b[:min(4, len(b))])
	}
	typ, ok := idxTypes[b[2]]
	if !ok {
		return nil, fmt.Errorf("IDX element type %#02x is not known", b[2])
	}
	rank := int(b[3])
	if rank == 0 || rank > 8 || len(b) < 4+4*rank {
		return nil, fmt.Errorf("IDX header of %d dimensions is cut short or wrong", rank)
	}
	dims := make([]int64, rank)
	for i := range dims {
		dims[i] = int64(binary.BigEndian.Uint32(b[4+4*i:]))
	}
	body := b[4+4*rank:]
	n, err := limits.elements(dims...)
	if err != nil {
		return nil, err
	}
	if want := n * int64(typ.size); int64(len(body)) != want {
		return nil, fmt.Errorf("IDX of shape %v needs %d bytes of data, has %d", dims, want, len(body))
	}
	return typ.tensor(body, slices.Clip(dims), int(n))
}
