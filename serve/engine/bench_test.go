package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/onnx"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// dense is a small network of the kind that tables are scored with.
func dense() *onnx.Model {
	const in, hidden, out = 64, 256, 10
	fill := func(name string, a, b int64) *onnx.Tensor {
		v := make([]float32, a*b)
		for i := range v {
			v[i] = float32(i%7-3) / 16
		}
		return onnx.FloatTensor(name, v, a, b)
	}
	return graph(list(value("x", onnx.Float, "n", in)), list(value("y", onnx.Float, "n", out)),
		list(onnx.NewNode("MatMul", list("x", "w1"), list("h1")), onnx.NewNode("Relu", list("h1"), list("r1")),
			onnx.NewNode("MatMul", list("r1", "w2"), list("h2")), onnx.NewNode("Relu", list("h2"), list("r2")),
			onnx.NewNode("MatMul", list("r2", "w3"), list("y"))),
		fill("w1", in, hidden), fill("w2", hidden, hidden), fill("w3", hidden, out))
}

// clients asks from so many goroutines at once.
func clients(b *testing.B, n int, ask func() error) {
	b.Helper()
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		share := b.N / n
		if i < b.N%n {
			share++
		}
		all.Go(func() {
			<-start
			for range share {
				if err := ask(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	b.ResetTimer()
	close(start)
	all.Wait()
}

// BenchmarkLocal compares, for 16 clients: the runtime asked directly, an
// engine that joins nothing, and one that joins.
func BenchmarkLocal(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	dense64 := &oip.Request{Inputs: []oip.Tensor{floats("x", []int64{1, 64}, make([]float32, 64)...)}}
	for _, c := range []struct {
		name string
		m    *onnx.Model
		q    *oip.Request
	}{{"simple", simple(), pair(1, 2)}, {"dense", dense(), dense64}} {
		b.Run(c.name+"/runtime", func(b *testing.B) {
			l := local(b, c.m, LocalConfig{})
			clients(b, 16, func() error {
				in := map[string]*onnx.Tensor{}
				for _, t := range c.q.Inputs {
					in[t.Name] = &onnx.Tensor{Type: elements[t.Datatype], Dims: t.Shape, Raw: t.Raw}
				}
				_, err := l.session.RunTensors(ctx, in)
				return err
			})
		})
		for _, most := range []int{1, 32} {
			b.Run(fmt.Sprintf("%s/batch-%d", c.name, most), func(b *testing.B) {
				l := local(b, c.m, LocalConfig{MaxBatch: most})
				clients(b, 16, func() error { _, err := l.Infer(ctx, c.q); return err })
				s := l.Statistics()
				b.ReportMetric(float64(s.InferenceCount)/float64(s.ExecutionCount), "rows/run")
			})
		}
	}
}

// BenchmarkHandler compares, over HTTP with JSON and 16 clients, a bare handler
// that reads with this protocol's decoder and asks the runtime directly, and
// the same with an engine.
func BenchmarkHandler(b *testing.B) {
	l := local(b, simple(), LocalConfig{})
	bare := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q, err := oip.ReadRequest(r, nil, oip.Limits{})
		if err != nil {
			oip.WriteError(w, err, "")
			return
		}
		in := map[string]*onnx.Tensor{}
		for _, t := range q.Inputs {
			in[t.Name] = &onnx.Tensor{Type: elements[t.Datatype], Dims: t.Shape, Raw: t.Raw}
		}
		out, err := l.session.RunTensors(r.Context(), in)
		if err != nil {
			oip.WriteError(w, err, "")
			return
		}
		a := &oip.Response{ModelName: "m"}
		for _, name := range l.session.Outputs() {
			t, _ := fromRuntime(out[name])
			a.Outputs = append(a.Outputs, t)
		}
		_ = oip.WriteResponse(w, r, q, a)
	})
	m, err := oip.EncodeRequest(pair(1, 2), false)
	if err != nil {
		b.Fatal(err)
	}
	for name, h := range map[string]http.Handler{"runtime": bare, "engine": &server{engines: map[string]engine{"m": l}}} {
		b.Run(name, func(b *testing.B) {
			web := httptest.NewServer(h)
			defer web.Close()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
			defer client.CloseIdleConnections()
			clients(b, 16, func() error {
				a, err := client.Post(web.URL+"/v2/models/m/infer", "application/json", bytes.NewReader(m.JSON))
				if err != nil {
					return err
				}
				defer a.Body.Close()
				_, err = io.Copy(io.Discard, a.Body)
				return err
			})
		})
	}
}
