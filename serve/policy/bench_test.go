package policy

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
)

// BenchmarkDecide measures a decision with 100,000 models, 1,000 grants and no or
// 1,000 custom policies; the budget is 10 microseconds. Decisions are remembered; first
// is one that is not.
func BenchmarkDecide(b *testing.B) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	models := make([]*Model, 100_000)
	for i := range models {
		models[i] = &Model{Name: fmt.Sprint("m", i), Stage: "production", Owner: "user:owner", Groups: []string{fmt.Sprint("g", i%500)}}
	}
	var state State
	for i := range 1000 {
		state.Grants = append(state.Grants, Grant{
			ID: fmt.Sprint(i), Subject: fmt.Sprint("user:", i%300), Role: "model_user", On: fmt.Sprint("group:g", i%500),
		})
		state.Documents = append(state.Documents, Document{ID: fmt.Sprint("d", i), Text: []string{
			fmt.Sprintf(`forbid (principal, action, resource == Model::"m%d") when { context.path == "predict" };`, i),
			fmt.Sprintf(`forbid (principal, action == Action::"deploy", resource in ModelGroup::"g%d") when { context.time.toTime() < duration("8h") };`, i%500),
			fmt.Sprintf(`permit (principal == Principal::"user:%d", action == Action::"read", resource is Model);`, i),
			fmt.Sprintf(`@clearance("top=3") forbid (principal in Group::"partners%d", action == Action::"invoke", resource is Model);`, i),
		}[i%4]})
	}
	for _, n := range []int{0, 1000} {
		s := state
		s.Documents = s.Documents[:n]
		engine, err := New(Settings{}, s)
		if err != nil {
			b.Fatal(err)
		}
		requests := make([]Request, 300)
		for i := range requests {
			requests[i] = Request{
				Principal: redoubt.Principal{ID: fmt.Sprint("user:", i), Method: "token", Groups: []string{"staff", "credit", "partners3"}, Scopes: []string{"model:*:invoke"}},
				Action:    Invoke,
				Resource:  Resource{Kind: KindModel, Name: models[i].Name, Model: models[i]},
				Context:   Context{Time: now, From: netip.MustParseAddr("10.1.2.3"), Path: "grpc"},
			}
		}
		decide := func(b *testing.B, before func()) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				before()
				if d := engine.Decide(requests[i%300]); !d.Allowed {
					b.Fatal(d)
				}
			}
		}
		b.Run(fmt.Sprintf("custom=%d", n), func(b *testing.B) { decide(b, func() {}) })
		b.Run(fmt.Sprintf("custom=%d/first", n), func(b *testing.B) { decide(b, func() { clear(engine.state.Load().answers.known) }) })
	}
}
