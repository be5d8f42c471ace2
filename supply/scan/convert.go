package scan

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Converted says what [Convert] wrote.
type Converted struct {
	Tensors int
	Bytes   int64 // of elements
	// LeftOut names what is in the checkpoint and is no tensor: the number of
	// an epoch, text, objects of classes that are not known.
	LeftOut []string
}

// Convert writes the tensors of a checkpoint into a safetensors file, without
// executing the checkpoint. It reads PyTorch archives and the files of before
// PyTorch 1.6, pickles of NumPy arrays, NPY and NPZ.
//
// Names of nested dictionaries and lists are joined with points, so that the
// weights of {"state_dict": {"w": ...}} are called "state_dict.w"; the tables in
// which torch.nn.Module keeps its parameters are left out of them. Views are written as
// what they show: strides are resolved, and tensors that share a storage each get
// their own copy. Elements keep their type; those most significant byte first
// are turned around.
//
// It refuses a checkpoint with a tensor that it cannot give exactly (quantised,
// sparse, of a type that safetensors does not have), or that is not sound. The
// output appears whole or not at all, and must not exist as anything but a file.
func Convert(ctx context.Context, in, out string, cfg Config) (*Converted, error) {
	s := newScanner(ctx, cfg)
	f, err := os.Open(in)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", in, errors.Unwrap(err))
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", in, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("convert %s: not a regular file", in)
	}
	c := &checkpoint{s: s, src: &source{path: in, r: f, size: info.Size()}, names: map[string]bool{}}
	defer c.close()
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("convert %s: %w", in, err)
	}
	if len(c.tensors) == 0 {
		return nil, fmt.Errorf("convert %s: there is no tensor in it; 'redoubt scan' says what it is", in)
	}
	if err := c.write(out); err != nil {
		return nil, fmt.Errorf("convert %s to %s: %w", in, out, err)
	}
	done := &Converted{Tensors: len(c.tensors), LeftOut: c.leftOut}
	for _, t := range c.tensors {
		done.Bytes += t.bytes()
	}
	return done, nil
}

// view is a tensor: where its elements are, by strides counted in elements.
type view struct {
	name    string
	dtype   string // as safetensors calls it
	size    int64  // bytes of an element
	shape   []int64
	strides []int64
	offset  int64 // of the first element
	data    *io.SectionReader
	big     bool // most significant byte first
}

func (v *view) count() int64 {
	n := int64(1)
	for _, d := range v.shape {
		n *= d
	}
	return n
}

func (v *view) bytes() int64 { return v.count() * v.size }

// check sees that every element lies within the storage, and that the sizes do
// not overflow.
func (v *view) check() error {
	if len(v.shape) != len(v.strides) || v.offset < 0 || len(v.shape) > 64 {
		return errors.New("shape and strides do not agree")
	}
	have := v.data.Size() / v.size
	n, last := int64(1), v.offset
	for i, d := range v.shape {
		if d < 0 || v.strides[i] < 0 {
			return errors.New("a negative size or stride")
		}
		if d > 0 && n > math.MaxInt64/d/v.size {
			return errors.New("its size overflows")
		}
		n *= d
	}
	if n == 0 {
		return nil
	}
	for i, d := range v.shape {
		if d > 1 && v.strides[i] > 0 && d-1 > have/v.strides[i] || last > have {
			return errors.New("it reaches beyond its storage")
		}
		last += (d - 1) * v.strides[i]
	}
	if last >= have {
		return errors.New("it reaches beyond its storage")
	}
	return nil
}

// contiguous says whether the elements stand in the storage as they are to be
// written.
func (v *view) contiguous() bool {
	want := int64(1)
	for i := len(v.shape) - 1; i >= 0; i-- {
		if v.shape[i] != 1 && v.strides[i] != want {
			return false
		}
		want *= v.shape[i]
	}
	return !v.big || v.size == 1
}

// rowMajor are the strides of a contiguous tensor, or of one that is stored
// column by column.
func rowMajor(shape []int64, fortran bool) []int64 {
	out, n := make([]int64, len(shape)), int64(1)
	for k := range shape {
		i := len(shape) - 1 - k
		if fortran {
			i = k
		}
		out[i] = n
		if n *= shape[i]; n < 0 {
			n = 0
		}
	}
	return out
}

// write gives the header, then the elements of each tensor in the order of the
// header: the widest types first, so that all are aligned, then by name.
func (c *checkpoint) write(out string) error {
	slices.SortFunc(c.tensors, func(a, b *view) int {
		if a.size != b.size {
			return int(b.size - a.size)
		}
		return strings.Compare(a.name, b.name)
	})
	total := int64(0)
	var header strings.Builder
	header.WriteString(`{"__metadata__":{"format":"pt"}`)
	for _, t := range c.tensors {
		name, err := json.Marshal(t.name)
		if err != nil {
			return err
		}
		shape, err := json.Marshal(append([]int64{}, t.shape...))
		if err != nil {
			return err
		}
		fmt.Fprintf(&header, `,%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.dtype, shape, total, total+t.bytes())
		total += t.bytes()
	}
	header.WriteString("}")
	for header.Len()%8 != 0 {
		header.WriteByte(' ')
	}
	if header.Len() > maxHeader {
		return fmt.Errorf("a header of %d bytes: %w of %d", header.Len(), errLimit, maxHeader)
	}
	return beside(out, func(w io.Writer) error {
		var n [8]byte
		binary.LittleEndian.PutUint64(n[:], uint64(header.Len()))
		if _, err := io.WriteString(w, string(n[:])+header.String()); err != nil {
			return err
		}
		for _, t := range c.tensors {
			if err := c.s.alive(); err != nil {
				return err
			}
			if err := t.copy(c.s, w); err != nil {
				return fmt.Errorf("tensor %q: %w", t.name, err)
			}
		}
		return nil
	})
}

// beside writes a file under another name in the same folder, and renames it
// when it is whole.
func beside(path string, write func(io.Writer) error) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return errors.New("it exists and is not a file")
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return errors.Unwrap(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	b := bufio.NewWriterSize(f, 1<<20)
	if err = write(b); err == nil {
		err = b.Flush()
	}
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// copy writes the elements in the order of rows.
func (v *view) copy(s *scanner, w io.Writer) error {
	if v.count() == 0 {
		return nil
	}
	if v.contiguous() {
		n, err := io.Copy(w, io.NewSectionReader(v.data, v.offset*v.size, v.bytes()))
		if err == nil && n != v.bytes() {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	from, err := v.random()
	if err != nil {
		return err
	}
	element := make([]byte, v.size)
	index := make([]int64, len(v.shape))
	at := v.offset
	for n := int64(0); ; n++ {
		if n&0xffff == 0 {
			if err := s.alive(); err != nil {
				return err
			}
		}
		if _, err := from.ReadAt(element, at*v.size); err != nil {
			return noEOF(err)
		}
		if v.big {
			v.turn(element)
		}
		if _, err := w.Write(element); err != nil {
			return err
		}
		i := len(index) - 1
		for ; i >= 0; i-- {
			index[i]++
			if at += v.strides[i]; index[i] < v.shape[i] {
				break
			}
			at -= v.strides[i] * v.shape[i]
			index[i] = 0
		}
		if i < 0 {
			return nil
		}
	}
}

// turn turns an element around; a complex one is two numbers.
func (v *view) turn(b []byte) {
	if v.dtype == "C64" {
		slices.Reverse(b[:4])
		slices.Reverse(b[4:])
		return
	}
	slices.Reverse(b)
}

// random reads single elements: from memory, unless the storage is too large
// for that.
func (v *view) random() (io.ReaderAt, error) {
	const inMemory = 512 << 20
	if v.data.Size() > inMemory {
		return v.data, nil
	}
	b := make([]byte, v.data.Size())
	if _, err := v.data.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return bytes.NewReader(b), nil
}
