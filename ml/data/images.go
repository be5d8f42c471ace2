package data

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// imageTypes are the kinds of picture by the ending of their names. Only the
// first frame of a GIF is read.
var imageTypes = map[string]struct {
	config func(b *bytes.Reader) (image.Config, error)
	decode func(b *bytes.Reader) (image.Image, error)
}{
	".png":  {func(b *bytes.Reader) (image.Config, error) { return png.DecodeConfig(b) }, func(b *bytes.Reader) (image.Image, error) { return png.Decode(b) }},
	".gif":  {func(b *bytes.Reader) (image.Config, error) { return gif.DecodeConfig(b) }, func(b *bytes.Reader) (image.Image, error) { return gif.Decode(b) }},
	".jpg":  {decodeJPEGConfig, decodeJPEG},
	".jpeg": {decodeJPEGConfig, decodeJPEG},
}

func decodeJPEGConfig(b *bytes.Reader) (image.Config, error) { return jpeg.DecodeConfig(b) }
func decodeJPEG(b *bytes.Reader) (image.Image, error)        { return jpeg.Decode(b) }

// labelled is one picture of a folder.
type labelled struct {
	name  string
	class int
}

func isFolder(paths []string, _ string) bool {
	info, err := os.Stat(paths[0])
	return err == nil && len(paths) == 1 && info.IsDir()
}

// openImages reads a folder with one subfolder a class, or with a labels.csv
// of names and class numbers. Nothing outside the folder is read, whatever
// labels.csv or a symbolic link says.
func openImages(src *source, paths []string, _ Options) (*Set, error) {
	root, err := os.OpenRoot(paths[0])
	if err != nil {
		return nil, err
	}
	defer root.Close()
	files, classes, err := listImages(src, root)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, errors.New("no PNG, JPEG or GIF files in subfolders named after classes, and no labels.csv")
	}
	images := imageBatch{limits: src.limits, total: len(files)}
	set := &Set{Classes: classes}
	for _, f := range files {
		b, err := readIn(src, root, f.name)
		if err != nil {
			return nil, err
		}
		if err := images.add(f.name, b); err != nil {
			return nil, err
		}
		set.Y = append(set.Y, f.class)
	}
	set.X, set.Layout = images.tensor()
	set.Bounds, set.Bounded = [2]float32{0, 1}, true
	return set, nil
}

func readIn(src *source, root *os.Root, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return src.read(f, name)
}

// listImages finds the pictures in the order of their names.
func listImages(src *source, root *os.Root) (files []labelled, classes []string, err error) {
	if _, err := root.Stat("labels.csv"); err == nil {
		b, err := readIn(src, root, "labels.csv")
		if err != nil {
			return nil, nil, err
		}
		files, err = parseLabels(b, src.limits)
		return files, nil, err
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			classes = append(classes, e.Name())
		}
	}
	numbers, numbered := classNumbers(classes)
	for i, class := range classes {
		inside, err := fs.ReadDir(root.FS(), class)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range inside {
			if _, known := imageTypes[strings.ToLower(path.Ext(e.Name()))]; known && !e.IsDir() {
				files = append(files, labelled{class + "/" + e.Name(), numbers[i]})
			}
		}
		if len(files) > src.limits.Files {
			return nil, nil, fmt.Errorf("more images than the limit of %d", src.limits.Files)
		}
	}
	if numbered {
		classes = nil
	}
	return files, classes, nil
}

// classNumbers numbers the subfolders: by their names where all are numbers,
// so that 10 comes after 9 and a missing class leaves its gap, else in order.
func classNumbers(names []string) (numbers []int, numbered bool) {
	numbers = make([]int, len(names))
	numbered = true
	for i, name := range names {
		n, err := strconv.ParseUint(name, 10, 31)
		numbers[i], numbered = int(n), numbered && err == nil
	}
	if !numbered {
		for i := range numbers {
			numbers[i] = i
		}
	}
	return numbers, numbered
}

// parseLabels reads lines of a name and a class number, below a header or not.
func parseLabels(b []byte, limits Limits) ([]labelled, error) {
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord, r.TrimLeadingSpace = 2, true
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("labels.csv: %w", err)
	}
	if len(rows) > limits.Files {
		return nil, fmt.Errorf("labels.csv lists %d images; the limit is %d", len(rows), limits.Files)
	}
	var files []labelled
	for i, row := range rows {
		class, err := strconv.ParseUint(strings.TrimSpace(row[1]), 10, 31)
		if err != nil {
			if i == 0 {
				continue // a header
			}
			return nil, fmt.Errorf("labels.csv, line %d: label %.40q is not a class number from 0", i+1, row[1])
		}
		files = append(files, labelled{path.Clean(row[0]), int(class)})
	}
	return files, nil
}

// imageBatch gathers pictures of one size.
type imageBatch struct {
	limits        Limits
	total         int // pictures that will come
	first         string
	width, height int
	data          []float32 // red, green, blue of each pixel, in [0,1]
	coloured      bool
	n             int
}

func (s *imageBatch) add(name string, b []byte) error {
	kind, ok := imageTypes[strings.ToLower(path.Ext(name))]
	if !ok {
		return fmt.Errorf("%s is not a .png, .jpg or .gif file", name)
	}
	size, err := kind.config(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if int64(size.Width)*int64(size.Height) > s.limits.Pixels {
		return fmt.Errorf("%s has %dx%d pixels; the limit is %d", name, size.Width, size.Height, s.limits.Pixels)
	}
	if s.n == 0 {
		s.first, s.width, s.height = name, size.Width, size.Height
		if _, err := s.limits.elements(int64(s.total), 3, int64(s.height), int64(s.width)); err != nil {
			return fmt.Errorf("%d images of %dx%d: %w", s.total, s.width, s.height, err)
		}
	}
	if size.Width != s.width || size.Height != s.height {
		return fmt.Errorf("%s has %dx%d pixels but %s has %dx%d; resize them to the model's input",
			name, size.Width, size.Height, s.first, s.width, s.height)
	}
	img, err := kind.decode(bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return s.addPixels(name, img)
}

func (s *imageBatch) addPixels(name string, img image.Image) error {
	box := img.Bounds()
	if box.Dx() != s.width || box.Dy() != s.height {
		return fmt.Errorf("%s: its first frame is %dx%d, the file says %dx%d", name, box.Dx(), box.Dy(), s.width, s.height)
	}
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			r, g, b, a := img.At(x, y).RGBA()
			if a != 0xffff {
				return fmt.Errorf("%s is transparent at (%d,%d); flatten it onto a background", name, x, y)
			}
			s.coloured = s.coloured || r != g || g != b
			// 16 bits: an 8-bit v arrives as v*257, so that v/255 is exact.
			s.data = append(s.data, float32(r)/0xffff, float32(g)/0xffff, float32(b)/0xffff)
		}
	}
	s.n++
	return nil
}

// tensor is the batch, colours first: one where every pixel of every picture
// is grey, else three.
func (s *imageBatch) tensor() (*tensor.Tensor, Layout) {
	pixels := s.n * s.width * s.height
	if !s.coloured {
		grey := make([]float32, pixels)
		for i := range grey {
			grey[i] = s.data[3*i]
		}
		return tensor.Of(slices.Clip(grey), s.n, 1, s.height, s.width), CHW
	}
	rgb := tensor.Of(slices.Clip(s.data), s.n, s.height, s.width, 3)
	return transpose(rgb, CHW), CHW
}
