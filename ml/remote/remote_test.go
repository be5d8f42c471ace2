package remote

import (
	"context"
	"encoding/pem"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/internal/need"
	"github.com/redoubt-ml/redoubt/ml/model"
	"github.com/redoubt-ml/redoubt/ml/ort/orttest"
	"github.com/redoubt-ml/redoubt/ml/remote/remotetest"
	"github.com/redoubt-ml/redoubt/ml/tensor"
)

// linear scores three classes of four numbers.
type linear struct{}

func (linear) Scores(_ context.Context, x *tensor.Tensor) (*tensor.Tensor, error) {
	z := tensor.New(x.Rows(), 3)
	for i := range x.Rows() {
		r := x.Row(i)
		copy(z.Row(i), []float32{r[0] - r[3]/3, r[1] + 0.1, 2*r[2] - 0.7})
	}
	return z, nil
}

func samples(n int) *tensor.Tensor {
	rng := rand.New(rand.NewPCG(7, 8))
	x := tensor.New(n, 4)
	for j := range x.Data {
		x.Data[j] = rng.Float32()
	}
	return x
}

// start serves over TLS and returns the address and the settings that reach it.
func start(t *testing.T, s *remotetest.Server) (string, Config) {
	t.Helper()
	if s.Model == nil {
		s.Model, s.Sample = linear{}, []int{4}
	}
	web := httptest.NewUnstartedServer(s)
	web.Config.ErrorLog = nil
	web.StartTLS()
	t.Cleanup(web.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	if err := os.WriteFile(ca, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return web.URL, Config{CA: ca, Classes: 3}
}

// ready opens the endpoint, learns how it answers, and takes away its clock:
// pauses are entered in the list instead.
func ready(t *testing.T, address string, cfg Config) (*Endpoint, *[]time.Duration) {
	t.Helper()
	e, err := Open(t.Context(), address, cfg)
	if err != nil {
		t.Fatal(err)
	}
	pauses := &[]time.Duration{}
	e.client.wait = func(ctx context.Context, d time.Duration) error {
		*pauses = append(*pauses, d)
		return ctx.Err()
	}
	if err := e.Try(t.Context(), samples(6)); err != nil {
		t.Fatal(err)
	}
	return e, pauses
}

func TestEveryProtocolGivesTheModelsAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		server *remotetest.Server
		path   string
		set    func(*Config)
		says   string
		rank   bool // only the order of classes can be compared
	}{
		"json":             {path: "/v2/models/net", says: "Open Inference Protocol, JSON"},
		"version":          {path: "/v2/models/net/versions/1/", says: "Open Inference Protocol, JSON"},
		"binary":           {server: &remotetest.Server{Binary: true}, path: "/v2/models/net", says: "Open Inference Protocol, binary tensors"},
		"small batches":    {server: &remotetest.Server{Batch: 7}, path: "/v2/models/net", says: "Open Inference Protocol, JSON"},
		"one at a time":    {server: &remotetest.Server{Batch: 1}, path: "/v2/models/net", says: "Open Inference Protocol, JSON"},
		"float64":          {server: &remotetest.Server{Datatype: "FP64"}, path: "/v2/models/net", says: "Open Inference Protocol, JSON"},
		"probabilities":    {server: &remotetest.Server{Softmax: true}, path: "/v2/models/net", says: "Open Inference Protocol, JSON", rank: true},
		"labels":           {server: &remotetest.Server{Labels: true}, path: "/v2/models/net", says: "Open Inference Protocol, JSON", rank: true},
		"winner":           {server: &remotetest.Server{Winner: true}, path: "/v2/models/net", set: func(c *Config) { c.Classes = 0 }, says: "Open Inference Protocol, JSON", rank: true},
		"tensorflow":       {path: "/v1/models/net:predict", set: func(c *Config) { c.Response = "predictions[*].scores" }, says: "JSON"},
		"mlflow labels":    {server: &remotetest.Server{Labels: true}, path: "/invocations", says: "JSON", rank: true},
		"template":         {path: "/v1/models/net:predict", set: func(c *Config) { c.Request, c.Response = `{"instances":[$row]}`, "$.predictions[0].scores" }, says: "JSON"},
		"names of classes": {server: &remotetest.Server{Labels: true, Names: []string{"a", "b", "c"}}, path: "/v2/models/net", set: func(c *Config) { c.Names, c.Classes = []string{"a", "b", "c"}, 0 }, says: "Open Inference Protocol, JSON", rank: true},
	} {
		t.Run(name, func(t *testing.T) {
			if c.server == nil {
				c.server = &remotetest.Server{}
			}
			address, cfg := start(t, c.server)
			if c.set != nil {
				c.set(&cfg)
			}
			e, _ := ready(t, address+c.path, cfg)
			x := samples(50)
			z, err := e.Scores(t.Context(), x)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := linear{}.Scores(t.Context(), x)
			for i := range x.Rows() {
				if got, w := tensor.ArgMax(z.Row(i)), tensor.ArgMax(want.Row(i)); got != w {
					t.Fatalf("sample %d: class %d, want %d", i, got, w)
				}
				for j, v := range z.Row(i) {
					if w := want.Row(i)[j]; !c.rank && v != w {
						t.Fatalf("sample %d, class %d: %v, want exactly %v", i, j, v, w)
					}
				}
			}
			if got := e.Protocol(); got != c.says {
				t.Errorf("protocol %q, want %q", got, c.says)
			}
			access := model.ScoresOnly
			if c.server.Labels || c.server.Winner {
				access = model.Labels
			}
			if e.Access() != access || e.Classes() != 3 || e.Probability() != c.server.Softmax {
				t.Errorf("access %v, %d classes, probabilities %v", e.Access(), e.Classes(), e.Probability())
			}
			if a := e.Account(); a.Queries != c.server.Samples() {
				t.Errorf("account says %d queries, the server answered %d", a.Queries, c.server.Samples())
			}
		})
	}
}

// What an attack sees of a served network is what it sees of the file.
func TestServedNetworkAnswersAsTheFile(t *testing.T) {
	l, err := model.Open(t.Context(), orttest.Runtime(t), need.Data(t, "models/mnist/mnist_cnn_std_s1.onnx"), model.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x := tensor.New(append([]int{9}, l.Sample()...)...)
	rng := rand.New(rand.NewPCG(3, 4))
	for j := range x.Data {
		x.Data[j] = rng.Float32()
	}
	z, err := l.Scores(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	want := z.Clone()
	for _, binary := range []bool{false, true} {
		address, cfg := start(t, &remotetest.Server{Model: l, Sample: l.Sample(), Binary: binary})
		e, err := Open(t.Context(), address+"/v2/models/net", cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Try(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		got, err := e.Scores(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		for j, v := range got.Data {
			if v != want.Data[j] {
				t.Fatalf("binary %v: logit %d is %v, the file's is %v", binary, j, v, want.Data[j])
			}
		}
	}
}

func TestNormalisationIsDoneBeforeSending(t *testing.T) {
	address, cfg := start(t, &remotetest.Server{})
	cfg.Mean, cfg.Std = []float64{1}, []float64{2}
	e, _ := ready(t, address+"/v2/models/net", cfg)
	x := samples(2)
	z, err := e.Scores(t.Context(), x)
	if err != nil {
		t.Fatal(err)
	}
	for j, v := range x.Data {
		x.Data[j] = (v - 1) / 2
	}
	want, _ := linear{}.Scores(t.Context(), x)
	for j, v := range z.Data {
		if v != want.Data[j] {
			t.Fatalf("logit %d: %v, want %v", j, v, want.Data[j])
		}
	}
	c := Config{Mean: []float64{1, 10}, Std: []float64{1, 10}}
	for layout, want := range map[string][]float32{"nchw": {0, 1, 0, 0.1}, "nhwc": {0, -0.8, 9, -0.7}} {
		c.Layout = layout
		x, shape := []float32{1, 2, 10, 3}, []int{1, 2, 2, 1}
		if layout == "nchw" {
			x = []float32{1, 2, 10, 11}
		} else {
			shape = []int{1, 2, 1, 2}
		}
		got, err := c.normalised(tensor.Of(x, shape...))
		if err != nil {
			t.Fatal(err)
		}
		for j, v := range got.Data {
			if math.Abs(float64(v-want[j])) > 1e-6 {
				t.Errorf("%s: element %d is %v, want %v", layout, j, v, want[j])
			}
		}
	}
}
