package onnx_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// lists gives an element list of a TensorProto in both encodings: packed into
// one field, and one field an element.
func lists(num protowire.Number, typ protowire.Type, elements [][]byte) (packed, unpacked []byte) {
	packed = protowire.AppendTag(nil, num, protowire.BytesType)
	packed = protowire.AppendBytes(packed, bytes.Join(elements, nil))
	for _, e := range elements {
		unpacked = append(protowire.AppendTag(unpacked, num, typ), e...)
	}
	return packed, unpacked
}

func varints(v ...int64) [][]byte {
	var out [][]byte
	for _, x := range v {
		out = append(out, protowire.AppendVarint(nil, uint64(x)))
	}
	return out
}

func fixed32(v ...float32) [][]byte {
	var out [][]byte
	for _, x := range v {
		out = append(out, protowire.AppendFixed32(nil, math.Float32bits(x)))
	}
	return out
}

func fixed64(v ...float64) [][]byte {
	var out [][]byte
	for _, x := range v {
		out = append(out, protowire.AppendFixed64(nil, math.Float64bits(x)))
	}
	return out
}

// tensorProto is the head of a TensorProto: dimensions and element type.
func tensorProto(typ onnx.DataType, dims ...int64) []byte {
	var b []byte
	for _, d := range dims {
		b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), uint64(d))
	}
	return protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), uint64(typ))
}

// Every element type in the list that onnx.proto puts it in becomes the same
// bytes, packed or not, with the type before the elements or after.
func TestTypedLists(t *testing.T) {
	for _, test := range []struct {
		typ  onnx.DataType
		list protowire.Number
		wire protowire.Type
		in   [][]byte
		dims []int64
		want []byte
	}{
		{onnx.Float, 4, 5, fixed32(1, -2), []int64{2}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
		{onnx.Complex64, 4, 5, fixed32(1, -2), []int64{1}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
		{onnx.Double, 10, 1, fixed64(1), []int64{1}, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}},
		{onnx.Complex128, 10, 1, fixed64(0, 1), []int64{1}, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f}},
		{onnx.Int64, 7, 0, varints(-2, 258), []int64{2}, []byte{0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 1, 0, 0, 0, 0, 0, 0}},
		{onnx.Uint64, 11, 0, varints(258), []int64{1}, []byte{2, 1, 0, 0, 0, 0, 0, 0}},
		{onnx.Uint32, 11, 0, varints(1<<32 - 1), []int64{1}, []byte{0xff, 0xff, 0xff, 0xff}},
		{onnx.Int32, 5, 0, varints(-2), []int64{1}, []byte{0xfe, 0xff, 0xff, 0xff}},
		{onnx.Int16, 5, 0, varints(-2), []int64{1}, []byte{0xfe, 0xff}},
		{onnx.Uint16, 5, 0, varints(65534), []int64{1}, []byte{0xfe, 0xff}},
		{onnx.Float16, 5, 0, varints(0x3c00), []int64{1}, []byte{0, 0x3c}},
		{onnx.BFloat16, 5, 0, varints(0x3f80), []int64{1}, []byte{0x80, 0x3f}},
		{onnx.Int8, 5, 0, varints(-1, 2), []int64{2}, []byte{0xff, 2}},
		{onnx.Uint8, 5, 0, varints(255), []int64{1}, []byte{0xff}},
		{onnx.Bool, 5, 0, varints(1, 0, 1), []int64{3}, []byte{1, 0, 1}},
		{onnx.Float8E5M2, 5, 0, varints(0x7f), []int64{1}, []byte{0x7f}},
		{onnx.Int4, 5, 0, varints(0x21, 0x3), []int64{3}, []byte{0x21, 0x3}},
		{onnx.Uint2, 5, 0, varints(0x1b), []int64{4}, []byte{0x1b}},
	} {
		packed, unpacked := lists(test.list, test.wire, test.in)
		head := tensorProto(test.typ, test.dims...)
		for _, b := range [][]byte{append(bytes.Clone(head), packed...), append(bytes.Clone(head), unpacked...), append(packed, head...)} {
			got, err := onnx.DecodeTensor(b, onnx.DefaultLimits)
			if err != nil {
				t.Errorf("%v: %v", test.typ, err)
			} else if !bytes.Equal(got.Raw, test.want) {
				t.Errorf("%v: bytes %x, want %x", test.typ, got.Raw, test.want)
			}
		}
		if _, err := onnx.DecodeTensor(append(bytes.Clone(head), packed[:len(packed)-1]...), onnx.DefaultLimits); err == nil {
			t.Errorf("%v: accepted although cut short", test.typ)
		}
		wrong := append(tensorProto(onnx.String, test.dims...), packed...)
		if _, err := onnx.DecodeTensor(wrong, onnx.DefaultLimits); err == nil {
			t.Errorf("the list of %v was accepted for strings", test.typ)
		}
	}
}

// What this version does not know comes back out, in every kind of message.
func TestUnknownFieldsAreKept(t *testing.T) {
	m := small(13, onnx.Float, []int64{2}, []*onnx.Node{node("Relu")}, onnx.FloatTensor("w", []float32{1}, 1))
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	note := protowire.AppendString(protowire.AppendTag(nil, 999, protowire.BytesType), "from the future")
	// Append the field to the model, and to the graph inside it.
	var out []byte
	for rest := b; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		k := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if num == 7 {
			graph, _ := protowire.ConsumeBytes(rest[n:])
			out = protowire.AppendTag(out, num, typ)
			out = protowire.AppendBytes(out, append(bytes.Clone(graph), note...))
		} else {
			out = append(out, rest[:n+k]...)
		}
		rest = rest[n+k:]
	}
	out = append(out, note...)
	m, err = onnx.Decode(out, onnx.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Clone().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out, again) {
		t.Errorf("got %q, want %q", again, out)
	}
}

// A damaged file is an error or another model, never a panic and never a
// surprise: whatever decodes obeys the law of the codec.
func TestDamage(t *testing.T) {
	files := nodeTests(t)
	r := rand.New(rand.NewPCG(3, 4))
	for _, name := range []string{"test_loop16_seq_none", "test_range_float_type_positive_delta_expanded", "test_gemm_alpha", "test_constant", "test_scan9_sum", "test_tfidfvectorizer_tf_only_bigrams_skip0"} {
		b := files[name]["model.onnx"]
		if b == nil {
			t.Fatalf("no test %s", name)
		}
		try := func(b []byte) {
			m, err := onnx.Decode(b, onnx.DefaultLimits)
			if err != nil {
				return
			}
			stable(t, m)
			if onnx.Check(m) == nil {
				_ = onnx.Upgrade(m.Clone(), onnx.MaxUpgrade)
				_ = onnx.Simplify(m.Clone())
				onnx.FreeBatch(m)
			}
		}
		for i := range b {
			try(b[:i])
		}
		for range 2000 {
			c := bytes.Clone(b)
			for range 1 + r.IntN(3) {
				c[r.IntN(len(c))] ^= 1 << r.IntN(8)
			}
			try(c)
		}
	}
}

// grows reports the bytes that f allocates.
func grows(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Small files that claim much are refused before memory is spent on the claim.
func TestClaimsAreNotBelieved(t *testing.T) {
	field := func(num protowire.Number, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), content)
	}
	model := func(graph []byte) []byte { return field(7, graph) }
	deep := []byte(nil)
	for range 2000 { // an If in an If in an If ...
		deep = field(1, field(5, field(6, deep)))
	}
	_, list := lists(7, 0, varints(make([]int64, 1000)...))
	lim := onnx.DefaultLimits
	lim.StructureBytes, lim.TensorBytes, lim.Nodes = 1<<20, 1<<20, 1000
	for _, test := range []struct {
		name string
		b    []byte
		want string
	}{
		{"a tensor of 2^40 elements", append(model(field(5, append(tensorProto(onnx.Int64, 1<<40), list...))), 8, 8), ""},
		{"many empty nodes", model(bytes.Repeat(field(1, nil), 1<<20)), "more than 1000 nodes"},
		{"many empty inputs", model(bytes.Repeat(field(11, nil), 1<<20)), "structure takes more"},
		{"many empty names", model(field(1, bytes.Repeat(field(1, nil), 1<<20))), "structure takes more"},
		{"many small numbers", model(field(1, field(5, field(8, make([]byte, 1<<20))))), "structure takes more"},
		{"many small elements", model(field(5, append(tensorProto(onnx.Int64, 1<<20), field(7, make([]byte, 1<<20))...))), "tensors take more"},
		{"many empty strings", model(field(5, append(tensorProto(onnx.String, 1<<20), bytes.Repeat(field(6, nil), 1<<20)...))), "tensors take more"},
		{"deep nesting", model(deep), "nest deeper"},
	} {
		var m *onnx.Model
		var err error
		got := grows(func() {
			if m, err = onnx.Decode(test.b, lim); err == nil {
				err = onnx.Check(m)
			}
		})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
		if test.want != "" && !errors.Is(err, onnx.ErrLimit) {
			t.Errorf("%s: %v is not ErrLimit", test.name, err)
		}
		// The budgets, twice over while slices grow, and the error's text.
		if got > 8<<20 {
			t.Errorf("%s: %d bytes allocated for a file of %d", test.name, got, len(test.b))
		}
	}
}

func TestCloneSharesNothingThatEditsTouch(t *testing.T) {
	files := nodeTests(t)
	for _, name := range []string{"test_loop16_seq_none", "test_sequence_map_extract_shapes_expanded", "test_gemm_alpha", "test_scan9_sum"} {
		m, err := onnx.Decode(files[name]["model.onnx"], onnx.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		c := m.Clone()
		if !reflect.DeepEqual(m, c) {
			t.Errorf("%s: the clone differs", name)
		}
		before, _ := m.Encode()
		scribble(c.Graph)
		if after, _ := m.Encode(); !bytes.Equal(before, after) {
			t.Errorf("%s: an edit of the clone changed the model", name)
		}
	}
}

// scribble changes everything in place that can be reached in a graph.
func scribble(g *onnx.Graph) {
	for _, v := range append(append(g.Inputs, g.Outputs...), g.Values...) {
		v.Name += "'"
		if v.Type != nil && v.Type.Tensor != nil {
			v.Type.Tensor.Elem = onnx.Bool
			for i := range v.Type.Tensor.Dims {
				v.Type.Tensor.Dims[i].Size = 99
			}
		}
	}
	for _, t := range g.Initializers {
		t.Name += "'"
		for i := range t.Dims {
			t.Dims[i]++
		}
	}
	for _, n := range g.Nodes {
		for i := range n.Inputs {
			n.Inputs[i] += "'"
		}
		for i := range n.Outputs {
			n.Outputs[i] += "'"
		}
		for _, a := range n.Attrs {
			a.Name += "'"
			for i := range a.Ints {
				a.Ints[i]++
			}
			if a.Graph != nil {
				scribble(a.Graph)
			}
			if a.Tensor != nil {
				a.Tensor.Name += "'"
			}
		}
	}
}

func TestReadAndWrite(t *testing.T) {
	dir := t.TempDir()
	m := small(13, onnx.Float, []int64{2}, []*onnx.Node{node("Relu")})
	for _, name := range []string{"m.onnx", "m.onnx.gz"} {
		path := filepath.Join(dir, name)
		if err := onnx.Write(path, m); err != nil {
			t.Fatal(err)
		}
		got, err := onnx.Read(path, onnx.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%s: read %v, want %v", name, got, m)
		}
	}
	if err := onnx.Write(filepath.Join(dir, "absent", "m.onnx"), m); err == nil {
		t.Error("wrote into a folder that is not there")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 2 {
		t.Errorf("%d files left behind, want 2", len(entries))
	}
	// A gzip file that unpacks to more than the limit.
	lim := onnx.DefaultLimits
	lim.FileBytes = 1 << 16
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 1<<24)); err != nil {
		t.Fatal(err)
	}
	z.Close()
	path := filepath.Join(dir, "bomb.onnx.gz")
	if err := os.WriteFile(path, bomb.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := onnx.Read(path, lim); !errors.Is(err, onnx.ErrLimit) {
		t.Errorf("the bomb: %v, want ErrLimit", err)
	}
	if _, err := onnx.Read(dir, onnx.DefaultLimits); err == nil {
		t.Error("a folder was read as a model")
	}
}

// withExternal makes the bytes of a model whose weight is in another file.
func withExternal(t *testing.T, entries ...string) []byte {
	t.Helper()
	m := small(13, onnx.Float, []int64{2}, []*onnx.Node{onnx.NewNode("Add", []string{"x", "w"}, []string{"y"})})
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w := tensorProto(onnx.Float, 2)
	w = protowire.AppendString(protowire.AppendTag(w, 8, protowire.BytesType), "w")
	for i := 0; i < len(entries); i += 2 {
		e := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), entries[i])
		e = protowire.AppendString(protowire.AppendTag(e, 2, protowire.BytesType), entries[i+1])
		w = protowire.AppendBytes(protowire.AppendTag(w, 13, protowire.BytesType), e)
	}
	w = protowire.AppendVarint(protowire.AppendTag(w, 14, protowire.VarintType), 1)
	d, err := onnx.Decode(b, onnx.DefaultLimits)
	if err != nil {
		t.Fatal(err)
	}
	graph := protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), w)
	raw, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	// The graph is the last message but the opset import; splice by walking.
	var out []byte
	for rest := raw; len(rest) > 0; {
		num, typ, n := protowire.ConsumeTag(rest)
		k := protowire.ConsumeFieldValue(num, typ, rest[n:])
		if num == 7 {
			g, _ := protowire.ConsumeBytes(rest[n:])
			out = protowire.AppendBytes(protowire.AppendTag(out, num, typ), append(bytes.Clone(g), graph...))
		} else {
			out = append(out, rest[:n+k]...)
		}
		rest = rest[n+k:]
	}
	return out
}

func TestExternalData(t *testing.T) {
	outside := t.TempDir()
	dir := filepath.Join(outside, "models")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	data := []byte{9, 9, 9, 9, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40}
	for _, p := range []string{filepath.Join(dir, "w.bin"), filepath.Join(dir, "sub", "w.bin"), filepath.Join(outside, "secret")} {
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join("..", "secret"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		location, offset, length, want string
	}{
		{"w.bin", "4", "8", ""},
		{"sub/w.bin", "4", "8", ""},
		{"w.bin", "4", "4", "takes 8"},
		{"w.bin", "8", "8", "the file has 12"},
		{"w.bin", "9223372036854775807", "8", "the file has 12"},
		{"w.bin", "-4", "8", "want a number of bytes"},
		{"absent.bin", "0", "8", "absent.bin"},
		{"../secret", "4", "8", "outside the model's folder"},
		{"sub/../../secret", "4", "8", "outside the model's folder"},
		{filepath.Join(outside, "secret"), "4", "8", "outside the model's folder"},
		{"link", "4", "8", "link"},
		{"sub", "0", "8", "not a regular file"},
		{"", "0", "8", "no location"},
	} {
		path := filepath.Join(dir, "m.onnx")
		b := withExternal(t, "location", test.location, "offset", test.offset, "length", test.length)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := onnx.Read(path, onnx.DefaultLimits)
		if test.want != "" {
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("location %q: error %v, want %q", test.location, err, test.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("location %q: %v", test.location, err)
			continue
		}
		if got := m.Graph.Initializer("w").Floats(); !reflect.DeepEqual(got, []float32{1, 2}) {
			t.Errorf("location %q: weight %v, want [1 2]", test.location, got)
		}
		roundTrip(t, m)
		unread, err := onnx.Decode(b, onnx.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, unread)
		if err := onnx.Check(unread); err == nil || !strings.Contains(err.Error(), "not loaded") {
			t.Errorf("check of a model without its data: %v", err)
		}
	}
	lim := onnx.DefaultLimits
	lim.TensorBytes = 7
	if err := os.WriteFile(filepath.Join(dir, "m.onnx"), withExternal(t, "location", "w.bin"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := onnx.Read(filepath.Join(dir, "m.onnx"), lim); !errors.Is(err, onnx.ErrLimit) {
		t.Errorf("external data beyond the limit: %v, want ErrLimit", err)
	}
}

// A sparse constant is carried through, but not with elements in another file.
func TestSparseConstants(t *testing.T) {
	field := func(num protowire.Number, content []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, num, protowire.BytesType), content)
	}
	packed, _ := lists(4, 5, fixed32(1))
	inside := append(tensorProto(onnx.Float, 1), packed...)
	entry := append(field(1, []byte("location")), field(2, []byte("w.bin"))...)
	outside := append(append(tensorProto(onnx.Float, 1), field(13, entry)...), 14<<3, 1)
	for _, test := range []struct {
		values []byte
		ok     bool
	}{{inside, true}, {outside, false}} {
		attr := append(field(1, []byte("sparse_value")), field(22, field(1, test.values))...)
		b := field(7, field(1, append(field(4, []byte("Constant")), field(5, attr)...)))
		m, err := onnx.Decode(b, onnx.DefaultLimits)
		if (err == nil) != test.ok {
			t.Errorf("error %v, want one: %v", err, !test.ok)
		}
		if err == nil {
			if again, _ := m.Encode(); !bytes.Equal(again, b) {
				t.Errorf("got %q, want %q", again, b)
			}
		}
	}
}

// FuzzDecode looks for bytes on which reading panics or breaks its promises.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		lim := onnx.DefaultLimits
		lim.StructureBytes, lim.TensorBytes = 1<<24, 1<<24
		m, err := onnx.Decode(b, lim)
		if err != nil {
			return
		}
		stable(t, m)
		if onnx.Check(m) != nil {
			return
		}
		stable(t, m)
		edited := m.Clone()
		if onnx.Upgrade(edited, onnx.MaxUpgrade) == nil {
			if err := onnx.Check(edited); err != nil {
				t.Errorf("after Upgrade: %v", err)
			}
		}
		if err := onnx.Simplify(edited); err != nil {
			t.Errorf("Simplify: %v", err)
		}
		onnx.FreeBatch(edited)
	})
}
