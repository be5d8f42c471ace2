package ort_test

import (
	"context"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/ml/ort"
)

// What a run costs beside the model's own arithmetic: two sums of sixteen numbers,
// for a client who may go away.
func BenchmarkRunTensors(b *testing.B) {
	x, y := value("x", onnx.Int32, -1, 16), value("y", onnx.Int32, -1, 16)
	m := model([]*onnx.Value{x, y}, []*onnx.Value{value("sum", onnx.Int32, -1, 16), value("difference", onnx.Int32, -1, 16)},
		[]*onnx.Node{onnx.NewNode("Add", []string{"x", "y"}, []string{"sum"}), onnx.NewNode("Sub", []string{"x", "y"}, []string{"difference"})})
	s := session(b, m, ort.Options{})
	raw := make([]byte, 64)
	in := map[string]*onnx.Tensor{"x": onnx.RawTensor("x", onnx.Int32, raw, 1, 16), "y": onnx.RawTensor("y", onnx.Int32, raw, 1, 16)}
	for _, c := range []struct {
		name string
		ctx  func() (context.Context, context.CancelFunc)
	}{
		{"for-good", func() (context.Context, context.CancelFunc) { return context.Background(), func() {} }},
		{"may-end", func() (context.Context, context.CancelFunc) { return context.WithCancel(context.Background()) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			ctx, cancel := c.ctx()
			defer cancel()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.RunTensors(ctx, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
