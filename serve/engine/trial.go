package engine

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// trial runs a model on made-up inputs when it is loaded, to learn what the
// file does not say.
type trial struct {
	ctx     context.Context
	rt      *ort.Runtime
	model   *onnx.Model
	session *ort.Session
	inputs  []port
	options ort.Options
}

// open are the sizes tried for dimensions that the file leaves open beside the
// batch: a few words or steps, then images.
var open = []int64{3, 8, 32, 224}

// outputs describes the model's outputs: as declared, or, where the file says
// nothing, as they come out of a run.
func (t *trial) outputs() ([]oip.TensorMetadata, error) {
	var out []oip.TensorMetadata
	var seen []oip.Tensor
	for i, v := range t.model.Graph.Outputs {
		p, err := portOf(v)
		if err == nil {
			out = append(out, p.TensorMetadata)
			continue
		}
		if seen == nil {
			var refused error
			if seen, refused = t.any(); refused != nil {
				return nil, fmt.Errorf("output %w, and a trial did not tell: %w", err, refused)
			}
		}
		shape := make([]int64, len(seen[i].Shape))
		for k := range shape {
			shape[k] = -1
		}
		out = append(out, oip.TensorMetadata{Name: v.Name, Datatype: seen[i].Datatype, Shape: shape})
	}
	return out, nil
}

// any runs the model once on whatever sizes it takes.
func (t *trial) any() ([]oip.Tensor, error) {
	var refused error
	for _, size := range open {
		out, err := runSession(t.ctx, t.session, t.made(1, size, 1))
		if err == nil {
			return out, nil
		}
		refused = err
	}
	return nil, refused
}

// batch reports whether rows may be joined, and returns the session to run: the
// model's own, or one whose batch was freed, in its place.
func (t *trial) batch() (*ort.Session, bool) {
	free, one := true, true
	for _, p := range t.inputs {
		free = free && len(p.Shape) > 0 && p.Shape[0] == -1
		one = one && len(p.Shape) > 0 && p.Shape[0] == 1
	}
	switch {
	case free:
		return t.session, t.independent(t.session)
	case one:
		if s := t.freed(); s != nil {
			if t.independent(s) {
				t.session.Close()
				return s, true
			}
			s.Close()
		}
	}
	return t.session, false
}

// freed prepares the model for any number of rows, or returns nil.
func (t *trial) freed() *ort.Session {
	m := t.model.Clone()
	if onnx.Upgrade(m, onnx.MaxUpgrade) != nil || onnx.Simplify(m) != nil || onnx.FreeBatch(m) != 1 {
		return nil
	}
	s, err := t.rt.NewSession(m, t.options)
	if err != nil {
		return nil
	}
	return s
}

// independent runs three rows together in s and apart in the model's own
// session, on two sets of inputs, and reports whether the answers agree.
func (t *trial) independent(s *ort.Session) bool {
	for _, size := range open {
		agreed, ran := t.agrees(s, size, 1)
		if ran {
			again, _ := t.agrees(s, size, 2)
			return agreed && again
		}
	}
	return false
}

// agrees compares at one size of the open dimensions. ran is false where the
// model does not take that size even for a single row.
func (t *trial) agrees(s *ort.Session, size int64, seed uint64) (same, ran bool) {
	const rows = 3
	inputs := t.made(rows, size, seed)
	var alone [rows][]oip.Tensor
	for i := range alone {
		var err error
		if alone[i], err = runSession(t.ctx, t.session, row(inputs, int64(i), rows)); err != nil {
			return false, false
		}
	}
	together, err := runSession(t.ctx, s, inputs)
	if err != nil {
		return false, true
	}
	batch := []*job{{rows: 1}, {rows: 1}, {rows: 1}}
	parts, err := split(batch, together, rows)
	if err != nil {
		return false, true
	}
	for i := range alone {
		for k := range alone[i] {
			if !near(&alone[i][k], &parts[i][k]) {
				return false, true
			}
		}
	}
	return true, true
}

// row is one row of each input.
func row(inputs []*onnx.Tensor, i, rows int64) []*onnx.Tensor {
	out := make([]*onnx.Tensor, len(inputs))
	for k, t := range inputs {
		r := &onnx.Tensor{Name: t.Name, Type: t.Type, Dims: slices.Clone(t.Dims)}
		r.Dims[0] = 1
		size, words := int64(len(t.Raw))/rows, int64(len(t.Strings))/rows
		r.Raw = t.Raw[i*size : (i+1)*size]
		r.Strings = t.Strings[i*words : (i+1)*words]
		out[k] = r
	}
	return out
}

// made makes inputs up: the first dimension is the batch where it is open or
// one, other open dimensions have the given size.
func (t *trial) made(rows, size int64, seed uint64) []*onnx.Tensor {
	rng := rand.New(rand.NewPCG(seed, 0))
	var out []*onnx.Tensor
	for _, p := range t.inputs {
		m := &onnx.Tensor{Name: p.Name, Type: elements[p.Datatype], Dims: slices.Clone(p.Shape)}
		for i, d := range m.Dims {
			switch {
			case i == 0 && (d == -1 || d == 1):
				m.Dims[i] = rows
			case d == -1:
				m.Dims[i] = size
			}
		}
		n := m.Len()
		if n < 0 || n > 1<<24 {
			n = 0 // no run takes it, and the trial ends there
		}
		for range n {
			if p.Datatype == oip.BYTES {
				m.Strings = append(m.Strings, []byte{'a' + byte(rng.IntN(26))})
				continue
			}
			m.Raw = appendMade(m.Raw, p.Datatype, rng)
		}
		out = append(out, m)
	}
	return out
}

// appendMade appends a number in [0, 1), or one of the integers 0 and 1, which
// are words of any vocabulary.
func appendMade(b []byte, d oip.Datatype, rng *rand.Rand) []byte {
	switch d {
	case oip.FP32:
		return binary.LittleEndian.AppendUint32(b, math.Float32bits(rng.Float32()))
	case oip.FP64:
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(rng.Float64()))
	case oip.FP16: // in [0.5, 1)
		return binary.LittleEndian.AppendUint16(b, 0x3800|uint16(rng.IntN(1<<10)))
	case oip.BF16: // the same
		return binary.LittleEndian.AppendUint16(b, 0x3f00|uint16(rng.IntN(1<<7)))
	}
	b = append(b, byte(rng.IntN(2)))
	return append(b, make([]byte, d.Size()-1)...)
}

// near compares an output of a row alone with the same in a batch. Kernels for
// one row round otherwise than those for three, so floats may differ a little;
// all else must be equal.
func near(a, b *oip.Tensor) bool {
	if a.Datatype != b.Datatype || !slices.Equal(a.Shape, b.Shape) {
		return false
	}
	size := a.Datatype.Size()
	var number func(raw []byte) float64
	switch a.Datatype {
	case oip.FP32:
		number = func(raw []byte) float64 { return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))) }
	case oip.FP64:
		number = func(raw []byte) float64 { return math.Float64frombits(binary.LittleEndian.Uint64(raw)) }
	default:
		return slices.Equal(a.Raw, b.Raw) && slices.EqualFunc(a.Strings, b.Strings, slices.Equal[[]byte])
	}
	for i := 0; i < len(a.Raw); i += size {
		x, y := number(a.Raw[i:]), number(b.Raw[i:])
		if d := math.Abs(x - y); x != y && !(math.IsNaN(x) && math.IsNaN(y)) && !(d <= 1e-3*(1+math.Abs(x))) {
			return false
		}
	}
	return true
}
