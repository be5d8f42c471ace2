package policy

import (
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"pgregory.net/rapid"

	"github.com/redoubt-ml/redoubt"
)

// The random tests try the same cases each time; -rapid.seed and -rapid.checks
// try others, and more.
func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.seed": "1", "rapid.checks": "500"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func must(t testing.TB, settings Settings, state State) *Engine {
	t.Helper()
	e, err := New(settings, state)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func on(m *Model) Resource { return Resource{Kind: KindModel, Name: m.Name, Model: m} }

// The table of docs/permissions.md: what each role may do, with a second factor
// shown a minute ago.
func TestRoles(t *testing.T) {
	want := rolesOnPage(t)
	want[""] = ""
	e := must(t, Settings{}, State{})
	for role, actions := range want {
		var models []string
		for _, a := range RoleActions(role) {
			models = append(models, "model:"+string(a))
		}
		if len(models) > 0 && strings.Join(models, " ") != actions || len(models) == 0 && strings.Contains(actions, "model:") {
			t.Errorf("RoleActions(%q) are %v, want %q", role, models, actions)
		}
		p := redoubt.Principal{ID: "user:a", Verified: noon.Add(-time.Minute)}
		if role != "" {
			p.Roles = []string{role}
		}
		for kind, verbs := range Actions {
			for _, verb := range verbs {
				r := Resource{Kind: kind, Name: "x", Owner: "user:b"}
				if kind == KindModel {
					r.Model = &Model{Name: "x", Sensitive: true}
				}
				d := e.Decide(Request{p, verb, r, Context{Time: noon}})
				action := string(kind) + ":" + string(verb)
				if listed := slices.Contains(strings.Fields(actions), action); d.Allowed != listed {
					t.Errorf("role %q, %s: allowed %v, want %v (%+v)", role, action, d.Allowed, listed, d)
				}
				if d.Allowed && !slices.Contains(d.Reasons, role) {
					t.Errorf("role %q, %s: reasons %v do not name the role", role, action, d.Reasons)
				}
			}
		}
	}
}

// scenarios are every combination of what the default policies look at.
func scenarios() iter.Seq[Request] {
	models := []*Model{
		{Name: "loans"}, {Name: "loans", Sensitive: true}, {Name: "loans", Open: true}, {Name: "loans", Sensitive: true, Open: true},
	}
	var resources []Resource
	for _, m := range models {
		resources = append(resources, on(m))
	}
	for kind := range Actions {
		if kind != KindModel {
			resources = append(resources, Resource{Kind: kind, Name: "x", Owner: "user:a"}, Resource{Kind: kind, Name: "x", Owner: "local:0"}, Resource{Kind: kind, Name: "x", Owner: "service:a"})
		}
	}
	slices.SortFunc(resources, func(a, b Resource) int { return strings.Compare(string(a.Kind)+a.Owner, string(b.Kind)+b.Owner) })
	principals := []redoubt.Principal{{}, {ID: "user:a", Method: "password"}, {ID: "service:a", Method: "token"}, {ID: "local:0", Method: "socket"}}
	return func(yield func(Request) bool) {
		for _, p := range principals {
			for _, role := range append([]string{"", "other"}, Roles...) {
				for _, scopes := range [][]string{nil, {}, {"model:loans:*"}, {"model:*:read"}} {
					for _, age := range []time.Duration{-1, time.Minute, time.Hour} {
						for _, group := range []string{"", "permitted"} {
							p.Roles, p.Groups, p.Scopes, p.Verified = nil, nil, scopes, time.Time{}
							if role != "" {
								p.Roles = []string{role}
							}
							if group != "" {
								p.Groups = []string{group}
							}
							if age >= 0 {
								p.Verified = noon.Add(-age)
							}
							for _, r := range resources {
								for _, a := range Actions[r.Kind] {
									if !yield(Request{p, a, r, Context{Time: noon}}) {
										return
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

var scenarioState = State{Grants: []Grant{{ID: "1", Subject: "group:permitted", Permission: "model:loans:*"}}}

// judged is a scenario with the reference's answer.
type judged struct {
	Request
	allowed bool
	needs   Need
}

// judge has the reference decide every scenario. They are shuffled, for a fault
// shows in many that stand together.
func judge(s Settings) []judged {
	var out []judged
	for q := range scenarios() {
		allowed, needs := reference(&q, scenarioState.Grants, s)
		out = append(out, judged{q, allowed, needs})
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// differs is the first scenario in which policies decide otherwise than the
// reference.
func differs(c *compiled, all []judged) string {
	for _, q := range all {
		if d := c.decide(&q.Request); d.Allowed != q.allowed || d.Needs != q.needs {
			return fmt.Sprintf("%+v\n%+v\nthe reference has %v, %q", q.Request, d, q.allowed, q.needs)
		}
	}
	return ""
}

func TestEveryScenarioAgainstReference(t *testing.T) {
	for _, s := range []Settings{
		{StepUp: defaultStepUp, Roles: []string{"other"}},
		{StepUp: 2 * time.Hour, Roles: []string{"other"}, MachinesDeploy: true},
	} {
		c, err := compile(defaults, s, scenarioState)
		if err != nil {
			t.Fatal(err)
		}
		if what := differs(c, judge(s)); what != "" {
			t.Error(what)
		}
	}
}

// Each clause of the default policies is there for a reason that a test knows:
// with any policy, condition or part of a condition taken away, some scenario is
// decided otherwise.
func TestEveryClauseMatters(t *testing.T) {
	list, err := cedar.NewPolicyListFromBytes("default", []byte(defaults))
	if err != nil {
		t.Fatal(err)
	}
	// These list every action that there is for what they are about, so that one
	// that is added is not permitted by them unseen.
	complete := []string{"model_admin", "permission", "security_admin", "own-tokens"}
	settings := Settings{StepUp: defaultStepUp, Roles: []string{"other"}}
	all := judge(settings)
	n := 0
	for i := range list {
		id := string(list[i].Annotations()["id"])
		for _, m := range mutants(list[i]) {
			if m.everyAction && slices.Contains(complete, id) {
				continue
			}
			n++
			text := slices.Clone(list)
			if m.policy == nil {
				text = slices.Delete(text, i, i+1)
			} else {
				text[i] = m.policy
			}
			c, err := compile(string(text.MarshalCedar()), settings, scenarioState)
			if err != nil {
				t.Fatal(err)
			}
			if differs(c, all) == "" {
				t.Errorf("policy %s: nobody notices: %s", id, m.what)
			}
		}
	}
	if n < 60 {
		t.Errorf("only %d mutants", n)
	}
}

type mutant struct {
	what   string
	policy *cedar.Policy // nil: removed
	// everyAction: the policy was not about every action.
	everyAction bool
}

// mutants are a policy with something left out.
func mutants(p *cedar.Policy) []mutant {
	out := []mutant{{what: "without it"}}
	change := func(what string, do func(*ast.Policy)) {
		a := ast.Policy(*p.AST())
		a.Conditions = slices.Clone(a.Conditions)
		do(&a)
		text := cedar.NewPolicyFromAST((*cedarast.Policy)(&a)).MarshalCedar()
		var q cedar.Policy
		if err := q.UnmarshalCedar(text); err != nil {
			panic(fmt.Sprintf("%s: %v", text, err))
		}
		out = append(out, mutant{what + ": " + string(text), &q, what == "for every action"})
	}
	for i, c := range p.AST().Conditions {
		change("without a condition", func(a *ast.Policy) { a.Conditions = slices.Delete(a.Conditions, i, i+1) })
		for _, body := range halves(c.Body) {
			change("with half a condition", func(a *ast.Policy) { a.Conditions[i].Body = body })
		}
	}
	if _, ok := p.AST().Action.(ast.ScopeTypeAll); !ok {
		change("for every action", func(a *ast.Policy) { a.Action = ast.ScopeTypeAll{} })
	}
	if in, ok := p.AST().Action.(ast.ScopeTypeInSet); ok {
		for j := range in.Entities {
			change("with an action less", func(a *ast.Policy) {
				a.Action = ast.ScopeTypeInSet{Entities: slices.Delete(slices.Clone(in.Entities), j, j+1)}
			})
		}
	}
	return out
}

// halves are an expression with one operand of one && or || left out.
func halves(n ast.IsNode) []ast.IsNode {
	var left, right ast.IsNode
	var build func(l, r ast.IsNode) ast.IsNode
	switch n := n.(type) {
	case ast.NodeTypeAnd:
		left, right = n.Left, n.Right
		build = func(l, r ast.IsNode) ast.IsNode {
			return ast.NodeTypeAnd{BinaryNode: ast.BinaryNode{Left: l, Right: r}}
		}
	case ast.NodeTypeOr:
		left, right = n.Left, n.Right
		build = func(l, r ast.IsNode) ast.IsNode { return ast.NodeTypeOr{BinaryNode: ast.BinaryNode{Left: l, Right: r}} }
	default:
		return nil
	}
	out := []ast.IsNode{left, right}
	for _, l := range halves(left) {
		out = append(out, build(l, right))
	}
	for _, r := range halves(right) {
		out = append(out, build(left, r))
	}
	return out
}

// Random principals, models and grants, drawn from few names so that they meet.
func TestAgainstReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"loans", "churn", "fraud"})
		group := rapid.SampledFrom([]string{"credit", "retail"})
		team := rapid.SampledFrom([]string{"blue", "red"})
		id := rapid.SampledFrom([]string{"", "user:a", "user:b", "oidc:https://idp#c", "service:s", "certificate:m", "local:0", "martian:x", "user:"})
		action := rapid.SampledFrom([]Action{Read, Invoke, Deploy, Create, Change, Delete, "fly"})
		scope := rapid.Custom(func(t *rapid.T) string {
			return "model:" + rapid.SampledFrom([]string{"*", "loans", "churn"}).Draw(t, "name") + ":" + rapid.SampledFrom([]string{"*", "invoke", "read", "deploy"}).Draw(t, "action")
		})
		moment := rapid.Custom(func(t *rapid.T) time.Time {
			return noon.Add(time.Duration(rapid.Int64Range(-600, 120).Draw(t, "seconds")) * time.Second)
		})
		var grants []Grant
		for i := range rapid.IntRange(0, 6).Draw(t, "grants") {
			g := Grant{ID: fmt.Sprint(i), Subject: rapid.SampledFrom([]string{"user:a", "user:b", "service:s", "certificate:m", "oidc:https://idp#c", "group:blue", "group:red"}).Draw(t, "subject")}
			if rapid.Bool().Draw(t, "role or permission") {
				g.Role = rapid.SampledFrom(append([]string{"other"}, Roles...)).Draw(t, "role")
				g.On = "*"
				if !slices.Contains(Roles[3:], g.Role) {
					g.On = rapid.SampledFrom([]string{"*", "model:loans", "model:churn", "group:credit"}).Draw(t, "on")
				}
			} else {
				g.Permission = scope.Draw(t, "permission")
			}
			if rapid.Bool().Draw(t, "expires") {
				g.Expires = moment.Draw(t, "when")
			}
			grants = append(grants, g)
		}
		settings := Settings{MachinesDeploy: rapid.Bool().Draw(t, "machines deploy"), Roles: []string{"other"}}
		e, err := New(settings, State{Grants: grants})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			p := redoubt.Principal{
				ID:     id.Draw(t, "id"),
				Method: rapid.SampledFrom([]string{"token", "socket"}).Draw(t, "method"),
				Roles:  rapid.SliceOfN(rapid.SampledFrom(append([]string{"other", "emperor"}, Roles...)), 0, 1).Draw(t, "roles"),
				Groups: rapid.SliceOfNDistinct(team, 0, 2, rapid.ID).Draw(t, "teams"),
			}
			if rapid.Bool().Draw(t, "scoped") {
				p.Scopes = rapid.SliceOfN(scope, 0, 2).Draw(t, "scopes")
			}
			if rapid.Bool().Draw(t, "verified") {
				p.Verified = moment.Draw(t, "at")
			}
			r := Resource{Kind: rapid.SampledFrom([]Kind{KindModel, KindModel, KindModel, KindUser, KindToken, KindGrant, KindPolicy, KindReview, KindAudit, KindIncident, "cupboard"}).Draw(t, "kind")}
			r.Name, r.Owner = name.Draw(t, "name"), id.Draw(t, "owner")
			if r.Kind == KindModel && rapid.IntRange(0, 9).Draw(t, "known") > 0 {
				r.Model = &Model{
					Name: r.Name, Groups: rapid.SliceOfNDistinct(group, 0, 2, rapid.ID).Draw(t, "groups"),
					Sensitive: rapid.Bool().Draw(t, "sensitive"), Open: rapid.IntRange(0, 5).Draw(t, "open") == 0,
				}
			}
			q := Request{p, action.Draw(t, "action"), r, Context{}}
			// The same again later, earlier and at once: what is remembered must not
			// outlast a grant or a second factor.
			for _, later := range []time.Duration{0, time.Minute, -5 * time.Minute, 0} {
				q.Context.Time = noon.Add(later)
				d := e.Decide(q)
				allowed, needs := reference(&q, grants, settings)
				if d.Allowed != allowed || d.Needs != needs {
					t.Fatalf("%+v\n%+v\nthe reference has %v, %q", q, d, allowed, needs)
				}
				if !d.Allowed && d.Why == "" {
					t.Fatalf("%+v: refused without a reason", q)
				}
			}
		}
	})
}

func TestUndecidable(t *testing.T) {
	loans := &Model{Name: "loans"}
	admin := redoubt.Principal{ID: "user:a", Roles: []string{"model_admin", "security_admin"}, Verified: noon}
	with := func(change func(*Request)) Request {
		q := Request{admin, Invoke, on(loans), Context{Time: noon}}
		change(&q)
		return q
	}
	e := must(t, Settings{}, State{})
	if d := e.Decide(with(func(*Request) {})); !d.Allowed {
		t.Fatal(d)
	}
	for why, q := range map[string]Request{
		"no time":                  with(func(q *Request) { q.Context.Time = time.Time{} }),
		"unknown action":           with(func(q *Request) { q.Action = "Invoke" }),
		"unknown model":            with(func(q *Request) { q.Resource.Model = nil }),
		"described as":             with(func(q *Request) { q.Resource.Name = "churn" }),
		"unknown role":             with(func(q *Request) { q.Principal.Roles = []string{"model_admin", "Model_Admin"} }),
		"no known kind":            with(func(q *Request) { q.Principal.ID = "a" }),
		"did not come through":     with(func(q *Request) { q.Principal.ID = "local:0" }),
		`permission "user:INVOKE"`: with(func(q *Request) { q.Principal.Scopes = []string{"user:INVOKE"} }),
	} {
		if d := e.Decide(q); d.Allowed || !strings.Contains(d.Why, why) || !reflect.DeepEqual(d, Decision{Why: d.Why}) {
			t.Errorf("want a refusal because of %q, got %+v", why, d)
		}
	}
}

// A custom policy that fails while it is evaluated refuses, even one that would
// permit, for it might as well have been one that forbids.
func TestFailingPolicy(t *testing.T) {
	for _, text := range []string{
		`forbid (principal, action, resource is Model) when { context.from.isLoopback() };`,
		`permit (principal, action, resource is Model) when { context.from.isLoopback() };`,
		`@clearance("label") forbid (principal, action, resource is Model) when { context.from.isLoopback() };`,
	} {
		e := must(t, Settings{}, State{Documents: []Document{{ID: "x", Text: text}}})
		q := Request{redoubt.Principal{ID: "user:a", Roles: []string{"model_user"}}, Invoke, on(&Model{Name: "loans"}), Context{Time: noon}}
		if d := e.Decide(q); d.Allowed || !strings.Contains(d.Why, "policy x/1 fails") {
			t.Errorf("%s: %+v", text, d)
		}
	}
}

// A second factor of the near future was noted by another node's clock; one of
// the far future was not shown.
func TestSecondFactorOfTheFuture(t *testing.T) {
	e := must(t, Settings{}, State{})
	for ahead, want := range map[time.Duration]bool{0: true, time.Minute: true, time.Minute + 1: false, 24 * time.Hour: false} {
		p := redoubt.Principal{ID: "user:a", Roles: []string{"model_admin"}, Verified: noon.Add(ahead)}
		for _, a := range []Action{Invoke, Delete} {
			if d := e.Decide(Request{p, a, on(&Model{Name: "loans", Sensitive: true}), Context{Time: noon}}); d.Allowed != want {
				t.Errorf("%s, %v ahead: %+v", a, ahead, d)
			}
		}
	}
}

func TestLoadKeepsTheOldStateOnError(t *testing.T) {
	e := must(t, Settings{}, State{Grants: []Grant{{ID: "1", Subject: "user:a", Role: "model_user", On: "*"}}})
	err := e.Load(State{Grants: []Grant{{ID: "1", Subject: "user:a", Role: "emperor", On: "*"}}})
	if err == nil || !strings.Contains(err.Error(), `unknown role "emperor"`) {
		t.Error(err)
	}
	q := Request{redoubt.Principal{ID: "user:a"}, Invoke, on(&Model{Name: "loans"}), Context{Time: noon}}
	if d := e.Decide(q); !d.Allowed {
		t.Error(d)
	}
	if err := e.Load(State{}); err != nil || e.Decide(q).Allowed {
		t.Error("a grant that was taken away still holds", err)
	}
}

// Other settings hold at once, with the state there is, unless they are wrong,
// unusable with that state, or not confirmed.
func TestConfigure(t *testing.T) {
	e, err := New(Settings{Roles: []string{"visitor"}}, State{Grants: []Grant{{ID: "g", Subject: "user:1", Role: "visitor", On: "*"}}})
	if err != nil {
		t.Fatal(err)
	}
	confirmed := 0
	yes := func() error { confirmed++; return nil }
	if err := e.Configure(Settings{Roles: []string{"visitor", "guest"}}, yes); err != nil || confirmed != 1 {
		t.Fatalf("%v, confirmed %d times", err, confirmed)
	}
	if err := e.Configure(Settings{}, yes); err == nil || confirmed != 1 {
		t.Errorf("a role is gone that a grant gives: %v, confirmed %d times", err, confirmed)
	}
	if err := e.Configure(Settings{StepUp: -1, Roles: []string{"visitor"}}, yes); err == nil || confirmed != 1 {
		t.Errorf("a negative time: %v, confirmed %d times", err, confirmed)
	}
	no := errors.New("no")
	if err := e.Configure(Settings{Roles: []string{"visitor"}}, func() error { return no }); err != no {
		t.Errorf("not confirmed: %v", err)
	}
	if err := e.Check(State{Grants: []Grant{{ID: "g", Subject: "user:1", Role: "guest", On: "*"}}}); err != nil {
		t.Errorf("the role of the settings that hold: %v", err)
	}
}
