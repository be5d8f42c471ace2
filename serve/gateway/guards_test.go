package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt/ml/data"
	"github.com/redoubt-ml/redoubt/ml/half"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// Every guard has a name of its own and says what it does, and the order is the
// one that the design names.
func TestGuardsInOrder(t *testing.T) {
	var names []string
	for _, g := range gateway.Guards {
		names = append(names, g.Name)
		if g.Doc == "" {
			t.Errorf("%s does not say what it does", g.Name)
		}
	}
	want := []string{"record", "authenticate", "permit", "limit", "decode", "schema", "content", "personal", "normalise", "detect", "disclose", "shadow"}
	if !slices.Equal(names, want) {
		t.Errorf("the order is %v, want %v", names, want)
	}
}

func x(values string) string {
	return `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[` + values + `]}]}`
}

func TestSchema(t *testing.T) {
	lo, hi := -10.0, 10.0
	m := loans()
	m.Settings.Inputs = map[string]gateway.Rule{"x": {Min: &lo, Max: &hi, Elements: 4}}
	m.Settings.MaxBody = 300
	h := build(t, gateway.Config{}, m)
	for _, c := range []struct {
		body string
		want int
		says string
	}{
		{x("1,2"), 200, ""},
		{x("1,11"), 422, "element 1"},
		{x("1,2,3"), 400, ""},
		{`{"inputs":[{"name":"x","datatype":"FP64","shape":[1,2],"data":[1,2]}]}`, 400, "expects 'FP32'"},
		{`{"inputs":[{"name":"x","datatype":"FP32","shape":[2,1],"data":[1,2]}]}`, 400, "unexpected shape"},
		{`{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2]}]}`, 400, "unexpected shape"},
		{`{"inputs":[{"name":"x","datatype":"FP32","shape":[3,2],"data":[1,2,3,4,5,6]}]}`, 422, "at most 4"},
		{`{"inputs":[{"name":"y","datatype":"FP32","shape":[1,2],"data":[1,2]}]}`, 400, "unexpected inference input"},
		{`{"inputs":[]}`, 400, "no inputs"},
		{`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}],"outputs":[{"name":"z"}]}`, 400, "unexpected inference output"},
		{`{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}],"parameters":{"p":"` + strings.Repeat("p", 300) + `"}}`, 413, "larger than 300"},
		{x("1e39,2"), 400, ""},
	} {
		code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", c.body)
		if code != c.want || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s, want %d %s", c.body, code, body, c.want, c.says)
		}
	}
	// Binary tensors may hold what JSON cannot.
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		head := `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}]}`
		code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", head+string(raw([]float32{1, float32(v)})), "Inference-Header-Content-Length", fmt.Sprint(len(head)))
		if code != 422 {
			t.Errorf("%v: %d %s", v, code, body)
		}
	}
}

// Where a score is not a number no class wins, and none is made up.
func TestScoresThatAreNone(t *testing.T) {
	m := loans()
	m.Settings.Inputs = map[string]gateway.Rule{"x": {Missing: true}}
	m.Versions[0].Engine = &broken{}
	code, body, _ := build(t, gateway.Config{}, m).ask(t, "user", "POST", "/api/v1/models/loans/predict", `{"features":{"x":[1,2]}}`)
	if code != 200 || strings.Contains(body, `"prediction"`) || strings.Contains(body, `"scores"`) || !strings.Contains(body, `"p":[null,0.5,0.5]`) {
		t.Errorf("%d %s", code, body)
	}
}

// broken is a scorer whose first score is not a number.
type broken struct{ scorer }

func (b *broken) Infer(context.Context, *oip.Request) (*oip.Response, error) {
	return &oip.Response{Outputs: []oip.Tensor{{Name: "p", Datatype: oip.FP32, Shape: []int64{1, 3}, Raw: raw([]float32{float32(math.NaN()), .5, .5})}}}, nil
}

func TestMissingValues(t *testing.T) {
	m := loans()
	m.Settings.Inputs = map[string]gateway.Rule{"x": {Missing: true}}
	h := build(t, gateway.Config{}, m)
	for v, want := range map[float64]int{math.NaN(): 200, math.Inf(1): 422} {
		head := `{"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"parameters":{"binary_data_size":8}}],"outputs":[{"name":"label"}]}`
		code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", head+string(raw([]float32{1, float32(v)})), "Inference-Header-Content-Length", fmt.Sprint(len(head)))
		if code != want {
			t.Errorf("%v: %d %s", v, code, body)
		}
	}
}

// A bound itself is within its bounds, also where the tensor's type has no such number.
func TestBoundsAtPrecision(t *testing.T) {
	least, most := -0.1, 0.1
	for datatype, encode := range map[oip.Datatype]func(float64) []byte{
		oip.FP16: func(v float64) []byte { return raw([]uint16{half.Float16(float32(v))}) },
		oip.BF16: func(v float64) []byte { return raw([]uint16{half.Bfloat16(float32(v))}) },
		oip.FP32: func(v float64) []byte { return raw([]float32{float32(v)}) },
		oip.FP64: func(v float64) []byte { return raw([]float64{v}) },
	} {
		m := loans()
		m.Versions[0].Engine = taking{datatype}
		m.Settings.Inputs = map[string]gateway.Rule{"x": {Min: &least, Max: &most}}
		h := build(t, gateway.Config{}, m)
		for _, c := range []struct {
			a, b float64
			want int
		}{{-0.1, 0.1, 200}, {0, 0.101, 422}, {-0.101, 0, 422}} {
			body := append(encode(c.a), encode(c.b)...)
			head := fmt.Sprintf(`{"inputs":[{"name":"x","datatype":%q,"shape":[1,2],"parameters":{"binary_data_size":%d}}]}`, datatype, len(body))
			code, answer, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", head+string(body), "Inference-Header-Content-Length", fmt.Sprint(len(head)))
			if code != c.want {
				t.Errorf("%s %v, %v: %d %s", datatype, c.a, c.b, code, answer)
			}
		}
	}
}

// taking is a model of one output that takes one type of tensors.
type taking struct{ datatype oip.Datatype }

func (e taking) Metadata(context.Context) (*oip.Metadata, error) {
	return &oip.Metadata{
		Inputs:  []oip.TensorMetadata{{Name: "x", Datatype: e.datatype, Shape: []int64{-1, 2}}},
		Outputs: []oip.TensorMetadata{{Name: "label", Datatype: oip.INT64, Shape: []int64{-1}}},
	}, nil
}

func (taking) Ready(context.Context) error { return nil }
func (taking) Close() error                { return nil }

func (taking) Infer(context.Context, *oip.Request) (*oip.Response, error) {
	return &oip.Response{Outputs: []oip.Tensor{{Name: "label", Datatype: oip.INT64, Shape: []int64{1}, Raw: raw([]int64{0})}}}, nil
}

func TestFeatureSchema(t *testing.T) {
	s, err := data.ParseSchema([]byte(`
columns:
  - {name: age, type: integer, min: 18, max: 90}
  - {name: owner, type: binary}
  - {name: risk, type: label, categories: [low, middle, high]}
`))
	if err != nil {
		t.Fatal(err)
	}
	m := loans()
	if m.Settings.Rows, err = s.Rows(); err != nil {
		t.Fatal(err)
	}
	h := build(t, gateway.Config{}, m)
	for _, c := range []struct {
		path, body string
		want       int
		says       string
	}{
		{"predict", `{"features":{"age":41,"owner":true}}`, 200, `"prediction":"low"`},
		{"predict", `{"features":[{"age":41,"owner":true},{"age":18,"owner":0}]}`, 200, `"scores":{"high":`},
		{"predict", `{"features":{"age":17,"owner":true}}`, 422, "age"},
		{"predict", `{"features":{"age":41}}`, 422, `\"owner\" is missing`},
		{"predict", `{"features":{"age":41,"owner":true,"x":1}}`, 422, "no feature"},
		{"predict", `{"features":{"age":41,"age":42,"owner":true}}`, 400, "twice"},
		{"predict", `{"features":[]}`, 400, "empty"},
		{"predict", `{"features":[1]}`, 400, "not an object"},
		{"predict", `{"text":"hello"}`, 400, "does not take text"},
		{"predict", `{"features":{},"text":""}`, 400, "either"},
		{"predict", `{"Features":{"age":41,"owner":true}}`, 400, "neither"},
		{"predict", strings.Repeat(`[`, 1000), 400, "deeper"},
		{"predict", `{"features":{"age":41,"owner":true}} x`, 400, "follows"},
		{"predict", ``, 400, "not JSON"},
		{"infer", x("41,1"), 200, ""},
		{"infer", x("41.5,1"), 422, "row 0"},
		{"infer", x("200,1"), 422, "bounds"},
	} {
		where := "/v2/models/loans/infer"
		if c.path == "predict" {
			where = "/api/v1/models/loans/predict"
		}
		code, body, _ := h.ask(t, "user", "POST", where, c.body)
		if code != c.want || !strings.Contains(body, c.says) {
			t.Errorf("%.60s: %d %s, want %d %s", c.body, code, body, c.want, c.says)
		}
	}
	if code, _, _ := h.ask(t, "user", "POST", "/api/v1/models/loans/predict", `{}`, "Content-Type", "text/plain"); code != 415 {
		t.Errorf("text/plain: %d", code)
	}
}

// The rules of the seed for text and numbers.
func TestTextRules(t *testing.T) {
	m := texts()
	m.Settings.Inputs = map[string]gateway.Rule{"text_input": {MinLength: 1, MaxLength: 10, Pattern: regexp.MustCompile(`\A[a-zA-Z0-9\s.,!?-]*\z`), Trim: true}}
	h := build(t, gateway.Config{}, m)
	for text, want := range map[string]int{"hello": 200, " hi ": 200, "": 422, "hello world": 422, "a<b": 422, "ünï": 422} {
		body, _ := json.Marshal(map[string]string{"text": text})
		code, answer, _ := h.ask(t, "user", "POST", "/api/v1/models/text/predict", string(body))
		if code != want {
			t.Errorf("%q: %d %s", text, code, answer)
		}
		if text == " hi " && !strings.Contains(answer, `"prediction":2`) {
			t.Errorf("%q was not trimmed: %s", text, answer)
		}
	}
}

func TestContent(t *testing.T) {
	h := build(t, gateway.Config{}, texts())
	body := `{"text":"x' UNION SELECT name, password FROM users"}`
	code, answer, _ := h.ask(t, "user", "POST", "/api/v1/models/text/predict", body)
	if code != 422 || !strings.Contains(answer, "malicious") || strings.Contains(answer, "password") {
		t.Errorf("%d %s", code, answer)
	}
	if e := h.diary.last(t); e.Details["content"] != "sql-union" || strings.Contains(fmt.Sprint(e), "password") {
		t.Errorf("recorded %+v", e)
	}
	m := texts()
	m.Settings.Unchecked = true
	if code, answer, _ := build(t, gateway.Config{}, m).ask(t, "user", "POST", "/api/v1/models/text/predict", body); code != 200 {
		t.Errorf("unchecked: %d %s", code, answer)
	}
}

func TestNormalise(t *testing.T) {
	var seen *oip.Request
	m := loans()
	m.Versions[0].Engine = &scorer{fail: func(q *oip.Request) error { seen = q; return nil }}
	m.Settings.Inputs = map[string]gateway.Rule{"x": {Clip: &[2]float64{-100, 100}}}
	h := build(t, gateway.Config{}, m)
	if code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", x("-1000,5")); code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	if got := floats(seen.Inputs[0].Raw); !slices.Equal(got, []float32{-100, 5}) {
		t.Errorf("the model saw %v", got)
	}
}

func TestCardData(t *testing.T) {
	build := func(input string) *house {
		m := &gateway.Model{Model: policy.Model{Name: "text"}, Versions: []gateway.Version{{Name: "1", Engine: &named{input: input}}}}
		m.Settings.CardData = true
		return build(t, gateway.Config{}, m)
	}
	for _, c := range []struct {
		input, text string
		want        int
	}{
		{"card_number", "4111 1111 1111 1111", 200},
		{"cardNumber", "5500-0055-5555-5559", 200},
		{"pan", "4111111111111112", 422}, // check digit
		{"pan", "hello", 422},
		{"cvv", "123", 422},
		{"card-security-code", "123", 200}, // not one of the names; words apart
		{"securityCode", "123", 422},
		{"pinBlock", "0x12", 422},
		{"company", "pinnacle", 200}, // holds "pin" and "pan", not as words
		{"memo", "paid with 4111 1111 1111 1111 yesterday", 422},
		{"memo", "order 4111111111111112", 200},
		{"memo", "%B4111111111111111^DOE/JOHN^2512101?", 422},
		{"memo", ";4111111111111111=25121010000?", 422},
		{"memo", "100%B; 12=3", 200},
		// Beside other numbers, and parted as people and pages do.
		{"memo", "4111 1111 1111 1111 12/27", 422},
		{"memo", "pay 25 4111111111111111", 422},
		{"memo", "4111-1111-1111-1111-123", 422},
		{"memo", "3782 822463 10005 exp 2027", 422},
		{"memo", "4111\u00a01111\u00a01111\u00a01111", 422},
		{"memo", "4111\t1111\t1111\t1111", 422},
		{"memo", "4111\u20111111\u20111111\u20111111", 422},
		{"memo", "4111.1111.1111.1111", 422},
		{"memo", "4111_1111_1111_1111", 422},
		{"memo", "\uff14\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11\uff11", 422},
		{"memo", "41111111\u200b11111111", 422},
		{"memo", "in 2019 2020 2021 we sold 1.234.567.890.128", 200},
		{"memo", "call +49 30 1234 5678 on 2026-11-28 10 30", 200},
	} {
		h := build(c.input)
		body, _ := json.Marshal(map[string]string{"text": c.text})
		code, answer, _ := h.ask(t, "user", "POST", "/api/v1/models/text/predict", string(body))
		if code != c.want {
			t.Errorf("%s %q: %d %s", c.input, c.text, code, answer)
		}
		e := h.diary.last(t)
		told := strings.ReplaceAll(answer, e.Request, "") // digits that a random id has by chance
		e.ID, e.Request, e.Time = "", "", time.Time{}
		if code != 200 && (strings.Contains(told, c.text) || strings.Contains(fmt.Sprint(e), c.text)) {
			t.Errorf("%s %q is told or recorded: %s", c.input, c.text, answer)
		}
	}
}

// named is a reader whose input has another name.
type named struct {
	reader
	input string
}

func (n *named) Metadata(ctx context.Context) (*oip.Metadata, error) {
	m, err := n.reader.Metadata(ctx)
	m.Inputs[0].Name = n.input
	return m, err
}

func TestDetectors(t *testing.T) {
	for _, c := range []struct {
		detector gateway.Detector
		want     int
		note     string
	}{
		{gateway.Detector{Look: look("", nil)}, 200, ""},
		{gateway.Detector{Look: look("far away", nil)}, 400, "far away"},
		{gateway.Detector{Look: look("far away", nil), Watch: true}, 200, "far away"},
		{gateway.Detector{Look: look("", errors.New("no memory"))}, 500, ""},
		{gateway.Detector{Look: look("", errors.New("no memory")), Watch: true}, 200, "failed"},
	} {
		m := loans()
		c.detector.Name = "odd"
		m.Settings.Detectors = []gateway.Detector{c.detector}
		h := build(t, gateway.Config{}, m)
		code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row)
		if e := h.diary.last(t); code != c.want || e.Details["detector.odd"] != c.note || strings.Contains(body, "far away") || strings.Contains(body, "memory") {
			t.Errorf("%+v: %d %s, recorded %v", c.detector, code, body, e.Details)
		}
	}
}

func look(suspicion string, err error) func(context.Context, string, *oip.Request) (string, error) {
	return func(context.Context, string, *oip.Request) (string, error) { return suspicion, err }
}

// scoresOf asks for the scores of a row under a clearance.
func scoresOf(t *testing.T, h *house, values string) []float64 {
	t.Helper()
	code, body, _ := h.ask(t, "user", "POST", "/api/v1/models/loans/predict", `{"features":{"x":[`+values+`]}}`)
	var a struct{ Scores []float64 }
	if err := json.Unmarshal([]byte(body), &a); code != 200 || err != nil || len(a.Scores) != 3 {
		t.Fatalf("%d %s", code, body)
	}
	return a.Scores
}

func TestDisclose(t *testing.T) {
	full := scoresOf(t, build(t, gateway.Config{}, loans()), "1,2") // about 0.24, 0.67, 0.09
	clear := func(c policy.Clearance) []float64 {
		return scoresOf(t, build(t, gateway.Config{Policy: roles{c}}, loans()), "1,2")
	}
	if got := clear(policy.Clearance{Label: true}); !slices.Equal(got, []float64{0, 1, 0}) {
		t.Errorf("label: %v", got)
	}
	if got := clear(policy.Clearance{Top: 2}); got[0] != full[0] || got[1] != full[1] || got[2] != 0 {
		t.Errorf("top 2: %v of %v", got, full)
	}
	for j, v := range clear(policy.Clearance{Round: 1}) {
		if want := math.Round(full[j]*10) / 10; math.Abs(v-want) > 1e-7 {
			t.Errorf("rounded: %v, want %v", v, want)
		}
	}
	noisy := build(t, gateway.Config{Policy: roles{policy.Clearance{Noise: 0.05}}}, loans())
	one, again := scoresOf(t, noisy, "1,2"), scoresOf(t, noisy, "1,2")
	if slices.Equal(one, full) || !slices.Equal(one, again) {
		t.Errorf("noise: %v, then %v; without %v", one, again, full)
	}
	// Nor does it help to ask many times at once, among others, or with another zero.
	all := func(features string) (scores [][]float64) {
		code, body, _ := noisy.ask(t, "user", "POST", "/api/v1/models/loans/predict", `{"features":[`+features+`]}`)
		var a struct{ Predictions []struct{ Scores []float64 } }
		if err := json.Unmarshal([]byte(body), &a); code != 200 || err != nil {
			t.Fatalf("%d %s", code, body)
		}
		for _, p := range a.Predictions {
			scores = append(scores, p.Scores)
		}
		return scores
	}
	if got := all(`{"x":[1,2]},{"x":[3,4]},{"x":[1,2]}`); !slices.Equal(got[0], one) || !slices.Equal(got[2], one) || slices.Equal(got[1], one) {
		t.Errorf("noise among others: %v, alone %v", got, one)
	}
	if got := all(`{"x":[0,2]},{"x":[-0.0,2]}`); !slices.Equal(got[0], got[1]) {
		t.Errorf("noise of 0 and -0: %v", got)
	}
	// The winner stays, however much noise there is: of 200 questions with a close
	// race, none changes its label. (Without the swap about half would.)
	loud := build(t, gateway.Config{Policy: roles{policy.Clearance{Noise: 1, Round: 3}}}, loans())
	for i := range 200 {
		s := scoresOf(t, loud, fmt.Sprintf("%g,%g", 1+float64(i)/1000, 0.99))
		if s[0] < s[1] || s[0] < s[2] {
			t.Fatalf("question %d: the winner lost in %v", i, s)
		}
	}
	// A model's own clearance narrows every caller's.
	m := loans()
	m.Clearance = policy.Clearance{Label: true}
	if got := scoresOf(t, build(t, gateway.Config{}, m), "1,2"); !slices.Equal(got, []float64{0, 1, 0}) {
		t.Errorf("the model's: %v", got)
	}
}
