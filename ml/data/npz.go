package data

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/half"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// ReadNPZ reads every array of an NPZ file by name, compressed or not, in any
// byte order and in C or Fortran order, as numpy writes them. Limits.Bytes
// bounds the arrays together.
//
// Types that numpy itself lacks (bfloat16, float8, int4 and so on) are stored
// as void bytes that do not say which they are. Such a tensor has the type
// Undefined; [Retype] makes it what a model expects. Object arrays are pickles
// and refused.
func ReadNPZ(path string, limits Limits) (map[string]*onnx.Tensor, error) {
	limits = limits.orDefaults()
	b, err := (&source{limits: limits}).file(path)
	if err != nil {
		return nil, fmt.Errorf("read NPZ: %w", err)
	}
	arrays, err := decodeNPZ(b, limits)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return arrays, nil
}

func decodeNPZ(b []byte, limits Limits) (map[string]*onnx.Tensor, error) {
	archive, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, fmt.Errorf("not an NPZ archive: %w", err)
	}
	if len(archive.File) > limits.Files {
		return nil, fmt.Errorf("%d arrays exceed the limit of %d", len(archive.File), limits.Files)
	}
	// One allowance for all entries: many that share the same compressed bytes
	// would each pass a limit of their own.
	left := limits.Bytes
	arrays := make(map[string]*onnx.Tensor, min(len(archive.File), 64))
	for _, entry := range archive.File {
		name := strings.TrimSuffix(entry.Name, ".npy")
		if arrays[name] != nil {
			return nil, fmt.Errorf("array %q is there twice", name)
		}
		raw, err := unzip(entry, left)
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
		left -= int64(len(raw))
		t, err := decodeNPY(raw, limits)
		if err != nil {
			return nil, fmt.Errorf("array %q: %w", name, err)
		}
		t.Name = name
		arrays[name] = t
	}
	return arrays, nil
}

func unzip(entry *zip.File, limit int64) ([]byte, error) {
	if entry.UncompressedSize64 > uint64(limit) {
		return nil, fmt.Errorf("%d bytes exceed the limit; %d are left", entry.UncompressedSize64, limit)
	}
	r, err := entry.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return readAtMost(r, limit)
}

// WriteNPZ writes tensors by name to a compressed NPZ file that numpy.load
// reads. Strings become numpy text ('<U'); types that numpy lacks become void
// bytes, one element to a byte if narrower, as ml_dtypes stores them. The file
// appears whole or not at all, and the same tensors give the same bytes.
func WriteNPZ(path string, arrays map[string]*onnx.Tensor) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".redoubt-*.npz")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name()) // fails once the file has its name, as it should
	err = errors.Join(EncodeNPZ(f, arrays), f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// EncodeNPZ writes what [WriteNPZ] writes to w.
func EncodeNPZ(w io.Writer, arrays map[string]*onnx.Tensor) error {
	archive := zip.NewWriter(w)
	archive.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestSpeed) // tensors of noise hardly shrink; do not spend long on them
	})
	for _, name := range slices.Sorted(maps.Keys(arrays)) {
		b, err := encodeNPY(arrays[name])
		if err != nil {
			return fmt.Errorf("array %q: %w", name, err)
		}
		entry, err := archive.Create(name + ".npy")
		if err != nil {
			return err
		}
		if _, err := entry.Write(b); err != nil {
			return err
		}
	}
	return archive.Close()
}

// Retype returns a tensor of void bytes, read by [ReadNPZ], as the type that
// was meant, packing elements narrower than a byte. A tensor that has the type
// already is returned as it is; no values are converted.
func Retype(t *onnx.Tensor, want onnx.DataType) (*onnx.Tensor, error) {
	if t.Type == want {
		return t, nil
	}
	if t.Type != onnx.Undefined {
		return nil, fmt.Errorf("array %q is %v, want %v; convert it before saving", t.Name, t.Type, want)
	}
	bits, n := want.Bits(), t.Len()
	if n < 0 || bits == 0 || int64(len(t.Raw)) != n*int64(max(bits, 8)/8) {
		return nil, fmt.Errorf("array %q: %d bytes for shape %v are not elements of %v", t.Name, len(t.Raw), t.Dims, want)
	}
	out := *t
	out.Type = want
	if bits < 8 {
		out.Raw = pack(t.Raw, bits)
	}
	return &out, nil
}

// openNPZ reads x and y. X_test, images and the like are not guessed at: a
// training set under a likely name would be attacked in silence.
func openNPZ(src *source, paths []string, _ Options) (*Set, error) {
	b, err := src.unpacked(paths[0])
	if err != nil {
		return nil, err
	}
	arrays, err := decodeNPZ(b, src.limits)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"x", "y"} {
		if arrays[name] == nil {
			return nil, fmt.Errorf("array %q is missing; the file has %q; save as numpy.savez(file, x=inputs, y=labels)",
				name, slices.Sorted(maps.Keys(arrays)))
		}
	}
	return fromArrays(arrays["x"], arrays["y"])
}

func openNPY(src *source, paths []string, _ Options) (*Set, error) {
	var arrays [2]*onnx.Tensor
	for i, path := range paths {
		b, err := src.unpacked(path)
		if err != nil {
			return nil, err
		}
		if arrays[i], err = decodeNPY(b, src.limits); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return fromArrays(arrays[0], arrays[1])
}

// fromArrays makes a set of inputs and labels. Bytes are pixels, and scaled,
// where a sample has two dimensions or more; a flat row of bytes may as well
// be ages or flags and is taken as it is.
func fromArrays(x, y *onnx.Tensor) (*Set, error) {
	if len(x.Dims) < 2 {
		return nil, fmt.Errorf("x has shape %v; want [samples, ...]", x.Dims)
	}
	pixels := x.Type == onnx.Uint8 && len(x.Dims) > 2
	values, err := floats(x)
	if err != nil {
		return nil, fmt.Errorf("x: %w", err)
	}
	labels, err := classes(y)
	if err != nil {
		return nil, fmt.Errorf("y: %w", err)
	}
	shape := make([]int, len(x.Dims))
	for i, d := range x.Dims {
		shape[i] = int(d)
	}
	set := &Set{X: tensor.Of(values, shape...), Y: labels}
	if pixels {
		set.scaleBytes()
	}
	return set, nil
}

// scaleBytes takes pixels of 0 to 255 to [0,1].
func (s *Set) scaleBytes() {
	for i, v := range s.X.Data {
		s.X.Data[i] = v / 255
	}
	s.Bounds, s.Bounded = [2]float32{0, 1}, true
}

// floats converts elements of any real type to float32. Only a double or an
// integer beyond 2^24 loses precision, as it would in the model.
func floats(t *onnx.Tensor) ([]float32, error) {
	at, err := reader(t)
	if err != nil {
		return nil, err
	}
	out := make([]float32, t.Len())
	for i := range out {
		v := at(i)
		out[i] = float32(v)
		if math.IsInf(float64(out[i]), 0) && !math.IsInf(v, 0) {
			return nil, fmt.Errorf("element %d is %g, beyond float32; scale the data", i, v)
		}
	}
	return out, nil
}

// classes converts labels to ints. A column vector is taken for a vector;
// one-hot rows are not guessed at.
func classes(t *onnx.Tensor) ([]int, error) {
	if len(t.Dims) != 1 && !(len(t.Dims) == 2 && t.Dims[1] == 1) {
		return nil, fmt.Errorf("labels have shape %v; want one class number a sample (numpy: y.argmax(1) for one-hot rows)", t.Dims)
	}
	at, err := reader(t)
	if err != nil {
		return nil, err
	}
	out := make([]int, t.Len())
	for i := range out {
		v := at(i)
		if v != math.Trunc(v) || math.Abs(v) > math.MaxInt32 {
			return nil, fmt.Errorf("label %d is %v; want a class number", i, v)
		}
		out[i] = int(v)
	}
	return out, nil
}

// reader gives access to the elements of a tensor of any real type.
func reader(t *onnx.Tensor) (func(i int) float64, error) {
	le, b := binary.LittleEndian, t.Raw
	switch t.Type {
	case onnx.Float:
		return func(i int) float64 { return float64(math.Float32frombits(le.Uint32(b[4*i:]))) }, nil
	case onnx.Double:
		return func(i int) float64 { return math.Float64frombits(le.Uint64(b[8*i:])) }, nil
	case onnx.Float16:
		return func(i int) float64 { return float64(half.FromFloat16(le.Uint16(b[2*i:]))) }, nil
	case onnx.Uint8, onnx.Bool:
		return func(i int) float64 { return float64(b[i]) }, nil
	case onnx.Int8:
		return func(i int) float64 { return float64(int8(b[i])) }, nil
	case onnx.Uint16:
		return func(i int) float64 { return float64(le.Uint16(b[2*i:])) }, nil
	case onnx.Int16:
		return func(i int) float64 { return float64(int16(le.Uint16(b[2*i:]))) }, nil
	case onnx.Uint32:
		return func(i int) float64 { return float64(le.Uint32(b[4*i:])) }, nil
	case onnx.Int32:
		return func(i int) float64 { return float64(int32(le.Uint32(b[4*i:]))) }, nil
	case onnx.Uint64:
		return func(i int) float64 { return float64(le.Uint64(b[8*i:])) }, nil
	case onnx.Int64:
		return func(i int) float64 { return float64(int64(le.Uint64(b[8*i:]))) }, nil
	}
	kind := t.Type.String()
	if t.Type == onnx.Undefined {
		kind = "void bytes (bfloat16 or another type that numpy lacks)"
	}
	return nil, fmt.Errorf("elements are %s; save as float32 or integers", kind)
}
