package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/redoubt-ml/redoubt/privacy/mask"
	"github.com/redoubt-ml/redoubt/privacy/pii"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/oip"
)

// redacting looks for personal data as the program does.
type redacting struct {
	scanner *pii.Scanner
	engine  *mask.Engine
	fails   error
}

func newRedacting(t *testing.T) *redacting {
	t.Helper()
	s, err := pii.New(pii.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := mask.New(&mask.Policy{}, mask.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	return &redacting{scanner: s, engine: e}
}

func (r *redacting) Mask(ctx context.Context, text []byte) ([]byte, []string, error) {
	if r.fails != nil {
		return nil, nil, r.fails
	}
	found, err := r.scanner.Scan(ctx, text)
	if err != nil || len(found) == 0 {
		return text, nil, err
	}
	masked, err := r.engine.Text(ctx, text, found, "")
	var types []string
	for _, f := range found {
		types = append(types, f.Type)
	}
	return masked, types, err
}

// echo answers with the text that it is sent.
type echo struct{ reader }

func (*echo) Metadata(context.Context) (*oip.Metadata, error) {
	return &oip.Metadata{
		Inputs:  []oip.TensorMetadata{{Name: "text_input", Datatype: oip.BYTES, Shape: []int64{-1}}},
		Outputs: []oip.TensorMetadata{{Name: "text", Datatype: oip.BYTES, Shape: []int64{-1}}},
	}, nil
}

func (*echo) Infer(_ context.Context, q *oip.Request) (*oip.Response, error) {
	return &oip.Response{Outputs: []oip.Tensor{{Name: "text", Datatype: oip.BYTES, Shape: q.Inputs[0].Shape, Strings: q.Inputs[0].Strings}}}, nil
}

func TestPersonal(t *testing.T) {
	const secret = "4000001234567899"
	body := `{"inputs":[{"name":"text_input","datatype":"BYTES","shape":[1],"data":["my card is ` + secret + `"]}]}`
	for _, tc := range []struct {
		inputs, outputs string
		code            int
		answer, noted   string
	}{
		{"note", "", 200, secret, "personal.inputs"},
		{"mask", "", 200, "my card is [CREDIT_CARD]", "personal.inputs"},
		{"refuse", "", 422, "holds personal data (CREDIT_CARD)", "personal.inputs"},
		{"", "note", 200, secret, "personal.outputs"},
		{"", "mask", 200, "my card is [CREDIT_CARD]", "personal.outputs"},
		{"", "refuse", 503, "may not give out", "personal.outputs"},
		{"mask", "refuse", 200, "my card is [CREDIT_CARD]", "personal.inputs"},
	} {
		t.Run(tc.inputs+"/"+tc.outputs, func(t *testing.T) {
			m := texts()
			m.Versions[0].Engine = &echo{}
			data := newRedacting(t)
			m.Settings.Personal = &gateway.Personal{Inputs: tc.inputs, Outputs: tc.outputs, Data: data}
			h := build(t, gateway.Config{}, m)
			code, answer, _ := h.ask(t, "user", "POST", "/v2/models/text/infer", body)
			if code != tc.code || !strings.Contains(answer, tc.answer) {
				t.Errorf("%d %s", code, answer)
			}
			if tc.answer != secret && strings.Contains(answer, secret) {
				t.Errorf("the answer has it: %s", answer)
			}
			if e := h.diary.last(t); e.Details[tc.noted] != "CREDIT_CARD" || strings.Contains(fmt.Sprint(e), secret) {
				t.Errorf("recorded %+v", e)
			}
			// Nothing personal, nothing noted.
			code, answer, _ = h.ask(t, "user", "POST", "/v2/models/text/infer", strings.Replace(body, secret, "lost", 1))
			if e := h.diary.last(t); code != 200 || !strings.Contains(answer, "my card is lost") || e.Details[tc.noted] != "" {
				t.Errorf("%d %s %+v", code, answer, e)
			}
			// What cannot be looked at is not let through.
			data.fails = errors.New("out of order")
			if code, answer, _ := h.ask(t, "user", "POST", "/v2/models/text/infer", body); code != 500 || strings.Contains(answer, "out of order") {
				t.Errorf("%d %s", code, answer)
			}
		})
	}
}
