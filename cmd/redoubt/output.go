package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/report"
)

// reservation is a file to be written: a temporary one beside its destination,
// made before the work begins, so that a run of ten minutes does not end in
// "permission denied", and renamed when it is whole.
type reservation struct {
	path   string
	file   *os.File
	render renderer
}

// renderer writes an assessment in some format.
type renderer = func(io.Writer, *redoubt.Assessment) error

type reservations []reservation

func reserve(path string, render renderer) (reservation, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return reservation{}, fmt.Errorf("write %s: it exists and is not a file", path)
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return reservation{}, fmt.Errorf("write %s: %w", path, errors.Unwrap(err))
	}
	return reservation{path, file, render}, nil
}

// reserve makes room for every report that was asked for.
func (f *assessFlags) reserve() (reservations, error) {
	var out reservations
	type file struct {
		path   string
		render renderer
	}
	files := []file{{f.samples, sampleLines}, {f.points, examples}}
	for _, format := range report.Formats {
		files = append(files, file{*f.files[format.Name], format.Render})
	}
	renderers := map[string]renderer{}
	for _, f := range files {
		if f.path != "" && renderers[f.path] != nil {
			return nil, fmt.Errorf("write %s: two reports cannot go to one file", f.path)
		}
		renderers[f.path] = f.render
	}
	for _, path := range slices.Sorted(maps.Keys(renderers)) {
		if path == "" {
			continue
		}
		r, err := reserve(path, renderers[path])
		if err != nil {
			return nil, errors.Join(err, out.discard())
		}
		out = append(out, r)
	}
	return out, nil
}

// sampleLines writes a line of JSON a sample.
func sampleLines(w io.Writer, a *redoubt.Assessment) error {
	e := json.NewEncoder(w)
	for _, s := range a.Samples {
		if err := e.Encode(s); err != nil {
			return err
		}
	}
	return nil
}

// examples writes the inputs that fooled the model as an NPZ file that --data and
// numpy.load take.
func examples(w io.Writer, a *redoubt.Assessment) error {
	n := int64(len(a.Points))
	dims := []int64{n}
	for _, d := range a.Model.Input {
		dims = append(dims, int64(d))
	}
	var x []float32
	var label, class, index []int64
	var eps []float32
	norm, attack := &onnx.Tensor{Type: onnx.String, Dims: []int64{n}}, &onnx.Tensor{Type: onnx.String, Dims: []int64{n}}
	for _, p := range a.Points {
		x = append(x, p.Changed...)
		label, class, index = append(label, int64(p.Label)), append(class, int64(p.After)), append(index, int64(p.Index))
		eps = append(eps, float32(p.Eps))
		norm.Strings, attack.Strings = append(norm.Strings, []byte(p.Norm)), append(attack.Strings, []byte(p.Attack))
	}
	return data.EncodeNPZ(w, map[string]*onnx.Tensor{
		"x": onnx.FloatTensor("x", x, dims...), "y": onnx.IntTensor("y", label, n), "class": onnx.IntTensor("class", class, n),
		"index": onnx.IntTensor("index", index, n), "eps": onnx.FloatTensor("eps", eps, n), "norm": norm, "attack": attack,
	})
}

// write renders every file, and puts them in place when all are whole.
func (r reservations) write(a *redoubt.Assessment) error {
	for _, f := range r {
		if err := f.fill(a); err != nil {
			var cause *fs.PathError
			if errors.As(err, &cause) {
				err = cause.Err // the path is that of the temporary file
			}
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	for _, f := range r {
		if err := os.Rename(f.file.Name(), f.path); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return nil
}

// fill writes and closes the temporary file.
func (f reservation) fill(a *redoubt.Assessment) error {
	b := bufio.NewWriter(f.file)
	if err := f.render(b, a); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return errors.Join(f.file.Chmod(0o644), f.file.Close())
}

// discard removes what was not put in place. After a successful write it does
// nothing.
func (r reservations) discard() error {
	var failed error
	for _, f := range r {
		if err := f.file.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			failed = errors.Join(failed, err)
		}
		if err := os.Remove(f.file.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// machine names the kind of computer that measured.
func machine() string {
	name := fmt.Sprintf("%s/%s, %d processors", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				return name + ", " + strings.TrimSpace(v)
			}
		}
	}
	return name
}

// commandLine is the command that repeats this run, quoted for a shell.
func commandLine(args []string) string {
	quoted := []string{"redoubt"}
	for _, a := range args[1:] {
		if a == "" || strings.ContainsAny(a, " \t\n\"'\\$`*?[]{}()<>|&;#~!") {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		quoted = append(quoted, a)
	}
	return strings.Join(quoted, " ")
}
