package data

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func idx(typ byte, dims []uint32, body ...byte) []byte {
	b := []byte{0, 0, typ, byte(len(dims))}
	for _, d := range dims {
		b = binary.BigEndian.AppendUint32(b, d)
	}
	return append(b, body...)
}

func TestMNIST(t *testing.T) {
	spec := need.Data(t, "mnist/t10k-images-idx3-ubyte.gz") + "," + need.Data(t, "mnist/t10k-labels-idx1-ubyte.gz")
	s, err := Open(spec, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.X.Shape, []int{10000, 28, 28}) {
		t.Fatalf("shape %v", s.X.Shape)
	}
	// The first ten labels of the MNIST test set, and how many of each there are.
	if want := []int{7, 2, 1, 0, 4, 1, 4, 9, 5, 9}; !slices.Equal(s.Y[:10], want) {
		t.Errorf("labels %v, want %v", s.Y[:10], want)
	}
	counts := make([]int, 10)
	for _, y := range s.Y {
		counts[y]++
	}
	if want := []int{980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009}; !slices.Equal(counts, want) {
		t.Errorf("label counts %v, want %v", counts, want)
	}
	// The mean pixel of the test set is known to be 0.1325.
	sum := 0.0
	for _, v := range s.X.Data {
		sum += float64(v)
	}
	if mean := sum / float64(len(s.X.Data)); mean < 0.1324 || mean > 0.1326 {
		t.Errorf("mean pixel %v, want 0.1325", mean)
	}
	if err := s.For([]int64{-1, 1, 28, 28}, Flat); err != nil || !slices.Equal(s.X.Shape, []int{10000, 1, 28, 28}) || s.Layout != CHW {
		t.Errorf("For: %v %v %q", err, s.X.Shape, s.Layout)
	}
}

func TestCIFAR(t *testing.T) {
	s, err := Open(need.Data(t, "cifar10/test_237.bin.gz"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.X.Shape, []int{237, 3, 32, 32}) || s.Layout != CHW || s.Classes[s.Y[0]] == "" {
		t.Errorf("shape %v, layout %q", s.X.Shape, s.Layout)
	}
	red, green := s.X.Row(5)[33], s.X.Row(5)[1024+33]
	if err := s.For([]int64{1, 32, 32, 3}, HWC); err != nil {
		t.Fatal(err)
	}
	if row := s.X.Row(5); row[99] != red || row[100] != green {
		t.Errorf("pixel (1,1) became %v, want %v %v", row[99:102], red, green)
	}
}

func TestSharedTables(t *testing.T) {
	// Location-30 has its label first and quoted, from 1 to 30.
	s, err := Open(need.Data(t, "tabular/location30.csv.gz"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.X.Shape, []int{5010, 446}) {
		t.Errorf("shape %v", s.X.Shape)
	}
	s, err = Open(need.Data(t, "tabular/digits.csv.gz"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.X.Shape, []int{1797, 64}) || s.Y[9] != 9 {
		t.Errorf("digits: %v %v", s.X.Shape, s.Y[:10])
	}
}

func TestIDXTypes(t *testing.T) {
	for _, c := range []struct {
		b    []byte
		want float32
	}{
		{idx(0x08, []uint32{1, 2}, 0, 200), 200}, // flat bytes are not pixels
		{idx(0x08, []uint32{1, 1, 2}, 0, 51), 0.2},
		{idx(0x09, []uint32{1, 2}, 0, 0xff), -1},
		{idx(0x0B, []uint32{1, 2}, 0, 0, 1, 2), 258},
		{idx(0x0C, []uint32{1, 2}, 0, 0, 0, 0, 0, 0, 1, 2), 258},
		{idx(0x0D, []uint32{1, 2}, 0, 0, 0, 0, 0x3f, 0xc0, 0, 0), 1.5},
		{idx(0x0E, []uint32{1, 2}, 0, 0, 0, 0, 0, 0, 0, 0, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0), 1.5},
	} {
		dir := t.TempDir()
		images, labels := filepath.Join(dir, "a.idx.gz"), filepath.Join(dir, "b.idx")
		if err := os.WriteFile(images, zipped(c.b), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(labels, idx(0x08, []uint32{1}, 3), 0o644); err != nil {
			t.Fatal(err)
		}
		s, err := Open(images+","+labels, Options{})
		if err != nil {
			t.Errorf("type %#x: %v", c.b[2], err)
			continue
		}
		if s.X.Data[1] != c.want || s.Y[0] != 3 {
			t.Errorf("type %#x: %v %v, want %v", c.b[2], s.X.Data, s.Y, c.want)
		}
		a, _ := redoubt.DigestFile(images)
		b, _ := redoubt.DigestFile(labels)
		if want := redoubt.DigestBytes([]byte(string(a) + "  " + images + "\n" + string(b) + "  " + labels + "\n")); s.Digest != want {
			t.Errorf("digest %s, want that of the sha256sum listing, %s", s.Digest, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	label := idx(0x08, []uint32{1}, 3)
	for name, c := range map[string]struct {
		files map[string][]byte
		spec  string
		opt   Options
		want  string
	}{
		"absent":           {nil, "nothing.npz", Options{}, "no such file"},
		"unknown":          {map[string][]byte{"x.docx": {1}}, "x.docx", Options{}, "no reader"},
		"count mismatch":   {map[string][]byte{"a.idx": idx(8, []uint32{2, 1, 1}, 1, 2), "b.idx": label}, "a.idx,b.idx", Options{}, "2 samples but 1 labels"},
		"swapped":          {map[string][]byte{"a.idx": label, "b.idx": idx(8, []uint32{1, 1, 1}, 1)}, "a.idx,b.idx", Options{}, "samples first"},
		"empty idx":        {map[string][]byte{"a.idx": idx(8, []uint32{0, 28, 28}), "b.idx": idx(8, []uint32{0})}, "a.idx,b.idx", Options{}, "no samples"},
		"idx claims":       {map[string][]byte{"a.idx": idx(8, []uint32{1 << 31, 1 << 31, 1 << 31}, 1), "b.idx": label}, "a.idx,b.idx", Options{}, "limit"},
		"idx short":        {map[string][]byte{"a.idx": idx(8, []uint32{1, 28, 28}, 1), "b.idx": label}, "a.idx,b.idx", Options{}, "needs 784 bytes"},
		"not idx":          {map[string][]byte{"a.idx": []byte("hello"), "b.idx": label}, "a.idx,b.idx", Options{}, "not an IDX"},
		"NaN in idx":       {map[string][]byte{"a.idx": idx(0x0D, []uint32{1, 1, 2}, 0, 0, 0, 0, 0x7f, 0xc0, 0, 0), "b.idx": label}, "a.idx,b.idx", Options{}, "sample 0 holds NaN at element [0 1]"},
		"negative label":   {map[string][]byte{"a.idx": idx(8, []uint32{1, 1, 1}, 1), "b.idx": idx(9, []uint32{1}, 0xff)}, "a.idx,b.idx", Options{}, "label -1"},
		"gzip bomb":        {map[string][]byte{"a.csv.gz": zipped(bytes.Repeat([]byte("1,2\n"), 1<<20))}, "a.csv.gz", Options{Limits: Limits{Bytes: 1 << 20}}, "more bytes than the limit"},
		"gzip cut":         {map[string][]byte{"a.csv.gz": zipped([]byte("1,2\n3,4\n"))[:20]}, "a.csv.gz", Options{}, "decompress"},
		"cifar size":       {map[string][]byte{"a.bin": make([]byte, 3072)}, "a.bin", Options{}, "whole records"},
		"cifar label":      {map[string][]byte{"a.bin": append([]byte{10}, make([]byte, 3072)...)}, "a.bin", Options{}, "label 10"},
		"csv empty":        {map[string][]byte{"a.csv": nil}, "a.csv", Options{}, "empty"},
		"csv header only":  {map[string][]byte{"a.csv": []byte("a,b\n")}, "a.csv", Options{}, "no samples"},
		"csv NaN":          {map[string][]byte{"a.csv": []byte("a,b,y\n1,2,0\n1,nan,0\n")}, "a.csv", Options{}, `line 3, column "b": nan is not a finite`},
		"csv missing":      {map[string][]byte{"a.csv": []byte("a,b,y\n1,,0\n")}, "a.csv", Options{}, `line 2, column "b": the value is missing`},
		"csv text":         {map[string][]byte{"a.csv": []byte("a,b,y\n1,x,0\n")}, "a.csv", Options{}, `"x" is not a number`},
		"csv label":        {map[string][]byte{"a.csv": []byte("1,2,0.5\n")}, "a.csv", Options{}, "not a class number"},
		"csv label text":   {map[string][]byte{"a.csv": []byte("a,y\n1,yes\n")}, "a.csv", Options{}, "schema"},
		"csv label name":   {map[string][]byte{"a.csv": []byte("a,y\n1,0\n")}, "a.csv", Options{Label: "z"}, `no column is named "z"`},
		"csv ragged":       {map[string][]byte{"a.csv": []byte("1,2,0\n1,0\n")}, "a.csv", Options{}, "record on line 2"},
		"csv beyond":       {map[string][]byte{"a.csv": []byte("1e300,0\n")}, "a.csv", Options{}, "beyond float32"},
		"csv wide":         {map[string][]byte{"a.csv": []byte(strings.Repeat("1,", 100) + "0\n")}, "a.csv", Options{Limits: Limits{Columns: 50}}, "101 columns exceed"},
		"csv long":         {map[string][]byte{"a.csv": bytes.Repeat([]byte("1,0\n"), 100)}, "a.csv", Options{Limits: Limits{Elements: 50}}, "exceeds the limit of 50"},
		"npz not a zip":    {map[string][]byte{"a.npz": []byte("PK")}, "a.npz", Options{}, "not an NPZ"},
		"parquet nonsense": {map[string][]byte{"a.parquet": bytes.Repeat([]byte("PAR1"), 100)}, "a.parquet", Options{}, "as Parquet"},
		"file too long":    {map[string][]byte{"a.npz": make([]byte, 100)}, "a.npz", Options{Limits: Limits{Bytes: 99}}, "the limit is 99"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for n, b := range c.files {
				if err := os.WriteFile(filepath.Join(dir, n), b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			t.Chdir(dir)
			if _, err := Open(c.spec, c.opt); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestFor(t *testing.T) {
	for _, c := range []struct {
		have   []int
		from   Layout
		model  []int64
		layout Layout
		want   []int // nil: refused
	}{
		{[]int{28, 28}, Flat, []int64{-1, 1, 28, 28}, Flat, []int{1, 28, 28}},
		{[]int{28, 28}, Flat, []int64{1, 784}, Flat, []int{784}},
		{[]int{28, 28}, Flat, []int64{1, 1, 784, 1}, Flat, []int{1, 784, 1}},
		{[]int{28, 28}, Flat, []int64{-1, 28, 28, 1}, Flat, []int{28, 28, 1}},
		{[]int{784}, Flat, []int64{-1, 1, 28, 28}, Flat, []int{1, 28, 28}},
		{[]int{28, 28}, Flat, []int64{-1, -1, -1, -1}, Flat, []int{1, 28, 28}},
		{[]int{28, 28}, Flat, []int64{-1, -1}, Flat, []int{784}},
		{[]int{28, 28}, Flat, []int64{-1, 1, -1, 28}, Flat, []int{1, 28, 28}},
		{[]int{3, 32, 32}, CHW, []int64{1, 3, 32, 32}, CHW, []int{3, 32, 32}},
		{[]int{3, 32, 32}, CHW, []int64{1, 32, 32, 3}, Flat, []int{32, 32, 3}},
		{[]int{32, 32, 3}, Flat, []int64{1, 3, 32, 32}, Flat, []int{3, 32, 32}},
		{[]int{3, 32, 32}, CHW, []int64{1, 3072}, HWC, []int{3072}},
		{[]int{3, 16, 32}, CHW, []int64{-1, 3, 32, 16}, Flat, nil}, // would scramble
		{[]int{2, 6}, Flat, []int64{-1, 3, 4}, Flat, nil},
		{[]int{28, 28}, Flat, []int64{-1, 1, 32, 32}, Flat, nil},
		{[]int{5}, Flat, []int64{}, Flat, nil},
		{[]int{5}, Flat, []int64{-1, 0}, Flat, nil},
		{[]int{5}, Flat, []int64{-1, 0, -1}, Flat, nil},
	} {
		x := tensor.New(append([]int{2}, c.have...)...)
		for i := range x.Data {
			x.Data[i] = float32(i)
		}
		s := &Set{X: x, Y: []int{0, 0}, Layout: c.from, Path: "data.npz"}
		err := s.For(c.model, c.layout)
		if c.want == nil {
			if err == nil {
				t.Errorf("%v to %v: accepted as %v", c.have, c.model, s.X.Shape)
			}
			continue
		}
		if err != nil || !slices.Equal(s.X.Shape[1:], c.want) || s.X.Rows() != 2 {
			t.Errorf("%v to %v: %v, %v, want %v", c.have, c.model, s.X.Shape, err, c.want)
		}
	}
}

// Every element has to arrive where its coordinates say.
func TestTranspose(t *testing.T) {
	x := tensor.New(2, 3, 4, 5)
	for i := range x.Data {
		x.Data[i] = float32(i)
	}
	y := transpose(x, HWC)
	for n := range 2 {
		for c := range 3 {
			for h := range 4 {
				for w := range 5 {
					if got, want := y.Data[((n*4+h)*5+w)*3+c], x.Data[((n*3+c)*4+h)*5+w]; got != want {
						t.Fatalf("(%d,%d,%d,%d) = %v, want %v", n, c, h, w, got, want)
					}
				}
			}
		}
	}
	if back := transpose(y, CHW); !slices.Equal(back.Data, x.Data) || !slices.Equal(back.Shape, x.Shape) {
		t.Error("transposing there and back changes the samples")
	}
}

func TestSampling(t *testing.T) {
	s := &Set{X: tensor.New(100, 1), Y: make([]int, 100)}
	for i := range s.Y {
		s.X.Data[i] = float32(i)
		switch {
		case i%10 == 0:
			s.Y[i] = 2 // 10
		case i%2 == 0:
			s.Y[i] = 1 // 40
		}
	}
	a, b := s.Stratified(31, 7), s.Stratified(31, 7)
	if !slices.Equal(a.Rows, b.Rows) || slices.Equal(a.Rows, s.Stratified(31, 8).Rows) {
		t.Error("a sample has to follow its seed")
	}
	counts := [3]int{}
	for i, y := range a.Y {
		counts[y]++
		if float32(a.Rows[i]) != a.X.Data[i] || s.Y[a.Rows[i]] != y {
			t.Fatalf("sample %d is not row %d", i, a.Rows[i])
		}
	}
	// Shares of 31: 15.5, 12.4, 3.1; the one left over goes to the first.
	if counts != [3]int{16, 12, 3} {
		t.Errorf("class counts %v, want [16 12 3]", counts)
	}
	train, test := s.Split(0.8, 3)
	all := append(slices.Clone(train.Rows), test.Rows...)
	slices.Sort(all)
	if len(train.Y) != 80 || len(all) != 100 || len(slices.Compact(all)) != 100 {
		t.Errorf("split %d and %d, overlapping or losing samples", len(train.Y), len(test.Y))
	}
	if again := test.Pick([]int{1}); again.Rows[0] != test.Rows[1] {
		t.Error("a sample of a sample has lost its row")
	}
	if h := s.Head(5); len(h.Y) != 5 || h.X.Rows() != 5 || len(s.Head(500).Y) != 100 {
		t.Error("Head")
	}
	if err := s.Check(2); err == nil || !strings.Contains(err.Error(), "label 2") {
		t.Errorf("label 2 of two classes: %v", err)
	}
}

func picture(t *testing.T, w, h int, at func(x, y int) color.Color) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			img.Set(x, y, at(x, y))
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestImages(t *testing.T) {
	grey := picture(t, 3, 2, func(x, y int) color.Color { return color.Gray{uint8(10*x + y)} })
	red := picture(t, 3, 2, func(x, y int) color.Color { return color.NRGBA{200, uint8(x), uint8(y), 255} })
	clear := picture(t, 3, 2, func(x, y int) color.Color { return color.NRGBA{200, 0, 0, 9} })
	wide := picture(t, 4, 2, func(x, y int) color.Color { return color.White })
	for name, c := range map[string]struct {
		files map[string][]byte
		shape []int
		y     []int
		first float32
		want  string
	}{
		"grey":        {files: map[string][]byte{"cat/a.png": grey, "dog/b.png": grey, "dog/.notes": nil}, shape: []int{2, 1, 2, 3}, y: []int{0, 1}, first: 10.0 / 255},
		"coloured":    {files: map[string][]byte{"cat/a.png": red, "dog/b.png": grey}, shape: []int{2, 3, 2, 3}, y: []int{0, 1}, first: 200.0 / 255},
		"numbered":    {files: map[string][]byte{"10/a.png": grey, "9/b.png": grey}, shape: []int{2, 1, 2, 3}, y: []int{10, 9}, first: 10.0 / 255},
		"labels.csv":  {files: map[string][]byte{"labels.csv": []byte("file,label\nb.png,4\na.png,2\n"), "a.png": grey, "b.png": red}, shape: []int{2, 3, 2, 3}, y: []int{4, 2}, first: 200.0 / 255},
		"transparent": {files: map[string][]byte{"a/a.png": clear}, want: "transparent at (0,0)"},
		"sizes":       {files: map[string][]byte{"a/a.png": grey, "a/b.png": wide}, want: "4x2 pixels but"},
		"outside":     {files: map[string][]byte{"labels.csv": []byte("../../../etc/passwd,1\n")}, want: "escapes"},
		"bad label":   {files: map[string][]byte{"labels.csv": []byte("a.png,1\nb.png,x\n")}, want: "line 2"},
		"empty":       {files: map[string][]byte{"notes.txt": nil}, want: "no PNG"},
		"not a png":   {files: map[string][]byte{"a/a.png": []byte("GIF89a")}, want: "a.png"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for n, b := range c.files {
				path := filepath.Join(dir, filepath.FromSlash(n))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, b, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open(dir, Options{})
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want an error with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			second := s.X.Data[0]
			if s.X.Shape[1] == 1 {
				second = s.X.Data[1]
			}
			if !slices.Equal(s.X.Shape, c.shape) || !slices.Equal(s.Y, c.y) || second != c.first {
				t.Errorf("shape %v, labels %v, pixel %v; want %v %v %v", s.X.Shape, s.Y, second, c.shape, c.y, c.first)
			}
		})
	}
}

// A picture of 65,535 x 65,535 in a few bytes must be refused by its header.
func TestImageBomb(t *testing.T) {
	b := picture(t, 1, 1, func(x, y int) color.Color { return color.White })
	binary.BigEndian.PutUint32(b[16:], 65535)
	binary.BigEndian.PutUint32(b[20:], 65535)
	// The header's checksum has to hold for the size to be believed.
	binary.BigEndian.PutUint32(b[29:], crc(b[12:29]))
	path := write(t, "a/bomb.png", b)
	if _, err := Open(filepath.Dir(filepath.Dir(path)), Options{}); err == nil || !strings.Contains(err.Error(), "pixels; the limit") {
		t.Errorf("got %v", err)
	}
}
