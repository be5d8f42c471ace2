package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// The NPY format is described in numpy.lib.format: a magic string, a version,
// the length of a header, the header (a Python dictionary literal), the data.

const npyMagic = "\x93NUMPY"

// npyHeaderLimit bounds the header's length. numpy's own default is 10,000.
const npyHeaderLimit = 10_000

// dtype is a numpy element type: a kind letter and a size in bytes, of one
// character for text.
type dtype struct {
	kind byte
	size int
	big  bool // big-endian
}

// dtypes pairs the numpy types with those of ONNX. Types that numpy lacks are
// written as void ('V'), as ml_dtypes does, one element to a byte or two.
var dtypes = []struct {
	dtype
	onnx onnx.DataType
}{
	{dtype{kind: 'f', size: 2}, onnx.Float16},
	{dtype{kind: 'f', size: 4}, onnx.Float},
	{dtype{kind: 'f', size: 8}, onnx.Double},
	{dtype{kind: 'i', size: 1}, onnx.Int8},
	{dtype{kind: 'i', size: 2}, onnx.Int16},
	{dtype{kind: 'i', size: 4}, onnx.Int32},
	{dtype{kind: 'i', size: 8}, onnx.Int64},
	{dtype{kind: 'u', size: 1}, onnx.Uint8},
	{dtype{kind: 'u', size: 2}, onnx.Uint16},
	{dtype{kind: 'u', size: 4}, onnx.Uint32},
	{dtype{kind: 'u', size: 8}, onnx.Uint64},
	{dtype{kind: 'b', size: 1}, onnx.Bool},
	{dtype{kind: 'c', size: 8}, onnx.Complex64},
	{dtype{kind: 'c', size: 16}, onnx.Complex128},
}

// decodeNPY reads one array. Void elements give type Undefined; see [Retype].
func decodeNPY(b []byte, limits Limits) (*onnx.Tensor, error) {
	header, body, err := splitNPY(b)
	if err != nil {
		return nil, err
	}
	typ, fortran, dims, err := parseHeader(header)
	if err != nil {
		return nil, err
	}
	if typ.kind == 'U' || typ.kind == 'S' {
		limits.Elements /= 8 // a string takes several words where a number takes one
	}
	n, err := limits.elements(dims...)
	if err != nil {
		return nil, err
	}
	width := typ.size
	if typ.kind == 'U' {
		width *= 4
	}
	// n is within the limit of elements and width within an int32.
	if want := n * int64(width); int64(len(body)) != want {
		return nil, fmt.Errorf("array of shape %v needs %d bytes of data, has %d", dims, want, len(body))
	}
	if fortran && len(dims) > 1 && n > 0 {
		body = rowMajor(body, dims, width)
	}
	return typ.tensor(body, dims, int(n))
}

func splitNPY(b []byte) (header string, body []byte, err error) {
	if len(b) < 10 || string(b[:6]) != npyMagic {
		return "", nil, errors.New("not an NPY array: the magic string is missing")
	}
	start, length := 10, int(binary.LittleEndian.Uint16(b[8:]))
	switch b[6] {
	case 1:
	case 2, 3:
		if len(b) < 12 {
			return "", nil, errors.New("NPY header is cut short")
		}
		start, length = 12, int(min(binary.LittleEndian.Uint32(b[8:]), npyHeaderLimit+1))
	default:
		return "", nil, fmt.Errorf("NPY version %d.%d is not known", b[6], b[7])
	}
	switch {
	case length > npyHeaderLimit:
		return "", nil, fmt.Errorf("NPY header is longer than the limit of %d bytes", npyHeaderLimit)
	case len(b) < start+length:
		return "", nil, errors.New("NPY header is cut short")
	}
	return string(b[start : start+length]), b[start+length:], nil
}

// parseHeader reads {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
// with its three keys in any order and nothing else.
func parseHeader(text string) (typ dtype, fortran bool, dims []int64, err error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "{")
	rest, closed := strings.CutSuffix(rest, "}")
	if !ok || !closed {
		return typ, false, nil, fmt.Errorf("NPY header %.80q is not a dictionary", text)
	}
	seen := map[string]bool{}
	for rest = strings.TrimSpace(rest); rest != ""; {
		key, after, ok := strings.Cut(rest, ":")
		key = strings.Trim(strings.TrimSpace(key), `'"`)
		if !ok || seen[key] {
			return typ, false, nil, fmt.Errorf("NPY header %.80q is malformed", text)
		}
		seen[key] = true
		var value string
		value, rest = cutLiteral(strings.TrimSpace(after))
		switch key {
		case "descr":
			typ, err = parseDtype(value)
		case "fortran_order":
			fortran = value == "True"
			if !fortran && value != "False" {
				err = fmt.Errorf("fortran_order is %.20q, want True or False", value)
			}
		case "shape":
			dims, err = parseShape(value)
		default:
			err = fmt.Errorf("unknown key %.20q", key)
		}
		if err != nil {
			return typ, false, nil, fmt.Errorf("NPY header: %w", err)
		}
	}
	if len(seen) != 3 {
		return typ, false, nil, fmt.Errorf("NPY header %.80q lacks descr, fortran_order or shape", text)
	}
	return typ, fortran, dims, nil
}

// cutLiteral parts a value from the comma behind it; a tuple or list keeps its
// own commas.
func cutLiteral(s string) (value, rest string) {
	end := strings.IndexByte(s, ',')
	for _, pair := range []string{"()", "[]"} {
		if strings.HasPrefix(s, pair[:1]) {
			if i := strings.LastIndexByte(s, pair[1]); pair == "[]" && i > 0 {
				end = i + 1
			} else if i := strings.IndexByte(s, pair[1]); i > 0 {
				end = i + 1
			}
		}
	}
	if end < 0 {
		return strings.TrimSpace(s), ""
	}
	return strings.TrimSpace(s[:end]), strings.TrimLeft(s[end:], ", ")
}

func parseDtype(value string) (dtype, error) {
	if strings.HasPrefix(value, "[") {
		return dtype{}, fmt.Errorf("structured type %.60s is not an array of numbers; save the fields apart", value)
	}
	s := strings.Trim(value, `'"`)
	if len(s) < 2 || !strings.ContainsRune("<>|=", rune(s[0])) {
		return dtype{}, fmt.Errorf("descr %.20q is not an element type", value)
	}
	if s[1] == 'O' {
		return dtype{}, errors.New("an object array is a pickle, which can run code; save it as numbers or text")
	}
	size, err := strconv.Atoi(s[2:])
	t := dtype{kind: s[1], size: size, big: s[0] == '>'}
	if t.kind == 'f' && t.size == 1 {
		t.kind = 'V' // ml_dtypes has a float8 that goes by this name
	}
	if err != nil || size < 0 || size > 1<<24 || !t.known() {
		return dtype{}, fmt.Errorf("element type %.20s is not supported", value)
	}
	return t, nil
}

func (t dtype) known() bool {
	if strings.IndexByte("USV", t.kind) >= 0 {
		return t.size > 0
	}
	return t.onnx() != onnx.Undefined
}

func (t dtype) onnx() onnx.DataType {
	t.big = false
	for _, d := range dtypes {
		if d.dtype == t {
			return d.onnx
		}
	}
	return onnx.Undefined
}

func parseShape(value string) ([]int64, error) {
	inner, ok := strings.CutPrefix(value, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	if !ok || !closed {
		return nil, fmt.Errorf("shape %.40q is not a tuple", value)
	}
	dims := []int64{}
	for field := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(inner), ","), ",") {
		if field = strings.TrimSpace(field); field == "" && inner == "" {
			break
		}
		d, err := strconv.ParseUint(strings.TrimSuffix(field, "L"), 10, 63) // Python 2 wrote 3L
		if err != nil || len(dims) == 32 {
			return nil, fmt.Errorf("shape %.40q is not up to 32 sizes", value)
		}
		dims = append(dims, int64(d))
	}
	return dims, nil
}

// rowMajor reorders elements stored first index fastest.
func rowMajor(b []byte, dims []int64, width int) []byte {
	out := make([]byte, len(b))
	stride := make([]int, len(dims)) // in b, of each index
	step := width
	for d, size := range dims {
		stride[d] = step
		step *= int(size)
	}
	index, at := make([]int64, len(dims)), 0
	for o := 0; o < len(out); o += width {
		copy(out[o:o+width], b[at:])
		for d := len(dims) - 1; d >= 0; d-- {
			index[d]++
			at += stride[d]
			if index[d] < dims[d] {
				break
			}
			at -= stride[d] * int(index[d])
			index[d] = 0
		}
	}
	return out
}

// tensor turns stored elements into the packed little-endian form.
func (t dtype) tensor(body []byte, dims []int64, n int) (*onnx.Tensor, error) {
	out := &onnx.Tensor{Type: t.onnx(), Dims: dims}
	switch t.kind {
	case 'U', 'S':
		return out, t.text(out, body, n)
	case 'b':
		for i, v := range body {
			if v > 1 {
				return nil, fmt.Errorf("element %d of a bool array is %d, want 0 or 1", i, v)
			}
		}
	}
	out.Raw = bytes.Clone(body)
	if t.big {
		part := t.size // the unit whose bytes are swapped
		if t.kind == 'c' {
			part /= 2
		}
		if t.kind != 'V' && part > 1 {
			for i := 0; i < len(out.Raw); i += part {
				slices.Reverse(out.Raw[i : i+part])
			}
		}
	}
	return out, nil
}

// text decodes fixed-width text: UTF-32 ('U') or bytes ('S'), padded with
// zeros, into UTF-8.
func (t dtype) text(out *onnx.Tensor, body []byte, n int) error {
	out.Type, out.Strings = onnx.String, make([][]byte, n)
	if t.kind == 'S' {
		for i := range out.Strings {
			out.Strings[i] = bytes.TrimRight(body[i*t.size:(i+1)*t.size], "\x00")
		}
		return nil
	}
	var order binary.ByteOrder = binary.LittleEndian
	if t.big {
		order = binary.BigEndian
	}
	for i := range out.Strings {
		s, end := []byte{}, 0
		for c := range t.size {
			r := order.Uint32(body[4*(i*t.size+c):])
			if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
				return fmt.Errorf("element %d of a text array holds %#x, which is no character", i, r)
			}
			s = utf8.AppendRune(s, rune(r))
			if r != 0 {
				end = len(s)
			}
		}
		out.Strings[i] = s[:end]
	}
	return nil
}

// encodeNPY writes a tensor as numpy does.
func encodeNPY(t *onnx.Tensor) ([]byte, error) {
	typ, body, err := npyForm(t)
	if err != nil {
		return nil, err
	}
	order := "<"
	if typ.kind != 'U' && typ.kind != 'f' && typ.kind != 'c' && typ.size == 1 {
		order = "|"
	}
	shape := make([]string, len(t.Dims))
	for i, d := range t.Dims {
		shape[i] = strconv.FormatInt(d, 10)
	}
	tuple := strings.Join(shape, ", ")
	if len(shape) == 1 {
		tuple += ","
	}
	header := fmt.Sprintf("{'descr': '%s%c%d', 'fortran_order': False, 'shape': (%s), }", order, typ.kind, typ.size, tuple)
	// The data starts at a multiple of 64, and the header ends with a newline.
	pad := 63 - (10+len(header))%64
	header += strings.Repeat(" ", pad) + "\n"
	if len(header) > math.MaxUint16 {
		return nil, fmt.Errorf("a tensor of %d dimensions does not fit an NPY header", len(t.Dims))
	}
	out := append([]byte(npyMagic), 1, 0)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(header)))
	out = append(out, header...)
	return append(out, body...), nil
}

// npyForm is a tensor's numpy type and its elements as numpy stores them.
func npyForm(t *onnx.Tensor) (dtype, []byte, error) {
	n := t.Len()
	if t.Type == onnx.String {
		if n != int64(len(t.Strings)) {
			return dtype{}, nil, fmt.Errorf("string tensor of shape %v has %d elements", t.Dims, len(t.Strings))
		}
		return wideText(t.Strings)
	}
	bits := t.Type.Bits()
	if n < 0 || bits == 0 || (n*int64(bits)+7)/8 != int64(len(t.Raw)) {
		return dtype{}, nil, fmt.Errorf("tensor of %v and shape %v has %d bytes", t.Type, t.Dims, len(t.Raw))
	}
	for _, d := range dtypes {
		if d.onnx == t.Type {
			return d.dtype, t.Raw, nil
		}
	}
	if bits < 8 {
		return dtype{kind: 'V', size: 1}, unpack(t.Raw, bits, int(n)), nil
	}
	return dtype{kind: 'V', size: bits / 8}, t.Raw, nil
}

// wideText lays strings out as UTF-32, as wide as the longest. numpy drops
// zero characters at the end of a string, so they do not survive.
func wideText(strs [][]byte) (dtype, []byte, error) {
	width := 1 // numpy writes '<U1' for an array of empty strings
	for i, s := range strs {
		if !utf8.Valid(s) {
			return dtype{}, nil, fmt.Errorf("string %d is not UTF-8, which numpy text must be", i)
		}
		width = max(width, utf8.RuneCount(s))
	}
	if len(strs) > 0 && width > math.MaxInt32/4/len(strs) {
		return dtype{}, nil, fmt.Errorf("%d strings of up to %d characters would take more than 2 GiB as numpy text", len(strs), width)
	}
	body := make([]byte, 4*width*len(strs))
	for i, s := range strs {
		at := 4 * width * i
		for _, r := range string(s) {
			binary.LittleEndian.PutUint32(body[at:], uint32(r))
			at += 4
		}
	}
	return dtype{kind: 'U', size: width}, body, nil
}

// unpack gives elements narrower than a byte one byte each.
func unpack(raw []byte, bits, n int) []byte {
	out, per := make([]byte, n), 8/bits
	for i := range out {
		out[i] = raw[i/per] >> (i % per * bits) & (1<<bits - 1)
	}
	return out
}

// pack is the inverse of unpack. Bits above the width are dropped: ml_dtypes
// may leave the sign there.
func pack(wide []byte, bits int) []byte {
	per := 8 / bits
	out := make([]byte, (len(wide)+per-1)/per)
	for i, v := range wide {
		out[i/per] |= v & (1<<bits - 1) << (i % per * bits)
	}
	return out
}
