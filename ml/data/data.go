// Package data reads labelled data sets into float32 batches.
//
// [Open] takes what a person types after --data and finds the reader by the
// name:
//
//	set, err := data.Open("t10k-images-idx3-ubyte.gz,t10k-labels-idx1-ubyte.gz", data.Options{})
//	set, err := data.Open("adult.csv,adult.schema.yaml", data.Options{})
//	set, err := data.Open("photographs/", data.Options{})
//	err = set.For([]int64{-1, 1, 28, 28}, data.CHW)
//
// NPZ and NPY arrays, IDX pairs, CIFAR-10 batches, CSV, TSV and Parquet
// tables, and folders of images are understood; all but Parquet and images may
// be gzipped. Byte pixels are scaled to [0,1]. Normalisation with a mean and a
// standard deviation is not done to pixels here: it is part of the model that
// is attacked, so that a radius keeps its meaning. A table's [Schema] may
// state a scale per column, because there the columns have no common unit.
//
// Files are untrusted. Whatever is read stays within [Limits], which are
// checked before memory is set aside, and every value is finite and every
// label a class number when Open returns: what is refused is named by row and
// column. The same bytes give the same set, and the [Set.Digest] says which.
//
// The package also holds the NPZ codec for tensors of any type, [ReadNPZ] and
// [WriteNPZ].
package data

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// Set is a labelled data set. Readers leave len(Y) equal to X.Rows(), and
// nothing in X is NaN or infinite.
type Set struct {
	// X holds one sample a row: [N, sample shape...].
	X *tensor.Tensor
	// Y is the class of each sample, from 0.
	Y []int
	// Rows is each sample's position in the file, from 0; nil when the set is
	// the whole file in order.
	Rows []int
	// Classes names the labels when the data does, else nil.
	Classes []string
	// Features names the elements of a sample of a table, else nil.
	Features []string
	// Columns says what a change to each element of a sample means, when a
	// schema was given, else nil. It is parallel to Features.
	Columns []Column
	rules   []rule // that link the columns
	// Layout says which dimension of a sample holds the colours.
	Layout Layout
	// Bounds is the range that every element of X lies in by its nature, such
	// as [0,1] for pixels. It is meaningful when Bounded is set.
	Bounds  [2]float32
	Bounded bool
	// Digest is the SHA-256 of the file as stored. For several files it is
	// that of their listing in the form of sha256sum, in the order of the spec
	// or, for a folder, of the names.
	Digest redoubt.Digest
	// Path is the spec that was opened.
	Path string
}

// Options says how to read what a name alone does not tell. The zero value
// reads every self-describing format.
type Options struct {
	// Limits bounds what is read; the zero value means the defaults.
	Limits Limits
	// Schema is the path of a table's schema file. It may also be given as the
	// second part of the spec.
	Schema string
	// Label names the label column of a table without a schema. Empty means
	// the last.
	Label string
}

// fileKind is one kind of data set: a name for messages, the test of a spec, and
// the reader.
type fileKind struct {
	name  string
	match func(paths []string, stem string) bool
	open  func(src *source, paths []string, opt Options) (*Set, error)
}

// formats is every kind that Open knows, asked in this order. Not here: ARFF,
// TFRecord, HDF5 and pickled batches. The first three have no users we met and
// the last cannot be read without running code.
var formats = [...]fileKind{
	{"NPZ", one(".npz"), openNPZ},
	{"NPY pair", two(".npy"), openNPY},
	{"IDX pair", isIDX, openIDX},
	{"CIFAR-10 binary", one(".bin"), openCIFAR},
	{"Parquet", table(".parquet"), openParquet},
	{"CSV", table(".csv"), openCSV},
	{"TSV", table(".tsv"), openCSV},
	{"folder of images", isFolder, openImages},
}

// Open reads the data set that spec names: one path, or two joined by a comma
// (images and labels, x and y, or table and schema). A path that itself
// contains a comma is understood when it exists.
func Open(spec string, opt Options) (*Set, error) {
	paths := []string{spec}
	if _, err := os.Stat(spec); err != nil {
		paths = strings.Split(spec, ",")
	}
	for _, p := range paths {
		if _, err := os.Stat(p); err != nil {
			return nil, fmt.Errorf("open data: %w", err)
		}
	}
	opt.Limits = opt.Limits.orDefaults()
	for _, f := range formats {
		if !f.match(paths, stem(paths[0])) {
			continue
		}
		src := &source{limits: opt.Limits}
		set, err := f.open(src, paths, opt)
		if err != nil {
			return nil, fmt.Errorf("read %s as %s: %w", spec, f.name, err)
		}
		set.Path, set.Digest = spec, src.digest()
		if err := set.check(); err != nil {
			return nil, fmt.Errorf("read %s as %s: %w", spec, f.name, err)
		}
		return set, nil
	}
	return nil, fmt.Errorf("read %s: no reader for this name; want file.npz, x.npy,y.npy, images.idx,labels.idx, "+
		"a CIFAR-10 batch.bin, table.csv, .tsv or .parquet with a schema, or a folder of images", spec)
}

// stem is a path in lower case without its .gz.
func stem(path string) string { return strings.TrimSuffix(strings.ToLower(path), ".gz") }

func one(ext string) func([]string, string) bool {
	return func(paths []string, stem string) bool { return len(paths) == 1 && strings.HasSuffix(stem, ext) }
}

func two(ext string) func([]string, string) bool {
	return func(paths []string, stem string) bool { return len(paths) == 2 && strings.HasSuffix(stem, ext) }
}

func table(ext string) func([]string, string) bool {
	return func(paths []string, stem string) bool { return len(paths) <= 2 && strings.HasSuffix(stem, ext) }
}

// check refuses what no attack could use: an empty set, labels that do not
// belong to the samples, and values that are not numbers.
func (s *Set) check() error {
	if len(s.X.Shape) < 2 {
		return fmt.Errorf("x has shape %v; want [samples, ...]", s.X.Shape)
	}
	n := s.X.Rows()
	if n == 0 || s.X.RowLen() == 0 {
		return errors.New("the set holds no samples")
	}
	if len(s.Y) != n {
		return fmt.Errorf("%d samples but %d labels; they must agree", n, len(s.Y))
	}
	for i, y := range s.Y {
		if y < 0 {
			return fmt.Errorf("sample %d has label %d; classes count from 0", i, y)
		}
		if s.Classes != nil && y >= len(s.Classes) {
			return fmt.Errorf("sample %d has label %d, but there are %d classes", i, y, len(s.Classes))
		}
	}
	for i, v := range s.X.Data {
		if !finite(float64(v)) {
			return fmt.Errorf("sample %d holds %v at %s; remove the sample or fill in a value",
				i/s.X.RowLen(), v, s.element(i%s.X.RowLen()))
		}
	}
	return nil
}

// Check reports whether every label is one of a model's classes.
func (s *Set) Check(classes int) error {
	for i, y := range s.Y {
		if y < 0 || y >= classes {
			return fmt.Errorf("sample %d of %s has label %d, but the model knows %d classes (0 to %d)",
				i, s.Path, y, classes, classes-1)
		}
	}
	return nil
}

// Whole takes pixels back from [0,1] to the bytes that they were, for a model that
// takes whole numbers. Other data stay as they are.
func (s *Set) Whole() {
	if !s.Bounded || s.Bounds != [2]float32{0, 1} {
		return
	}
	for i, v := range s.X.Data {
		s.X.Data[i] = float32(math.Round(255 * float64(v)))
	}
	s.Bounds = [2]float32{0, 255}
}

// Box returns the smallest and largest value that each element of a sample may
// take. It is false when the data does not say.
func (s *Set) Box() (lo, hi []float32, known bool) {
	if !s.Bounded && s.Columns == nil {
		return nil, nil, false
	}
	lo, hi = make([]float32, s.X.RowLen()), make([]float32, s.X.RowLen())
	for i := range lo {
		lo[i], hi[i] = s.Bounds[0], s.Bounds[1]
		if s.Columns != nil {
			lo[i], hi[i] = s.Columns[i].Min, s.Columns[i].Max
		}
	}
	return lo, hi, true
}

// element names one element of a sample for a person.
func (s *Set) element(i int) string {
	if i < len(s.Features) {
		return fmt.Sprintf("column %q", s.Features[i])
	}
	index := make([]int, len(s.X.Shape)-1)
	for d := len(index) - 1; d >= 0; d-- {
		size := s.X.Shape[d+1]
		index[d], i = i%size, i/size
	}
	return fmt.Sprintf("element %v", index)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
