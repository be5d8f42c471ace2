package scan

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// loaded is a safetensors file read by the format's own rules.
func loaded(t *testing.T, path string) map[string]safetensorOf {
	t.Helper()
	b, err := os.ReadFile(path)
	try(t, err)
	try(t, checkSafetensors(&source{r: bytes.NewReader(b), size: int64(len(b))}))
	n := binary.LittleEndian.Uint64(b)
	var header map[string]json.RawMessage
	try(t, json.Unmarshal(b[8:8+n], &header))
	out := map[string]safetensorOf{}
	for name, raw := range header {
		if name == "__metadata__" {
			continue
		}
		var v safetensor
		try(t, json.Unmarshal(raw, &v))
		out[name] = safetensorOf{v.DType, v.Shape, b[8+n:][v.Offsets[0]:v.Offsets[1]]}
	}
	return out
}

type safetensorOf struct {
	dtype string
	shape []int64
	data  []byte
}

func (s safetensorOf) floats() []float32 {
	out := make([]float32, len(s.data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(s.data[4*i:]))
	}
	return out
}

func floats(v ...float32) []byte {
	var b []byte
	for _, f := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
	}
	return b
}

// viewOf is a tensor over storage "0" of six floats.
func viewOf(offset int, shape, strides []int) []byte {
	id := cat("(", text("storage"), global("torch", "FloatStorage"), text("0"), text("cpu"), "K", 6, "tQ")
	dims := func(v []int) []byte {
		b := []byte("(")
		for _, d := range v {
			b = cat(b, "K", d)
		}
		return cat(b, "t")
	}
	return call(global("torch._utils", "_rebuild_tensor_v2"), id, "K", offset, dims(shape), dims(strides), 0x89, call(global("collections", "OrderedDict")))
}

func torchOf(pickle []byte) []byte {
	return zipped(member{name: "m/data.pkl", body: pickle}, member{name: "m/data/0", body: floats(0, 1, 2, 3, 4, 5)}, member{name: "m/version", body: []byte("3\n")})
}

func convert(t *testing.T, name string, body []byte) (string, *Converted, error) {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, name), filepath.Join(dir, "out.safetensors")
	try(t, os.WriteFile(in, body, 0o600))
	done, err := Convert(t.Context(), in, out, Config{})
	entries, _ := os.ReadDir(dir)
	if want := 1 + b2i(err == nil); len(entries) != want {
		t.Errorf("%s: %d files in the folder, want %d", name, len(entries), want)
	}
	return out, done, err
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Views show the elements that their strides say, and each gets its own copy.
func TestConvertViews(t *testing.T) {
	state := whole(2, "}(",
		text("plain"), viewOf(0, []int{2, 3}, []int{3, 1}),
		text("turned"), viewOf(0, []int{3, 2}, []int{1, 3}),
		text("column"), viewOf(1, []int{2}, []int{3}),
		text("repeated"), viewOf(4, []int{2, 2}, []int{0, 1}),
		text("scalar"), viewOf(5, nil, nil),
		text("empty"), viewOf(0, []int{0, 3}, []int{3, 1}),
		text("nested"), "}", text("list"), "]", viewOf(2, []int{1}, []int{1}), "as",
		text("epoch"), "K", 7, "u")
	for name, body := range map[string][]byte{"new.pt": torchOf(state), "old.pt": legacyTorch(state, cat(le(6, 8), floats(0, 1, 2, 3, 4, 5)))} {
		out, done, err := convert(t, name, body)
		try(t, err)
		got := loaded(t, out)
		for tensor, want := range map[string][]float32{"plain": {0, 1, 2, 3, 4, 5}, "turned": {0, 3, 1, 4, 2, 5}, "column": {1, 4},
			"repeated": {4, 5, 4, 5}, "scalar": {5}, "empty": {}, "nested.list.0": {2}} {
			if !slices.Equal(got[tensor].floats(), want) || got[tensor].dtype != "F32" {
				t.Errorf("%s: %s is %v, want %v", name, tensor, got[tensor].floats(), want)
			}
		}
		if len(got) != 7 || done.Tensors != 7 || !slices.Equal(done.LeftOut, []string{"epoch (7)"}) {
			t.Errorf("%s: %d tensors, left out %v", name, done.Tensors, done.LeftOut)
		}
	}
}

func TestConvertNumPy(t *testing.T) {
	bigEndian := []byte{0x3f, 0x80, 0, 0, 0x40, 0, 0, 0} // 1, 2
	for name, c := range map[string]struct {
		body   []byte
		tensor string
		want   []float32
	}{
		"a.npy":       {npy("'<f4'", "(2,)", floats(1, 2)), "tensor", []float32{1, 2}},
		"big.npy":     {npy("'>f4'", "(2,)", bigEndian), "tensor", []float32{1, 2}},
		"fortran.npy": {bytes.Replace(npy("'<f4'", "(2, 2)", floats(1, 2, 3, 4)), []byte("False, "), []byte("True,  "), 1), "tensor", []float32{1, 3, 2, 4}},
		"a.npz":       {zipped(member{name: "w.npy", body: npy("'<f4'", "(2,)", floats(1, 2)), pack: true}), "w", []float32{1, 2}},
		"a.pkl": {whole(3, "}", text("w"), bytes.Replace(bytes.Replace(numpyArray(1), text("f8"), text("f4"), 1),
			cat("K", 1, "K", 1, 0x85), cat("K", 1, "K", 2, 0x85), 1), "s"), "w", []float32{0, 0}},
	} {
		out, _, err := convert(t, name, c.body)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := loaded(t, out)[c.tensor].floats(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// What cannot be given exactly is refused, and nothing is written.
func TestConvertRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		body []byte
		says string
	}{
		"beyond.pt":   {torchOf(whole(2, viewOf(3, []int{4}, []int{1}))), "beyond its storage"},
		"stride.pt":   {torchOf(whole(2, viewOf(0, []int{2, 3}, []int{5, 1}))), "beyond its storage"},
		"bomb.pt":     {torchOf(whole(2, viewOf(0, []int{250, 250, 250, 250}, []int{0, 0, 0, 0}))), "unfold"},
		"storage.pt":  {torchOf(bytes.Replace(whole(2, viewOf(0, []int{1}, []int{1})), text("0"), text("7"), 1)), "no storage"},
		"cut.pt":      {torchOf(whole(2, viewOf(0, []int{1}, []int{1})))[:100], "cut short"},
		"crc.pt":      {zipped(member{name: "m/data.pkl", body: whole(2, viewOf(0, []int{1}, []int{1}))}, member{name: "m/data/0", body: floats(0, 1, 2, 3, 4, 5), crc: 7}), "not sound"},
		"complex.npy": {npy("'<c16'", "(1,)", make([]byte, 16)), "does not have"},
		"object.npy":  {npy("'|O'", "(1,)", whole(3, "N")), "does not have"},
		"text.txt":    {[]byte("nothing to see"), "no PyTorch checkpoint"},
		"none.pkl":    {whole(2, "}"), "no tensor"},
		"self.pkl":    {whole(2, "]q", 0, "h", 0, "a"), "contains itself"},
		"script.pt":   {torchZip(whole(2, "N"), member{name: "m/constants.pkl", body: whole(2, "N")}), "TorchScript"},
		"same.pt":     {torchOf(whole(2, "}(", text("a.b"), viewOf(0, []int{1}, []int{1}), text("a"), "}", text("b"), viewOf(0, []int{1}, []int{1}), "su")), "two tensors"},
		"joblib.pkl":  {whole(3, joblibArray(1, make([]byte, 8))), "joblib"},
	} {
		if _, _, err := convert(t, name, c.body); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error with %q", name, err, c.says)
		}
	}
}

// The pickle is not executed, whatever it calls on the way to the tensors.
func TestConvertDoesNotExecute(t *testing.T) {
	out, done, err := convert(t, "evil.pt", torchOf(whole(2, "}(", text("w"), viewOf(0, []int{2}, []int{1}), text("x"), inert, "u")))
	try(t, err)
	if got := loaded(t, out)["w"].floats(); !slices.Equal(got, []float32{0, 1}) || len(done.LeftOut) != 1 {
		t.Errorf("w is %v, left out %v", got, done.LeftOut)
	}
}

// FuzzConvert: whatever the checkpoint, what comes out is a sound safetensors
// file or nothing.
func FuzzConvert(f *testing.F) {
	f.Add(torchOf(whole(2, viewOf(0, []int{3, 2}, []int{1, 3}))))
	f.Add(legacyTorch(whole(2, viewOf(0, []int{2}, []int{1})), nil))
	f.Add(npy("'>f4'", "(2,)", floats(1, 2)))
	f.Add(whole(3, "}", text("w"), numpyArray(3), "s"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		in, out := filepath.Join(dir, "in"), filepath.Join(t.TempDir(), "out.safetensors")
		try(t, os.WriteFile(in, b, 0o600))
		if _, err := Convert(t.Context(), in, out, Config{Limits: Limits{Unpacked: 1 << 20, Opcodes: 1 << 16, Memo: 1 << 16}}); err == nil {
			loaded(t, out)
		} else if _, err := os.Stat(out); err == nil {
			t.Error("refused, and written all the same")
		}
	})
}
