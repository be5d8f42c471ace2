package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

// A version that may not be routed to has no engine, and the refusal says why, on
// every path; the others answer.
func TestRefusedVersions(t *testing.T) {
	m := loans()
	m.Versions[0] = gateway.Version{Name: "2", Refused: "signature: there is none"}
	m.Aliases = map[string]string{"champion": "1", "challenger": "2"}
	h := build(t, gateway.Config{}, m)
	for _, w := range ways {
		if kind, ok := w.ask(t, h, "user", "loans"); ok || kind != oip.Denied {
			t.Errorf("%s: %v %v", w.name, kind, ok)
		}
		if e := h.diary.last(t); e.Outcome != redoubt.Denied || !strings.Contains(e.Reason, "signature: there is none") {
			t.Errorf("%s: recorded as %+v", w.name, e)
		}
	}
	for path, want := range map[string]int{
		"versions/1": 200, "versions/champion": 200, "versions/2": 403, "versions/challenger": 403, "versions/3": 404,
	} {
		if code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/"+path+"/infer", row); code != want || want == 403 && !strings.Contains(body, "signature: there is none") {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	if _, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/versions/champion/infer", row); !strings.Contains(body, `"model_version":"1"`) {
		t.Errorf("the alias answers %s", body)
	}
	if code, body, _ := h.ask(t, "auditor", "POST", "/v2/models/loans/infer", row); code != 403 || strings.Contains(body, "signature") {
		t.Errorf("a stranger is told: %d %s", code, body)
	}
	if code, _, _ := h.ask(t, "user", "GET", "/v2/models/loans", ""); code != 403 {
		t.Errorf("its metadata: %d", code)
	}
	if code, body, _ := h.ask(t, "developer", "POST", "/v2/repository/index", ""); code != 200 || !strings.Contains(body, "UNAVAILABLE") {
		t.Errorf("the index: %d %s", code, body)
	}
}

// What a version was admitted by expires between two looks at it, too.
func TestAdmissionEnds(t *testing.T) {
	m := loans()
	m.Versions[0].Until = time.Now().Add(200 * time.Millisecond)
	h := build(t, gateway.Config{}, m)
	for _, w := range ways {
		if _, ok := w.ask(t, h, "user", "loans"); !ok && time.Now().Before(m.Versions[0].Until) {
			t.Errorf("%s: refused before", w.name)
		}
	}
	time.Sleep(time.Until(m.Versions[0].Until))
	for _, w := range ways {
		if kind, ok := w.ask(t, h, "user", "loans"); ok || kind != oip.Denied {
			t.Errorf("%s after: %v", w.name, kind)
		}
	}
	if e := h.diary.last(t); !strings.Contains(e.Reason, "expired") {
		t.Errorf("%+v", e)
	}
}

func TestNoDefault(t *testing.T) {
	m := loans()
	m.NoDefault = true
	h := build(t, gateway.Config{}, m)
	if code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row); code != 403 || !strings.Contains(body, "no version in production") {
		t.Errorf("%d %s", code, body)
	}
	if code, _, _ := h.ask(t, "user", "POST", "/v2/models/loans/versions/1/infer", row); code != 200 {
		t.Errorf("%d", code)
	}
}

func TestAliasesAreChecked(t *testing.T) {
	for _, aliases := range []map[string]string{{"1": "2"}, {"x": "3"}, {"a/b": "1"}, {"": "1"}} {
		m := loans()
		m.Aliases = aliases
		if _, err := gateway.NewOffer(t.Context(), gateway.Terms{}, []*gateway.Model{m}); err == nil {
			t.Errorf("%v is taken", aliases)
		}
	}
}

// A canary has its share of the callers, and a caller stays where he is; who names
// a version gets that one.
func TestCanary(t *testing.T) {
	m := loans()
	m.Canary = gateway.Canary{Version: "1", Share: 0.3}
	who := people{}
	for i := range 400 {
		who[fmt.Sprint("c", i)] = redoubt.Principal{ID: fmt.Sprint("user:", i), Roles: []string{"loans:invoke"}}
	}
	for token, p := range everybody {
		who[token] = p
	}
	h := build(t, gateway.Config{Identity: who}, m)
	version := func(token, path string) string {
		code, body, _ := h.ask(t, token, "POST", "/v2/models/loans/"+path, row)
		if code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		_, rest, _ := strings.Cut(body, `"model_version":"`)
		return rest[:1]
	}
	canaries := 0
	for i := range 400 {
		token := fmt.Sprint("c", i)
		first := version(token, "infer")
		if first == "1" {
			canaries++
			if e := h.diary.last(t); e.Details["canary"] != "1" || e.Details["version"] != "1" {
				t.Errorf("%+v", e)
			}
		}
		if i < 50 && (version(token, "infer") != first || version(token, "versions/2/infer") != "2") {
			t.Errorf("%s is led elsewhere", token)
		}
	}
	// 120 are expected of 400. The standard deviation is 9.2: outside of 75 and 165
	// in one of a million draws, and the draw is always the same.
	if canaries < 75 || canaries > 165 {
		t.Errorf("%d of 400 have the canary", canaries)
	}
	// A canary that may not be routed to has no share.
	m = loans()
	m.Versions[1] = gateway.Version{Name: "1", Refused: "scan: unsafe"}
	m.Canary = gateway.Canary{Version: "1", Share: 1}
	h = build(t, gateway.Config{}, m)
	if got := version("user", "infer"); got != "2" {
		t.Errorf("version %s answers", got)
	}
}

// A shadow is asked the same, is not heard, and is counted.
func TestShadow(t *testing.T) {
	var asked atomic.Int64
	block := make(chan bool)
	same := &scorer{fail: func(*oip.Request) error { asked.Add(1); return nil }}
	for name, c := range map[string]struct {
		shadow gateway.Version
		want   string
	}{
		"agreed":  {gateway.Version{Name: "1", Engine: same}, "agreed"},
		"differs": {gateway.Version{Name: "1", Engine: &contrary{}}, "differed"},
		"fails":   {gateway.Version{Name: "1", Engine: &scorer{fail: func(*oip.Request) error { return errors.New("broken") }}}, "failed"},
		"crashes": {gateway.Version{Name: "1", Engine: &scorer{fail: func(*oip.Request) error { panic("bug") }}}, "failed"},
		"hangs":   {gateway.Version{Name: "1", Engine: &scorer{fail: func(*oip.Request) error { <-block; return nil }}}, "skipped"},
	} {
		registry := prometheus.NewRegistry()
		m := loans()
		m.Versions[1], m.Shadow = c.shadow, "1"
		m.Clearance = policy.Clearance{Label: true} // what callers see is not what is compared
		h := build(t, gateway.Config{Metrics: gateway.NewMetrics(registry)}, m)
		for _, w := range ways {
			if _, ok := w.ask(t, h, "user", "loans"); !ok {
				t.Errorf("%s: %s is refused", name, w.name)
			}
		}
		for range 2 { // more than there is room for, where it hangs
			if code, body, _ := h.ask(t, "user", "POST", "/v2/models/loans/infer", row); code != 200 || !strings.Contains(body, `"model_version":"2"`) {
				t.Errorf("%s: %d %s", name, code, body)
			}
		}
		h.ask(t, "user", "POST", "/v2/models/loans/versions/2/infer", row) // it names a version
		want := float64(len(ways) + 2)
		if c.want == "skipped" {
			want -= 4
		}
		got := 0.0
		for began := time.Now(); got != want && time.Since(began) < 5*time.Second; time.Sleep(time.Millisecond) {
			got = counted(t, registry, c.want)
		}
		if got != want {
			t.Errorf("%s: %v are counted as %s, want %v", name, got, c.want, want)
		}
	}
	close(block)
	if n := asked.Load(); n != int64(len(ways)+2) {
		t.Errorf("the shadow was asked %d times", n)
	}
}

// contrary has another winner.
type contrary struct{ scorer }

func (c *contrary) Infer(ctx context.Context, q *oip.Request) (*oip.Response, error) {
	a, err := c.scorer.Infer(ctx, q)
	if err == nil {
		copy(a.Outputs[1].Raw, raw([]float32{1, 0, 0}))
	}
	return a, err
}

func counted(t *testing.T, r *prometheus.Registry, outcome string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "redoubt_gateway_shadow_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" && l.GetValue() == outcome {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}
