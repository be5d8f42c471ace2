package model

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// labelProbes is how many random samples a file's labels are compared on.
const labelProbes = 64

// contradiction compares the class of the highest score with the label that the
// file itself gives, where it gives one, on random samples. Some converters
// write scores in another order than labels (two-class support vector machines
// without probabilities); what is measured on such scores means nothing. Files
// whose labels are not class numbers from 0, or of which too few are seen, are
// given the benefit of the doubt.
func (s *shared) contradiction(ctx context.Context) error {
	name := labelOutput(s.file.Graph)
	if name == "" || !s.batch || s.cfg.Raw || s.prep.whole != nil || s.cfg.Mean != nil || s.cfg.Std != nil {
		return nil
	}
	x := tensor.New(append([]int{labelProbes}, s.Sample()...)...)
	rng := rand.New(rand.NewPCG(3, 3))
	for j := range x.Data {
		x.Data[j] = float32(rng.NormFloat64())
	}
	labels, err := s.labels(ctx, name, x)
	if err != nil {
		return nil // the file runs on other terms than ours; scores do run
	}
	l := &Local{shared: s}
	defer l.free()
	z, err := l.Scores(ctx, x)
	if err != nil {
		return err
	}
	differ, seen := 0, map[int64]bool{}
	for i, y := range labels {
		if y < 0 || y >= int64(s.classes) {
			return nil
		}
		seen[y] = true
		if int64(tensor.ArgMax(z.Row(i))) != y {
			differ++
		}
	}
	if len(seen) > 1 && 2*differ > len(labels) {
		return fmt.Errorf("the model's scores contradict its own label %q on %d of %d random samples: "+
			"name the right scores with --output, or export the model with probabilities", name, differ, len(labels))
	}
	return nil
}

// labelOutput is the one output of class numbers, a vector of int64, "" if
// there is none.
func labelOutput(g *onnx.Graph) string {
	for _, v := range g.Outputs {
		if v.Type != nil && v.Type.Tensor != nil && v.Type.Tensor.Elem == onnx.Int64 && len(v.Type.Tensor.Dims) <= 1 {
			return v.Name
		}
	}
	return ""
}

// labels runs the file for its label alone.
func (s *shared) labels(ctx context.Context, name string, x *tensor.Tensor) ([]int64, error) {
	m := s.file.Clone()
	m.Graph.Outputs = []*onnx.Value{{Name: name}}
	onnx.Prune(m.Graph, []string{name})
	session, err := s.rt.NewSession(m, ort.Options{})
	if err != nil {
		return nil, err
	}
	defer session.Close()
	out, err := session.RunTensors(ctx, s.prep.feeds(s.file.Graph.Feeds(), x))
	if err != nil {
		return nil, err
	}
	t := out[name]
	if t.Type != onnx.Int64 || t.Len() != int64(x.Rows()) {
		return nil, fmt.Errorf("output %q is not a label a sample", name)
	}
	return t.Ints(), nil
}
