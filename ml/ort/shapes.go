package ort

import (
	"context"
	"fmt"
	"slices"

	"github.com/redoubt-ml/redoubt/ml/onnx"
)

// Shapes measures the type and shape of every value of the model's graph by
// running it: feeds gives each input's shape, where -1 is the batch. With a
// batch the model runs on two sizes of it, and dimensions that differ between
// them are -1 in the result. Values are measured on zeros, so the shapes of
// operators whose output depends on the data (NonZero) hold for zeros only.
// Values that are not dense tensors are left out.
//
// A measured shape needs no rule per operator, and so no operator lacks one.
func (rt *Runtime) Shapes(ctx context.Context, m *onnx.Model, feeds map[string][]int64) (onnx.Shapes, error) {
	s, err := rt.NewSession(exposeAll(m), Options{Plain: true, NoArena: true})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	shapes := onnx.Shapes{}
	batches := []int64{1}
	for _, dims := range feeds {
		if slices.Contains(dims, -1) {
			batches = []int64{2, 3}
		}
	}
	for _, n := range batches {
		in, err := zeros(m.Graph, feeds, n)
		if err != nil {
			return nil, err
		}
		if err := s.measure(ctx, shapes, in); err != nil {
			return nil, fmt.Errorf("measure shapes at batch %d: %w", n, err)
		}
	}
	for _, t := range m.Graph.Initializers {
		shapes[t.Name] = onnx.Shape{Elem: t.Type, Dims: t.Dims}
	}
	return shapes, nil
}

// exposeAll makes every value an output; ONNX Runtime infers their types.
func exposeAll(m *onnx.Model) *onnx.Model {
	probe, graph := *m, *m.Graph
	probe.Graph, graph.Outputs = &graph, nil
	for _, n := range graph.Nodes {
		for _, o := range n.Outputs {
			if o != "" {
				graph.Outputs = append(graph.Outputs, &onnx.Value{Name: o})
			}
		}
	}
	return &probe
}

func zeros(g *onnx.Graph, feeds map[string][]int64, batch int64) (map[string]*onnx.Tensor, error) {
	in := map[string]*onnx.Tensor{}
	for _, v := range g.Feeds() {
		dims, ok := feeds[v.Name]
		if !ok || v.Type == nil || v.Type.Tensor == nil {
			return nil, fmt.Errorf("measure shapes: no shape given for input %q", v.Name)
		}
		t := &onnx.Tensor{Type: v.Type.Tensor.Elem, Dims: slices.Clone(dims)}
		for i, d := range t.Dims {
			if d < 0 {
				t.Dims[i] = batch
			}
		}
		if t.Type == onnx.String {
			t.Strings = make([][]byte, max(t.Len(), 0))
		} else {
			size, err := bytesOf(t.Type, t.Dims)
			if err != nil {
				return nil, fmt.Errorf("measure shapes: input %q: %w", v.Name, err)
			}
			t.Raw = make([]byte, size)
		}
		in[v.Name] = t
	}
	return in, nil
}

// measure runs once and enters the shapes it sees, -1 where an earlier run saw
// another size.
func (s *Session) measure(ctx context.Context, shapes onnx.Shapes, in map[string]*onnx.Tensor) error {
	out, err := s.call(ctx, in)
	if err != nil {
		return err
	}
	defer out.release()
	for i, name := range s.outputs {
		if sh, err := s.rt.shape(out.values[i], &out.views[i]); err == nil {
			merge(shapes, name, sh)
		}
	}
	for name, t := range in {
		merge(shapes, name, onnx.Shape{Elem: t.Type, Dims: t.Dims})
	}
	return nil
}

func merge(shapes onnx.Shapes, name string, seen onnx.Shape) {
	seen.Dims = slices.Clone(seen.Dims)
	if old, ok := shapes[name]; ok && len(old.Dims) == len(seen.Dims) {
		for i, d := range old.Dims {
			if d != seen.Dims[i] {
				seen.Dims[i] = -1
			}
		}
	}
	shapes[name] = seen
}
