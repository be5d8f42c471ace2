package gateway_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// declared is a model that takes x and gives back what answer makes of it.
type declared struct {
	scorer
	takes, gives oip.TensorMetadata
	answer       func(x *oip.Tensor) oip.Tensor // nil gives x itself
	seen         *oip.Tensor
}

func (e *declared) Metadata(context.Context) (*oip.Metadata, error) {
	e.takes.Name, e.gives.Name = "x", "y"
	return &oip.Metadata{Inputs: []oip.TensorMetadata{e.takes}, Outputs: []oip.TensorMetadata{e.gives}}, nil
}

func (e *declared) Infer(_ context.Context, q *oip.Request) (*oip.Response, error) {
	x := q.Inputs[0]
	e.seen = &x
	y := x
	if e.answer != nil {
		y = e.answer(&x)
	}
	y.Name = "y"
	return &oip.Response{Outputs: []oip.Tensor{y}}, nil
}

// serving is a house with the model alone, under the name "loans".
func serving(t *testing.T, e *declared, change func(m *gateway.Model)) *house {
	m := &gateway.Model{Model: policy.Model{Name: "loans"}, Versions: []gateway.Version{{Name: "1", Engine: e}}}
	if change != nil {
		change(m)
	}
	return build(t, gateway.Config{}, m)
}

func ofType(d oip.Datatype, shape ...int64) oip.TensorMetadata {
	return oip.TensorMetadata{Datatype: d, Shape: shape}
}

const predictPath = "/api/v1/models/loans/predict"

// Numbers pass through predictions as they are, beyond what a float64 holds too.
func TestPredictExactly(t *testing.T) {
	for _, c := range []struct{ datatype, values string }{
		{"INT64", "9007199254740993,-9223372036854775808"},
		{"UINT64", "18446744073709551615,9007199254740993"},
		{"UINT8", "0,255"},
		{"INT8", "-128,127"},
		{"FP64", "123456789.12,0.07"},
		{"FP16", "1.5,-65504"},
		{"BF16", "1.5,-3"},
	} {
		open := ofType(oip.Datatype(c.datatype), -1, 2)
		h := serving(t, &declared{takes: open, gives: open}, nil)
		code, body, _ := h.ask(t, "user", "POST", predictPath, `{"features":{"x":[`+c.values+`]}}`)
		want := `"outputs":{"y":[` + c.values + `]}`
		if code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", c.datatype, code, body, want)
		}
	}
	for values, want := range map[string]string{"65520,0": "FP16 holds no 65520", "1e40,0": "holds no"} {
		h := serving(t, &declared{takes: ofType(oip.FP16, -1, 2), gives: ofType(oip.FP16, -1, 2)}, nil)
		if code, body, _ := h.ask(t, "user", "POST", predictPath, `{"features":{"x":[`+values+`]}}`); code != 400 || !strings.Contains(body, want) {
			t.Errorf("%s in FP16: %d %s, want 400 that says %q", values, code, body, want)
		}
	}
}

// Clipping changes what lies outside the interval and nothing else.
func TestClipExactly(t *testing.T) {
	open := ofType(oip.INT64, -1, 3)
	e := &declared{takes: open, gives: open}
	h := serving(t, e, func(m *gateway.Model) {
		m.Settings.Inputs = map[string]gateway.Rule{"x": {Clip: &[2]float64{-2.5, 9e18}}}
	})
	if code, body, _ := h.ask(t, "user", "POST", predictPath, `{"features":{"x":[9007199254740993,-7,9223372036854775807]}}`); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	var got []int64
	for b := e.seen.Raw; len(b) >= 8; b = b[8:] {
		got = append(got, int64(binary.LittleEndian.Uint64(b)))
	}
	if fmt.Sprint(got) != "[9007199254740993 -2 9000000000000000000]" {
		t.Errorf("the model saw %v", got)
	}
}

// The scores of a model without a batch are those of one sample: its clearance holds
// for them, and its prediction is one.
func TestScoresOfOneSample(t *testing.T) {
	scores := func(*oip.Tensor) oip.Tensor {
		return oip.Tensor{Datatype: oip.FP32, Shape: []int64{3}, Raw: raw([]float32{0.25, 0.5, 0.125})}
	}
	each := func(x *oip.Tensor) oip.Tensor { // one score for each sample
		return oip.Tensor{Datatype: oip.FP32, Shape: x.Shape[:1], Raw: raw([]float32{0.25, 0.75, 0.625})}
	}
	for _, c := range []struct {
		name         string
		takes, gives oip.TensorMetadata
		answer       func(*oip.Tensor) oip.Tensor
		features     string
		label        string // the scores under the clearance label
		predictions  string
	}{
		{"features alone", ofType(oip.FP32, 4), ofType(oip.FP32, 3), scores, `{"x":[1,2,3,4]}`, "[0,1,0]", `"prediction":1,`},
		{"as many classes as features", ofType(oip.FP32, 3), ofType(oip.FP32, 3), scores, `{"x":[1,2,3]}`, "[0,1,0]", `"prediction":1,`},
		{"a sequence as long as there are classes", ofType(oip.FP32, -1), ofType(oip.FP32, 3), scores, `{"x":[1,2,3]}`, "[0,1,0]", `"prediction":1,`},
		{"a batch", ofType(oip.FP32, -1, 2), ofType(oip.FP32, -1), each, `[{"x":[1,2]},{"x":[3,4]},{"x":[5,6]}]`, "[0,1,1]", `{"outputs":{"y":0.625},"prediction":0.625}]`},
		{"a batch of fixed size", ofType(oip.FP32, 3, 2), ofType(oip.FP32, 3), each, `[{"x":[1,2]},{"x":[3,4]},{"x":[5,6]}]`, "[0,1,1]", `{"outputs":{"y":0.625},"prediction":0.625}]`},
	} {
		h := serving(t, &declared{takes: c.takes, gives: c.gives, answer: c.answer}, nil)
		if code, body, _ := h.ask(t, "user", "POST", predictPath, `{"features":`+c.features+`}`); code != 200 || !strings.Contains(body, c.predictions) {
			t.Errorf("%s: %d %s, want %s", c.name, code, body, c.predictions)
		}
		h = serving(t, &declared{takes: c.takes, gives: c.gives, answer: c.answer}, func(m *gateway.Model) { m.Clearance = policy.Clearance{Label: true} })
		data := strings.NewReplacer(`{"x":`, "", "}", "").Replace(c.features)
		shape := strings.ReplaceAll(fmt.Sprint(c.takes.Shape), " ", ",")
		shape = strings.Replace(shape, "-1", "3", 1)
		code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", `{"inputs":[{"name":"x","datatype":"FP32","shape":`+shape+`,"data":`+data+`}]}`)
		if code != 200 || !strings.Contains(body, `"data":`+c.label) {
			t.Errorf("%s: the label alone: %d %s, want %s", c.name, code, body, c.label)
		}
	}
}

// However an upstream server shapes its answer, the prediction is about what was asked.
func TestPredictionsOfOddShapes(t *testing.T) {
	for _, shape := range [][]int64{{4e18, 0}, {0, 2}, {2, 1}} {
		h := serving(t, &declared{takes: ofType(oip.FP32, -1, 2), gives: ofType(oip.FP32, -1, -1), answer: func(x *oip.Tensor) oip.Tensor {
			y := oip.Tensor{Datatype: oip.FP32, Shape: shape}
			if y.Len() > 0 {
				y.Raw = x.Raw
			}
			return y
		}}, nil)
		if code, body, _ := h.ask(t, "user", "POST", predictPath, `{"features":{"x":[1,2]}}`); code != 200 || strings.Contains(body, "predictions") {
			t.Errorf("shape %v: %d %s, want one prediction", shape, code, body)
		}
	}
}

// global is a model that tells something of all rows together beside a score for each.
type global struct{ declared }

func (g *global) Metadata(ctx context.Context) (*oip.Metadata, error) {
	return &oip.Metadata{Inputs: []oip.TensorMetadata{{Name: "x", Datatype: oip.FP32, Shape: []int64{-1, 1}}},
		Outputs: []oip.TensorMetadata{{Name: "y", Datatype: oip.FP32, Shape: []int64{-1, 1}}, {Name: "threshold", Datatype: oip.FP32, Shape: []int64{2}}}}, nil
}

func (g *global) Infer(_ context.Context, q *oip.Request) (*oip.Response, error) {
	y := q.Inputs[0]
	y.Name = "y"
	return &oip.Response{Outputs: []oip.Tensor{y, {Name: "threshold", Datatype: oip.FP32, Shape: []int64{2}, Raw: raw([]float32{0.5, 0.75})}}}, nil
}

func TestPredictionsBesideOthers(t *testing.T) {
	h := build(t, gateway.Config{}, &gateway.Model{Model: policy.Model{Name: "loans"}, Versions: []gateway.Version{{Name: "1", Engine: &global{}}}})
	for features, want := range map[string]string{
		`[{"x":1},{"x":2}]`: `"outputs":{"threshold":[0.5,0.75]},"predictions":[{"outputs":{"y":1},"prediction":1},{"outputs":{"y":2},"prediction":2}]`,
		`{"x":1}`:           `"outputs":{"threshold":[0.5,0.75],"y":1},"prediction":1`,
	} {
		if code, body, _ := h.ask(t, "user", "POST", predictPath, `{"features":`+features+`}`); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", features, code, body, want)
		}
	}
}

// People are told what is wanted in their own words.
func TestPredictExplains(t *testing.T) {
	for _, c := range []struct {
		takes    oip.TensorMetadata
		features string
		says     string
	}{
		{ofType(oip.BYTES, -1, 1), `{"x":5}`, "row 0: feature 'x': a text is wanted"},
		{ofType(oip.FP32, -1, 1), `[{"x":5},{"x":"5"}]`, "row 1: feature 'x': a number is wanted"},
		{ofType(oip.INT64, -1, 1), `{"x":null}`, "row 0: feature 'x': a whole number is wanted"},
		{ofType(oip.BOOL, -1, 1), `{"x":"yes"}`, "row 0: feature 'x': true or false is wanted"},
		{ofType(oip.FP32, -1, 1), `{"x":{"y":1}}`, "row 0: feature 'x': a number is wanted"},
		{ofType(oip.FP32, 1, 4), `[{"x":[1,2,3,4]},{"x":[1,2,3,4]}]`, "feature 'x': 2 rows of 4 values do not fit the model, which takes [1 4] in a call"},
		{ofType(oip.FP32, -1, 4), `{"x":[1,2,3]}`, "feature 'x': 1 rows of 3 values do not fit the model, which takes [-1 4] in a call"},
	} {
		h := serving(t, &declared{takes: c.takes, gives: c.takes}, nil)
		if code, body, _ := h.ask(t, "user", "POST", predictPath, `{"features":`+c.features+`}`); code != 422 || !strings.Contains(body, c.says) {
			t.Errorf("%s for %v: %d %s, want 422 that says %q", c.features, c.takes, code, body, c.says)
		}
	}
}

// What a client's JSON says reaches the model as it is, or is refused; a charset in the
// content type, which many clients add, changes nothing.
func TestPredictReads(t *testing.T) {
	for _, c := range []struct {
		kind, body string
		code       int
		says       string
	}{
		{"application/json", `{"text":"\ud83d\ude00"}`, 200, "4"},
		{"application/json", `{"text":"\\ud800"}`, 200, "6"},
		{"application/json; charset=utf-8", `{"text":"abc"}`, 200, "3"},
		{"Application/JSON", `{"text":"abc"}`, 200, "3"},
		{"application/json; charset=latin1", `{"text":"abc"}`, 415, "application/json"},
		{"text/plain", `{"text":"abc"}`, 415, "application/json"},
		{"application/jsonp", `{"text":"abc"}`, 415, "application/json"},
		{"application/json", `{"text":"a\ud800b"}`, 400, "half a surrogate pair"},
		{"application/json", `{"text":"a\ude00\ud83d"}`, 400, "half a surrogate pair"},
		{"application/json", `{"\udc00":"a"}`, 400, "half a surrogate pair"},
	} {
		h := build(t, gateway.Config{}, texts())
		code, body, _ := h.ask(t, "user", "POST", "/api/v1/models/text/predict", c.body, "Content-Type", c.kind)
		if code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s %s: %d %s, want %d that says %q", c.kind, c.body, code, body, c.code, c.says)
		}
	}
}

// Features reach a model of doubles as the numbers that the client wrote.
func TestPredictInDoubles(t *testing.T) {
	s, err := data.ParseSchema([]byte(`
columns:
  - {name: income, type: numeric, min: 0, max: 1000000000}
  - {name: rate, type: numeric, min: 0, max: 1, step: 0.01}
  - {name: risk, type: label, categories: [low, high]}
`))
	if err != nil {
		t.Fatal(err)
	}
	two := ofType(oip.FP64, -1, 2)
	h := serving(t, &declared{takes: two, gives: two}, func(m *gateway.Model) { m.Settings.Rows, err = s.Rows() })
	if err != nil {
		t.Fatal(err)
	}
	code, body, _ := h.ask(t, "user", "POST", predictPath, `{"features":{"income":123456789.12,"rate":0.07}}`)
	if code != 200 || !strings.Contains(body, `"outputs":{"y":[123456789.12,0.07]}`) {
		t.Errorf("%d %s", code, body)
	}
}

// silent is a model whose server says nothing of what it takes and gives, as MLServer
// does where its settings do not.
type silent struct{ declared }

func (s *silent) Metadata(context.Context) (*oip.Metadata, error) { return &oip.Metadata{}, nil }

func TestUndeclaredInputs(t *testing.T) {
	ask := func(rules map[string]gateway.Rule, path, body string) (int, string) {
		h := build(t, gateway.Config{}, &gateway.Model{Model: policy.Model{Name: "loans"}, Versions: []gateway.Version{{Name: "1", Engine: &silent{}}},
			Settings: gateway.Settings{Inputs: rules}})
		code, answer, _ := h.ask(t, "user", "POST", path, body)
		return code, answer
	}
	low := 0.0
	positive := map[string]gateway.Rule{"x": {Min: &low}}
	other := strings.Replace(row, `"x"`, `"z"`, 1)
	for _, c := range []struct {
		name       string
		rules      map[string]gateway.Rule
		path, body string
		code       int
		says       string
	}{
		{"any input", nil, "/v2/models/loans/infer", row, 200, `"data":[1,2]`},
		{"another", nil, "/v2/models/loans/infer", other, 200, `"data":[1,2]`},
		{"the one that settings name", positive, "/v2/models/loans/infer", row, 200, `"data":[1,2]`},
		{"beyond its bounds", positive, "/v2/models/loans/infer", strings.Replace(row, "[1,2]}", "[-1,2]}", 1), 422, "outside its bounds"},
		{"none that they name", positive, "/v2/models/loans/infer", other, 400, "unexpected inference input 'z'"},
		{"not a number that JSON has", nil, "/v2/models/loans/infer", strings.Replace(row, "[1,2]}", "[NaN,2]}", 1), 400, "no NaN"},
		{"features", nil, predictPath, `{"features":{"x":[1,2]}}`, 400, "send tensors"},
	} {
		if code, body := ask(c.rules, c.path, c.body); code != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s, want %d that says %q", c.name, code, body, c.code, c.says)
		}
	}
}
