package onnx

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Read reads a model file, loads its external data and checks it with [Check].
// A name that ends in .gz is decompressed on the way.
//
// External data is taken only from regular files in the model's own folder or
// below it: an absolute path, a path with ".." or a symbolic link that leads
// out is refused, since a model must not name files for its reader to open.
func Read(path string, lim Limits) (*Model, error) {
	b, err := readFile(path, lim.FileBytes)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	left := newBudget(lim)
	m, err := decodeModel(b, left)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err := m.loadExternal(filepath.Dir(path), left); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if err := Check(m); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

// readFile reads at most limit bytes, and reserves memory for what is there
// rather than for what a header claims.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, fmt.Errorf("it is a folder; name the model file in it")
	}
	tooLarge := fmt.Errorf("%w: the file holds more than %d bytes; raise FileBytes if it is trusted", ErrLimit, limit)
	if info.Size() > limit {
		return nil, tooLarge
	}
	var r io.Reader = f
	var buf bytes.Buffer
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
	} else {
		buf.Grow(int(info.Size()) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r, limit))
	if err != nil {
		return nil, err
	}
	if n == limit { // is there more?
		if k, _ := io.ReadFull(r, make([]byte, 1)); k > 0 {
			return nil, tooLarge
		}
	}
	return buf.Bytes(), nil
}

// loadExternal fills the tensors whose elements stand in other files.
func (m *Model) loadExternal(dir string, left *budget) error {
	var external []*Tensor
	m.tensors(func(t *Tensor) {
		if t.external != nil {
			external = append(external, t)
		}
	})
	if len(external) == 0 {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	open := make(map[string]*os.File)
	defer func() {
		for _, f := range open {
			f.Close()
		}
	}()
	for _, t := range external {
		if err := t.load(root, open, left); err != nil {
			return fmt.Errorf("tensor %q: external data %q: %w", t.Name, t.external.location, err)
		}
		t.external = nil
	}
	return nil
}

// maxOpen bounds the files held open while external data is loaded: exporters
// use one, or one a tensor.
const maxOpen = 64

func (t *Tensor) load(root *os.Root, open map[string]*os.File, left *budget) error {
	e := t.external
	if err := checkDims(t.Dims); err != nil {
		return err
	}
	want := t.Type.size(t.Len())
	if t.Type.Bits() == 0 {
		return fmt.Errorf("%v elements cannot be external", t.Type)
	}
	if e.length >= 0 && e.length != want {
		return fmt.Errorf("it says %d bytes, and %v%v takes %d", e.length, t.Type, t.Dims, want)
	}
	f := open[e.location]
	if f == nil {
		var err error
		if f, err = openInside(root, e.location); err != nil {
			return err
		}
		if len(open) >= maxOpen {
			for name, old := range open {
				old.Close()
				delete(open, name)
				break
			}
		}
		open[e.location] = f
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if e.offset > info.Size() || want > info.Size()-e.offset {
		return fmt.Errorf("it should hold %d bytes from byte %d, and the file has %d; fetch the file again", want, e.offset, info.Size())
	}
	if err := left.tensor(want); err != nil {
		return err
	}
	t.Raw = make([]byte, want)
	_, err = f.ReadAt(t.Raw, e.offset)
	return err
}

// openInside opens a regular file below the root. It looks before it opens,
// because opening a named pipe would wait for ever.
func openInside(root *os.Root, location string) (*os.File, error) {
	name := filepath.FromSlash(location)
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("it lies outside the model's folder, which is refused; move it beside the model and save the model with a relative location")
	}
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("it is not a regular file")
	}
	return root.Open(name)
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// Write writes a model to a file, compressed if the name ends in .gz. It
// writes beside and renames, so the file is either whole or as it was.
func Write(path string, m *Model) (err error) {
	b, err := m.Encode()
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	mode := os.FileMode(0o644)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if err := writeTo(f, b, strings.HasSuffix(path, ".gz")); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func writeTo(w io.Writer, b []byte, compress bool) error {
	if !compress {
		_, err := w.Write(b)
		return err
	}
	z := gzip.NewWriter(w)
	if _, err := z.Write(b); err != nil {
		return err
	}
	return z.Close()
}
