package data

import (
	"archive/zip"
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// want is what numpy put into testdata/types.npz.
var want = map[string]*onnx.Tensor{
	"f2":      onnx.RawTensor("f2", onnx.Float16, []byte{0, 0x3e, 0, 0xc0, 0xff, 0x7b, 1, 0}, 2, 2),
	"f4":      onnx.FloatTensor("f4", []float32{1, 2, 3, 4, 5, 6}, 2, 3),
	"f8":      onnx.RawTensor("f8", onnx.Double, []byte{0, 0, 0, 0, 0, 0, 0x0a, 0x40}),
	"f4big":   onnx.FloatTensor("f4big", []float32{1.5, -2.25}, 2),
	"i1":      onnx.RawTensor("i1", onnx.Int8, []byte{128, 127}, 2),
	"i2":      onnx.RawTensor("i2", onnx.Int16, []byte{0xfe, 0xff, 0x2c, 1}, 2),
	"i4big":   onnx.RawTensor("i4big", onnx.Int32, []byte{0xf9, 0xff, 0xff, 0xff, 8, 0, 0, 0}, 1, 2),
	"i8":      onnx.IntTensor("i8", []int64{1 << 62, -1}, 2),
	"u1":      onnx.RawTensor("u1", onnx.Uint8, []byte{0, 1, 2, 3, 4, 5}, 1, 2, 3),
	"u2":      onnx.RawTensor("u2", onnx.Uint16, []byte{255, 255}, 1),
	"u4":      onnx.RawTensor("u4", onnx.Uint32, []byte{255, 255, 255, 255}, 1),
	"u8":      onnx.RawTensor("u8", onnx.Uint64, bytes.Repeat([]byte{255}, 8), 1),
	"b1":      onnx.RawTensor("b1", onnx.Bool, []byte{1, 0, 1}, 3),
	"c8":      onnx.RawTensor("c8", onnx.Complex64, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0x40}, 1),
	"c16":     onnx.RawTensor("c16", onnx.Complex128, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0}, 1, 1),
	"fort":    onnx.RawTensor("fort", onnx.Int32, counting(24), 2, 3, 4),
	"empty":   onnx.FloatTensor("empty", nil, 0, 3),
	"text":    {Name: "text", Type: onnx.String, Dims: []int64{2, 2}, Strings: [][]byte{[]byte("a"), []byte("grün"), {}, []byte("日本")}},
	"textbig": {Name: "textbig", Type: onnx.String, Dims: []int64{1}, Strings: [][]byte{[]byte("xy")}},
	"bytes_":  {Name: "bytes_", Type: onnx.String, Dims: []int64{2}, Strings: [][]byte{[]byte("ab"), []byte("c")}},
	"bf16":    {Name: "bf16", Type: onnx.Undefined, Dims: []int64{2}, Raw: []byte{0xc0, 0x3f, 0, 0xc0}},
	"fp8":     {Name: "fp8", Type: onnx.Undefined, Dims: []int64{2}, Raw: []byte{0x3c, 0xc0}},
	"int4":    {Name: "int4", Type: onnx.Undefined, Dims: []int64{3}, Raw: []byte{1, 8, 7}},
}

func counting(n int) []byte {
	b := make([]byte, 4*n)
	for i := range n {
		b[4*i] = byte(i)
	}
	return b
}

func same(a, b *onnx.Tensor) bool {
	return a.Name == b.Name && a.Type == b.Type && slices.Equal(a.Dims, b.Dims) && bytes.Equal(a.Raw, b.Raw) &&
		slices.EqualFunc(a.Strings, b.Strings, bytes.Equal)
}

func TestReadNPZ(t *testing.T) {
	got, err := ReadNPZ("testdata/types.npz", Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d arrays, want %d", len(got), len(want))
	}
	for name, w := range want {
		if g := got[name]; g == nil || !same(g, w) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, g, w)
		}
	}
}

// What numpy wrote, read and written again, has to come back the same.
func TestWriteNPZ(t *testing.T) {
	arrays := map[string]*onnx.Tensor{}
	meant := map[string]onnx.DataType{"bf16": onnx.BFloat16, "fp8": onnx.Float8E4M3FN, "int4": onnx.Int4}
	for name, w := range want {
		arrays[name] = w
		if typ, ok := meant[name]; ok {
			var err error
			if arrays[name], err = Retype(w, typ); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := arrays["int4"].Raw; !bytes.Equal(got, []byte{0x81, 0x07}) {
		t.Errorf("int4 1, -8, 7 packs to % x, want 81 07", got)
	}
	path := filepath.Join(t.TempDir(), "out.npz")
	if err := WriteNPZ(path, arrays); err != nil {
		t.Fatal(err)
	}
	got, err := ReadNPZ(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range want {
		if g := got[name]; g == nil || !same(g, w) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, g, w)
		}
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("files beside the output: %v, %v", left, err)
	}
}

// The header has to be numpy's own, byte for byte.
func TestEncodeNPYHeader(t *testing.T) {
	for _, c := range []struct {
		tensor *onnx.Tensor
		header string
	}{
		{want["f4"], "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"},
		{want["f8"], "{'descr': '<f8', 'fortran_order': False, 'shape': (), }"},
		{want["b1"], "{'descr': '|b1', 'fortran_order': False, 'shape': (3,), }"},
		{want["text"], "{'descr': '<U4', 'fortran_order': False, 'shape': (2, 2), }"},
		{want["i1"], "{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }"},
	} {
		b, err := encodeNPY(c.tensor)
		if err != nil {
			t.Fatal(err)
		}
		header, _, err := splitNPY(b)
		if err != nil || strings.TrimSpace(header) != c.header || (10+len(header))%64 != 0 || !strings.HasSuffix(header, "\n") {
			t.Errorf("%s: header %q, %v", c.tensor.Name, header, err)
		}
	}
}

func TestWriteNPZRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, bad := range map[string]*onnx.Tensor{
		"short":     {Type: onnx.Float, Dims: []int64{3}, Raw: []byte{1}},
		"undefined": {Type: onnx.Undefined, Dims: []int64{1}, Raw: []byte{1}},
		"strings":   {Type: onnx.String, Dims: []int64{2}, Strings: [][]byte{{}}},
		"latin1":    {Type: onnx.String, Dims: []int64{1}, Strings: [][]byte{{0xff}}},
	} {
		if err := WriteNPZ(filepath.Join(dir, "x.npz"), map[string]*onnx.Tensor{name: bad}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want an error naming it", name, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("files left behind: %v", left)
	}
}

func TestRetypeRefuses(t *testing.T) {
	if _, err := Retype(want["f4"], onnx.Int32); err == nil {
		t.Error("float32 became int32")
	}
	if _, err := Retype(want["bf16"], onnx.Float8E5M2); err == nil {
		t.Error("two-byte elements became float8")
	}
}

func npy(header string, body ...byte) []byte {
	header += "\n"
	b := append([]byte(npyMagic), 1, 0, byte(len(header)), byte(len(header)>>8))
	return append(append(b, header...), body...)
}

func TestDecodeNPYRefuses(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		want string
	}{
		{[]byte("hello"), "magic"},
		{append([]byte(npyMagic), 9, 0, 0, 0), "version"},
		{append([]byte(npyMagic), 2, 0, 0xff, 0xff, 0xff, 0xff), "longer than the limit"},
		{append([]byte(npyMagic), 1, 0, 100, 0), "cut short"},
		{npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 0), "pickle"},
		{npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 0, 0, 0, 0), "structured"},
		{npy("{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }", 0, 0, 0), "not supported"},
		{npy("{'descr': '<U0', 'fortran_order': False, 'shape': (500000000,), }"), "not supported"},
		{npy("{'descr': '<f4', 'fortran_order': 1, 'shape': (1,), }", 0, 0, 0, 0), "fortran_order"},
		{npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }"), "shape"},
		{npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }"), "limit"},
		{npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296, 0), }"), "limit"},
		{npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 0, 0, 0, 0), "needs 8 bytes"},
		{npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", 0, 0, 0, 0), "unknown key"},
		{npy("{'descr': '<f4', 'fortran_order': False}", 0, 0, 0, 0), "lacks"},
		{npy("{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", 2), "bool"},
		{npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,), }", 0, 0xd8, 0, 0), "no character"},
		{npy("__import__('os').system('x')"), "dictionary"},
	} {
		if _, err := decodeNPY(c.in, Limits{}.orDefaults()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: got %v, want an error with %q", c.in, err, c.want)
		}
	}
}

// A bomb of many entries, each within the limit, has to stop at the limit.
func TestNPZBomb(t *testing.T) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	body := npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000,), }", make([]byte, 1_000_000)...)
	for i := range 20 {
		f, err := w.Create(string(rune('a'+i)) + ".npy")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	limits := Limits{Bytes: 5_000_000}.orDefaults()
	if _, err := decodeNPZ(b.Bytes(), limits); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("20 MB behind a limit of 5 MB: %v", err)
	}
	limits.Bytes, limits.Files = 1<<30, 5
	if _, err := decodeNPZ(b.Bytes(), limits); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("20 entries behind a limit of 5: %v", err)
	}
}

func TestOpenNPZ(t *testing.T) {
	s, err := Open("testdata/set.npz", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.X.Shape, []int{3, 2, 2}) || !slices.Equal(s.Y, []int{0, 2, 1}) || s.X.Data[1] != 228.0/255 || !s.Bounded {
		t.Errorf("bytes: %+v %+v", s, s.X)
	}
	s, err = Open("testdata/rows.npz", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.X.Row(1), []float32{0.44637457, -0.5369532, 0.5811181}) || s.Bounded {
		t.Errorf("Fortran rows: %v", s.X.Data)
	}
	if _, err := Open("testdata/types.npz", Options{}); err == nil || !strings.Contains(err.Error(), `"x" is missing`) {
		t.Errorf("without x: %v", err)
	}
}

func FuzzNPY(f *testing.F) {
	for _, w := range want {
		if w.Type != onnx.Undefined {
			b, err := encodeNPY(w)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	limits := Limits{Bytes: 1 << 20, Elements: 1 << 16}.orDefaults()
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeNPY(b, limits)
		if err != nil || a.Type == onnx.Undefined || a.Type == onnx.String {
			return
		}
		again, err := encodeNPY(a)
		if err != nil {
			t.Fatalf("%v %v: %v", a.Type, a.Dims, err)
		}
		c, err := decodeNPY(again, limits)
		if err != nil || !reflect.DeepEqual(a, c) {
			t.Fatalf("written and read again: %v, %v want %v", err, c, a)
		}
	})
}

func FuzzNPZ(f *testing.F) {
	for _, name := range []string{"testdata/set.npz", "testdata/rows.npz"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	limits := Limits{Bytes: 1 << 20, Elements: 1 << 16, Files: 50}.orDefaults()
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeNPZ(b, limits)
	})
}
