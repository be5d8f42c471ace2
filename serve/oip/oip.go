// Package oip speaks the Open Inference Protocol, version 2: the requests and
// answers of KServe, Triton, MLServer and their clients, as typed tensors.
//
// A server reads a request, which is checked whole before it is returned, and
// writes the answer in the form that the request asked for:
//
//	q, err := oip.ReadRequest(r, metadata, oip.Limits{}) // r is an *http.Request
//	if err != nil {
//		oip.WriteError(w, err, id)
//		return
//	}
//	a, err := engine.Infer(ctx, q)
//	...
//	err = oip.WriteResponse(w, r, q, a)
//
// There are three forms on the wire, and one in memory: [Tensor] holds the
// elements packed and little-endian whether they came as JSON, in the binary
// tensor extension or over gRPC (package oippb and the functions whose names
// end in GRPC). Nothing of the bytes that a client sent is passed on except the
// elements: what goes to a model is encoded afresh.
//
// # JSON
//
// The decoder is strict where two parsers could disagree: names are told apart
// by case, a name that stands twice in an object is refused, and so is one that
// differs from a known name in case only, invalid UTF-8, lone surrogates, text
// after the end, and numbers that the declared type does not hold (no integer
// is rounded, no float becomes infinite). Members that the protocol does not
// know are ignored, because it lets servers and clients add their own; they
// reach nobody.
//
// # Memory
//
// Reading a body of n bytes takes at most 12 n bytes and 64 KiB besides,
// whatever it says of itself: shapes are held against the bytes that are there
// before memory is set aside for them.
package oip

import (
	"math"
	"strings"
	"unicode/utf8"
)

// Tensor is a named dense array in row-major order.
type Tensor struct {
	Name     string
	Datatype Datatype
	// Shape holds one size a dimension; none makes a scalar.
	Shape []int64
	// Raw holds the elements of every type but BYTES, little-endian and packed;
	// BOOL takes a byte, 0 or 1. Strings holds those of BYTES.
	Raw     []byte
	Strings [][]byte
	// Parameters are what was said about the tensor beside the protocol's own
	// framing, which is not kept.
	Parameters Parameters
}

// Parameters are named values of type bool, int64, uint64, float64 or string.
type Parameters map[string]any

// Output is a request for one output by name.
type Output struct {
	Name string
	// Binary asks for the elements in binary form; over REST, JSON otherwise.
	Binary     bool
	Parameters Parameters
}

// Request is a call of a model.
type Request struct {
	// Model and Version name what is called. Over REST they stand in the path,
	// which whoever routes it enters here.
	Model, Version string
	// ID is the client's name for the request, echoed in the answer; it may be
	// empty, and nothing makes it unique.
	ID     string
	Inputs []Tensor
	// Outputs are those asked for; none asks for all.
	Outputs    []Output
	Parameters Parameters
	// BinaryOutput asks for all outputs in binary form where Outputs is empty.
	BinaryOutput bool
}

// Response is a model's answer.
type Response struct {
	ModelName    string
	ModelVersion string // "" if the server has no versions
	ID           string
	Outputs      []Tensor
	Parameters   Parameters
}

// Len is the number of elements that the shape asks for. It is -1 if a
// dimension is negative or the product exceeds an int64.
func (t *Tensor) Len() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		if d < 0 || d > 0 && n > math.MaxInt64/d {
			return -1
		}
		n *= d
	}
	return n
}

// Size is the number of bytes that the elements take in binary form.
func (t *Tensor) Size() int64 {
	n := int64(len(t.Raw))
	for _, s := range t.Strings {
		n += 4 + int64(len(s))
	}
	return n
}

// Input is the input of a name, or nil.
func (q *Request) Input(name string) *Tensor { return find(q.Inputs, name) }

// Output is the output of a name, or nil.
func (a *Response) Output(name string) *Tensor { return find(a.Outputs, name) }

func find(tensors []Tensor, name string) *Tensor {
	for i := range tensors {
		if tensors[i].Name == name {
			return &tensors[i]
		}
	}
	return nil
}

// Wants reports whether an output was asked for, and whether in binary form.
func (q *Request) Wants(output string) (wanted, binary bool) {
	if len(q.Outputs) == 0 {
		return true, q.BinaryOutput
	}
	for _, o := range q.Outputs {
		if o.Name == output {
			return true, o.Binary
		}
	}
	return false, false
}

// Most names a request may hold, far beyond what models have: bounds on what a
// request costs beside its elements.
const (
	maxTensors    = 1024
	maxRank       = 64
	maxParameters = 64
	maxName       = 1024 // bytes
)

// Check reports whether the tensor is what it says: a known type, a shape whose
// size fits memory, exactly as many elements, and BOOL elements of 0 or 1. The
// error is an [Error] with [BadInput].
func (t *Tensor) Check() error {
	n, err := t.count()
	if err != nil {
		return err
	}
	if t.Datatype == BYTES {
		if len(t.Raw) != 0 || int64(len(t.Strings)) != n {
			return t.wrongCount(int64(len(t.Strings)), n)
		}
		return nil
	}
	size := int64(t.Datatype.Size())
	if len(t.Strings) != 0 || int64(len(t.Raw)) != n*size {
		return Errorf(BadInput, "tensor %s: shape %v of %s takes %d bytes, %d given", excerpt(t.Name), t.Shape, t.Datatype, n*size, len(t.Raw))
	}
	if t.Datatype == BOOL {
		for _, b := range t.Raw {
			if b > 1 {
				return Errorf(BadInput, "tensor %s: a BOOL is 0 or 1, not %d", excerpt(t.Name), b)
			}
		}
	}
	return nil
}

// count is the number of elements of a tensor whose name, type and shape make
// sense, and whose size in bytes is an int64 too.
func (t *Tensor) count() (int64, error) {
	if err := checkName("tensor", t.Name); err != nil {
		return 0, err
	}
	if !t.Datatype.Known() {
		return 0, Errorf(BadInput, "tensor %s: datatype %s is not known", excerpt(t.Name), excerpt(string(t.Datatype)))
	}
	if len(t.Shape) > maxRank {
		return 0, Errorf(BadInput, "tensor %s: it has %d dimensions, at most %d are taken", excerpt(t.Name), len(t.Shape), maxRank)
	}
	n := t.Len()
	if n < 0 || n > math.MaxInt64/8 {
		return 0, Errorf(BadInput, "tensor %s: no tensor has the shape %v", excerpt(t.Name), t.Shape)
	}
	return n, nil
}

func (t *Tensor) wrongCount(got, want int64) error {
	return Errorf(BadInput, "tensor %s: shape %v takes %d elements, %d given", excerpt(t.Name), t.Shape, want, got)
}

// Check reports whether the request is whole: at least one input, every tensor
// as [Tensor.Check] wants it, no name twice. The error is an [Error].
func (q *Request) Check() error {
	if len(q.Inputs) == 0 {
		return Errorf(BadInput, "the request has no inputs")
	}
	if err := checkTensors(q.Inputs, "input"); err != nil {
		return err
	}
	if len(q.Outputs) > maxTensors {
		return Errorf(BadInput, "%d outputs asked for, at most %d are taken", len(q.Outputs), maxTensors)
	}
	seen := make(map[string]bool, len(q.Outputs))
	for _, o := range q.Outputs {
		if err := checkName("output", o.Name); err != nil {
			return err
		}
		if seen[o.Name] {
			return Errorf(BadInput, "output %s is asked for twice", excerpt(o.Name))
		}
		seen[o.Name] = true
	}
	return nil
}

// Check reports whether the answer is whole: every tensor as [Tensor.Check]
// wants it, no name twice.
func (a *Response) Check() error { return checkTensors(a.Outputs, "output") }

func checkTensors(tensors []Tensor, what string) error {
	if len(tensors) > maxTensors {
		return Errorf(BadInput, "%d %ss given, at most %d are taken", len(tensors), what, maxTensors)
	}
	seen := make(map[string]bool, len(tensors))
	for i := range tensors {
		t := &tensors[i]
		if err := t.Check(); err != nil {
			return err
		}
		if seen[t.Name] {
			return Errorf(BadInput, "%s %s is given twice", what, excerpt(t.Name))
		}
		seen[t.Name] = true
	}
	return nil
}

func checkName(what, name string) error {
	switch {
	case name == "":
		return Errorf(BadInput, "an %s without a name", strings.Replace(what, "tensor", "input or output", 1))
	case len(name) > maxName || !utf8.ValidString(name):
		return Errorf(BadInput, "%s %s: a name is text of at most %d bytes", what, excerpt(name), maxName)
	}
	return nil
}
