package scan

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// dtype is a NumPy element type as far as sizes and objects go.
type dtype struct {
	kind   byte // of numpy.dtype.kind: f, i, u, b, c, S, U, V, M, m, O
	size   int64
	object bool // elements are pickled
	big    bool // most significant byte first
}

// dtypeString reads "<f8", "|S10", "O" and the like.
func dtypeString(s string) (dtype, bool) {
	d := dtype{}
	if s != "" && strings.IndexByte("<>|=", s[0]) >= 0 {
		d.big = s[0] == '>'
		s = s[1:]
	}
	if i := strings.IndexByte(s, '['); i > 0 { // M8[ns]
		s = s[:i]
	}
	if s == "" || strings.IndexByte("fiubcSUVMmO?a", s[0]) < 0 {
		return d, false
	}
	d.kind = s[0]
	if d.kind == '?' {
		d.kind, s = 'b', "b1"
	}
	if d.kind == 'O' {
		return dtype{kind: 'O', size: 8, object: true}, true
	}
	n, err := strconv.ParseInt(s[1:], 10, 32)
	if err != nil || n < 0 {
		return d, false
	}
	if d.size = n; d.kind == 'U' {
		d.size = 4 * n
	}
	return d, true
}

// dtypeOf reads numpy.dtype(name, align, copy) and the state it was given:
// (version, order, subdtype, names, fields, size, alignment, flags, ...).
func dtypeOf(v *value) (dtype, bool) {
	if v == nil || v.kind != kObject || v.text != "numpy:dtype" || len(v.items) == 0 || v.items[0].kind != kStr {
		return dtype{}, false
	}
	d, ok := dtypeString(v.items[0].text)
	if !ok || v.built() == nil || v.built().kind != kTuple || len(v.built().items) < 8 {
		return d, ok
	}
	s := v.built().items
	if s[1].kind == kStr {
		d.big = s[1].text == ">"
	}
	if s[5].kind == kInt && s[5].num > 0 && d.kind != 'f' && d.kind != 'i' && d.kind != 'u' {
		d.size = s[5].num
	}
	if s[7].kind == kInt && s[7].num&0x01 != 0 { // NPY_ITEM_HASOBJECT
		d.object = true
	}
	if s[4].kind == kDict {
		for i := 1; i < len(s[4].items); i += 2 {
			field := s[4].items[i]
			if field.kind != kTuple || len(field.items) == 0 {
				return d, false
			}
			inner, ok := dtypeOf(field.items[0])
			if !ok {
				return d, false
			}
			d.object = d.object || inner.object
		}
	}
	return d, true
}

// elements is the product of a shape.
func elements(shape *value) (int64, bool) {
	if shape == nil || shape.kind != kTuple || shape.part {
		return 0, false
	}
	n := int64(1)
	for _, d := range shape.items {
		if d.kind != kInt || d.num < 0 || d.num > 0 && n > math.MaxInt64/d.num {
			return 0, false
		}
		n *= d.num
	}
	return n, true
}

var npyFormat = Format{
	Name:  "npy",
	Doc:   "NumPy arrays, of objects too",
	match: func(_ *scanner, src *source) bool { return src.has(0, "\x93NUMPY") },
	scan:  scanNpy,
}

// scanNpy reads one array after the other: numpy.load may be called again on
// the same file.
func scanNpy(s *scanner, src *source, f *File) {
	for off := int64(0); off < src.size; {
		h, err := npyHeader(src, off)
		if err != nil {
			f.unread("npy/header", off, err)
			return
		}
		if h.object {
			m := newMachine(s, f, src, h.data)
			if _, err := m.run(); err != nil {
				f.unread("pickle/broken", m.c.offset(), fmt.Errorf("the pickled elements cannot be followed to their end: %w", err))
				return
			}
			off = m.c.offset()
			continue
		}
		if h.size > 0 && h.count > (src.size-h.data)/h.size {
			f.unread("npy/truncated", h.data, errors.New("the array is cut short"))
			return
		}
		off = h.data + h.count*h.size
		if off < src.size && !src.has(off, "\x93NUMPY") {
			rest := &source{path: src.path, r: src.r, size: src.size, depth: src.depth}
			m := newMachine(s, f, rest, off)
			if _, err := m.run(); err != nil || m.c.offset() < src.size {
				f.unread("npy/trailing", off, errors.New("bytes follow after the array"))
				return
			}
			off = m.c.offset()
		}
	}
}

// npyArray is the header of an array in the NPY format (NEP 1).
type npyArray struct {
	dtype
	descr   string
	shape   []int64
	fortran bool
	count   int64
	data    int64 // where the elements begin
}

func npyHeader(src *source, off int64) (*npyArray, error) {
	b, err := src.read(off, 10)
	if err != nil || string(b[:6]) != "\x93NUMPY" {
		return nil, errors.New("the header is cut short")
	}
	n, at := int64(binary.LittleEndian.Uint16(b[8:])), off+10
	switch b[6] {
	case 1:
	case 2, 3:
		if b, err = src.read(off, 12); err != nil {
			return nil, errors.New("the header is cut short")
		}
		n, at = int64(binary.LittleEndian.Uint32(b[8:])), off+12
	default:
		return nil, fmt.Errorf("version %d of the NPY format", b[6])
	}
	if n > 1<<20 {
		return nil, fmt.Errorf("a header of %d bytes: %w of 1 MiB", n, errLimit)
	}
	text, err := src.read(at, n)
	if err != nil {
		return nil, errors.New("the header is cut short")
	}
	lit, err := parseLiteral(string(text))
	if err != nil {
		return nil, fmt.Errorf("the header is no dictionary of literals: %w", err)
	}
	h := &npyArray{data: at + n, count: 1}
	if lit.kind != kDict || len(lit.items) != 6 || lit.get("descr") == nil || lit.get("shape") == nil || lit.get("fortran_order") == nil {
		return nil, errors.New("the header does not have descr, fortran_order and shape")
	}
	var ok bool
	if h.dtype, ok = literalDtype(lit.get("descr"), 0); !ok {
		return nil, errors.New("the header names an element type that is not known")
	}
	h.descr, h.fortran = lit.get("descr").text, lit.get("fortran_order").num != 0
	if h.count, ok = elements(lit.get("shape")); !ok {
		return nil, errors.New("the header's shape is no tuple of sizes")
	}
	for _, d := range lit.get("shape").items {
		h.shape = append(h.shape, d.num)
	}
	return h, nil
}

// literalDtype reads a descr: a string, or a list of fields, each a tuple of
// name, descr and perhaps a shape.
func literalDtype(v *value, depth int) (dtype, bool) {
	if v.kind == kStr {
		return dtypeString(v.text)
	}
	if v.kind != kList || depth > 8 {
		return dtype{}, false
	}
	sum := dtype{kind: 'V'}
	for _, field := range v.items {
		if field.kind != kTuple || len(field.items) < 2 || len(field.items) > 3 {
			return sum, false
		}
		d, ok := literalDtype(field.items[1], depth+1)
		n := int64(1)
		if len(field.items) == 3 && ok {
			n, ok = elements(field.items[2])
		}
		if !ok || n > 1<<40 || d.size > 1<<20 {
			return sum, false
		}
		sum.size += n * d.size
		sum.object = sum.object || d.object
	}
	return sum, true
}

// parseLiteral reads the literals of Python that stand in NPY headers: text,
// whole numbers, True, False, None, tuples, lists and dictionaries.
func parseLiteral(s string) (*value, error) {
	p := &literal{s: s}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if p.space(); p.i < len(p.s) {
		return nil, fmt.Errorf("%q follows", short(p.s[p.i:]))
	}
	return v, nil
}

type literal struct {
	s string
	i int
}

func (p *literal) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n\x00", p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *literal) value(depth int) (*value, error) {
	p.space()
	if p.i >= len(p.s) || depth > 16 {
		return nil, errors.New("it ends early")
	}
	for word, v := range map[string]*value{"True": {kind: kBool, num: 1}, "False": {kind: kBool}, "None": {kind: kNone}} {
		if strings.HasPrefix(p.s[p.i:], word) {
			p.i += len(word)
			return v, nil
		}
	}
	switch c := p.s[p.i]; {
	case c == '\'' || c == '"':
		end := strings.IndexByte(p.s[p.i+1:], c)
		if end < 0 {
			return nil, errors.New("text without an end")
		}
		text := p.s[p.i+1 : p.i+1+end]
		p.i += end + 2
		if strings.Contains(text, `\`) {
			return nil, errors.New("text with escapes")
		}
		return &value{kind: kStr, text: text, num: int64(len(text))}, nil
	case c == '-' || c >= '0' && c <= '9':
		j := p.i + 1
		for j < len(p.s) && p.s[j] >= '0' && p.s[j] <= '9' {
			j++
		}
		n, err := strconv.ParseInt(p.s[p.i:j], 10, 64)
		if p.i = j; p.i < len(p.s) && p.s[p.i] == 'L' {
			p.i++
		}
		return &value{kind: kInt, num: n}, err
	case c == '(':
		return p.list(&value{kind: kTuple}, ')', depth)
	case c == '[':
		return p.list(&value{kind: kList}, ']', depth)
	case c == '{':
		return p.list(&value{kind: kDict}, '}', depth)
	}
	return nil, fmt.Errorf("%q is no literal", short(p.s[p.i:]))
}

func (p *literal) list(v *value, end byte, depth int) (*value, error) {
	p.i++
	for {
		if p.space(); p.i < len(p.s) && p.s[p.i] == end {
			p.i++
			return v, nil
		}
		item, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		v.items = append(v.items, item)
		p.space()
		if v.kind == kDict && len(v.items)%2 == 1 {
			if p.i >= len(p.s) || p.s[p.i] != ':' {
				return nil, errors.New("a key without a value")
			}
			p.i++
			continue
		}
		if p.i < len(p.s) && p.s[p.i] == ',' {
			p.i++
		} else if p.i >= len(p.s) || p.s[p.i] != end {
			return nil, errors.New("a list without an end")
		}
	}
}
