package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/redoubt-ml/redoubt"
)

func TestDefaultsFitTheSchema(t *testing.T) {
	if err := (Document{ID: "x", Text: Defaults()}).Check(); err != nil {
		t.Error(err)
	}
}

// Decisions are remembered by what [question] holds. Without custom policies it has no
// group: a default that asked for one would have them wrong.
func TestDefaultsAskWhatIsRemembered(t *testing.T) {
	if strings.Contains(defaults, "Group") {
		t.Error("default.cedar asks for groups, which questions leave out")
	}
	c, err := compile(defaults, Settings{}, State{})
	if err != nil {
		t.Fatal(err)
	}
	if c.look != (looks{}) {
		t.Errorf("default.cedar asks for %+v", c.look)
	}
}

func TestLooksOf(t *testing.T) {
	for when, want := range map[string]looks{
		`true`: {},
		`context.roles.contains("a") && context.granted && context.inScope && context.secondFactor && context.steppedUp`: {},
		`context.path == "grpc"`:                                          {path: true},
		`context["path"] == "grpc"`:                                       {path: true},
		`context has from && context.from.isInRange(ip("10.0.0.0/8"))`:    {from: true},
		`context has "from"`:                                              {from: true},
		`(if true then context else context).path == "grpc"`:              {true, true, true},
		`context.time.toTime() < duration("8h")`:                          {time: true},
		`context.path == "grpc" || context.time < datetime("2026-12-01")`: {path: true, time: true},
		`{"a": context}.a.granted`:                                        {true, true, true},
		`context == {}`:                                                   {true, true, true},
		`context["later version"]`:                                        {true, true, true},
		`"context" == "a"`:                                                {true, true, true}, // for all we know
	} {
		rules, err := parse("x", `@doc("whatever the context") permit (principal, action, resource) when { `+when+` };`)
		if err != nil {
			t.Fatal(when, err)
		}
		if got := looksOf(rules[0].policy); got != want {
			t.Errorf("%s: %+v, want %+v", when, got, want)
		}
	}
}

// Engines that remember decide as engines that do not, whatever policies ask for and
// requests differ in.
func TestRememberedAsNew(t *testing.T) {
	clauses := []string{
		`permit (principal in Group::"blue", action == Action::"invoke", resource is Model);`,
		`permit (principal, action == Action::"read", resource is Model) when { principal in Group::"red" };`,
		`forbid (principal, action, resource is Model) when { context.path == "predict" };`,
		`forbid (principal, action, resource is Model) when { context has from && context.from.isInRange(ip("10.0.0.0/8")) };`,
		`forbid (principal, action, resource is Model) when { context.time.toTime() < duration("8h") };`,
		`forbid (principal, action == Action::"read", resource) when { context["time"].toTime() >= duration("20h") };`,
		`@clearance("top=3") forbid (principal in Group::"red", action == Action::"invoke", resource is Model);`,
		`@clearance("label") forbid (principal, action, resource is Model) when { context.time.toTime() > duration("12h") };`,
		`@needs("second-factor") forbid (principal, action, resource == Model::"loans") unless { context.secondFactor };`,
		`permit (principal == Principal::"user:b", action, resource is Model) when { resource.stage == "test" };`,
	}
	models := []*Model{{Name: "loans"}, {Name: "loans", Stage: "test"}, {Name: "churn", Groups: []string{"credit"}}}
	rapid.Check(t, func(t *rapid.T) {
		var state State
		for i, clause := range clauses {
			if rapid.Bool().Draw(t, clause) {
				state.Documents = append(state.Documents, Document{ID: fmt.Sprint("d", i), Text: clause})
			}
		}
		c, err := compile(defaults, Settings{StepUp: defaultStepUp}, state)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := compile(defaults, Settings{StepUp: defaultStepUp}, state)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range whole.rules.byID {
			r.look = looks{true, true, true} // is shown everything, and remembers nothing
		}
		pick := func(of ...time.Duration) *rapid.Generator[time.Duration] { return rapid.SampledFrom(of) }
		for range 60 {
			at := noon.Truncate(24 * time.Hour).Add(pick(4*time.Hour, 10*time.Hour, 21*time.Hour).Draw(t, "time"))
			q := Request{
				Principal: redoubt.Principal{
					ID: rapid.SampledFrom([]string{"user:a", "user:b"}).Draw(t, "who"), Method: "token",
					Groups:   rapid.SampledFrom([][]string{nil, {"blue"}, {"red"}, {"blue", "red"}, {"blue4:red"}}).Draw(t, "groups"),
					Verified: at.Add(-pick(time.Minute, time.Hour).Draw(t, "age")),
				},
				Action:   rapid.SampledFrom([]Action{Invoke, Read}).Draw(t, "action"),
				Resource: on(rapid.SampledFrom(models).Draw(t, "model")),
				Context: Context{
					Time: at, Path: rapid.SampledFrom([]string{"grpc", "predict"}).Draw(t, "path"),
					From: rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("192.0.2.1")}).Draw(t, "from"),
				},
			}
			f, err := c.facts(&q)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := whole.evaluate(&q, f)
			if got := c.decide(&q); !reflect.DeepEqual(got, want) {
				t.Fatalf("%+v\nremembered %+v\nevaluated %+v", q, got, want)
			}
		}
	})
}

func TestAnswersAreBounded(t *testing.T) {
	var a memory[question, Decision]
	for i := range 3 * maxKnown {
		q := question{principal: fmt.Sprint("user:", i)}
		a.put(q, Decision{Allowed: true})
		if d, ok := a.get(q); !ok || !d.Allowed {
			t.Fatal("what was just remembered is forgotten")
		}
		if len(a.known) > maxKnown {
			t.Fatalf("%d answers are remembered", len(a.known))
		}
	}
}

func TestDocumentsRefused(t *testing.T) {
	permit := `permit (principal, action == Action::"invoke", resource is Model)`
	for _, c := range []struct{ id, text, want string }{
		{"", permit + ";", "its id is empty"},
		{"a/b", permit + ";", "holds a character"},
		{"default", permit + ";", "taken"},
		{"x", "", "it holds no policy"},
		{"x", "permit (principal, action, resource", "parse error"},
		{"x", "@id(\"a\") permit (principal, action, resource is Model);\n\n@id(\"a\") " + permit + ";", `line 3: another policy has the id "a"`},
		{"x", "@clearence(\"label\") forbid (principal, action, resource);", "unknown annotation @clearence"},
		{"x", "@clearance(\"labels\") forbid (principal, action, resource);", `"labels" is none of`},
		{"x", "@clearance(\"label\") permit (principal, action, resource);", "belong to policies that forbid"},
		{"x", "@needs(\"luck\") forbid (principal, action, resource);", "is neither"},
		{"x", "@needs(\"step-up\") @clearance(\"label\") forbid (principal, action, resource);", "not both"},
		{"x", "@id(\"\") " + permit + ";", "is empty"},
		{"x", permit + ` when { context.hour < 8 };`, "policy x/1"},
		{"x", permit + ` when { resource.stage == 3 };`, "policy x/1"},
		{"x", permit + ` when { context.from.isLoopback() };`, "policy x/1"},
		{"x", `permit (principal, action == Action::"fly", resource is Model);`, "policy x/1"},
		{"x", `permit (principal, action, resource is Modle);`, "policy x/1"},
		{"x", permit + " when { " + strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100) + " };", "nests brackets deeper"},
		{"x", permit + " when { " + strings.Repeat("! ", 1000) + "true };", "in a row"},
		{"x", strings.Repeat(permit+";", 1001), "more than 1000"},
		{"x", strings.Repeat(" ", maxText+1), "bytes"},
	} {
		err := Document{ID: c.id, Text: c.text}.Check()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %.80q: error %v, want one with %q", c.id, c.text, err, c.want)
		}
	}
}

func TestCustomPolicies(t *testing.T) {
	text := `
		@id("partners") @clearance("top=3 round=2")
		forbid (principal in Group::"partners", action == Action::"invoke", resource in ModelGroup::"credit");
		@id("students") @clearance("label noise=0.1")
		forbid (principal in Group::"students", action == Action::"invoke", resource is Model);
		@id("night")
		forbid (principal, action == Action::"invoke", resource == Model::"loans")
		when { context.time.toTime() < duration("8h") };
		@id("outside") @needs("second-factor")
		forbid (principal, action, resource is Model)
		when { !(context has from && context.from.isInRange(ip("10.0.0.0/8"))) }
		unless { context.secondFactor };
		@id("owners")
		permit (principal, action == Action::"read", resource is Model)
		when { resource.owner == principal };`
	doc := Document{ID: "custom", Text: text}
	if err := doc.Check(); err != nil {
		t.Fatal(err)
	}
	e := must(t, Settings{}, State{Documents: []Document{doc}})
	loans := &Model{Name: "loans", Groups: []string{"credit"}, Owner: "user:a", Clearance: Clearance{Top: 5, Round: 4}}
	ask := func(change func(*Request)) Decision {
		q := Request{
			redoubt.Principal{ID: "user:a", Roles: []string{"model_user"}}, Invoke, on(loans),
			Context{Time: noon, From: addr("10.1.2.3")},
		}
		change(&q)
		return e.Decide(q)
	}
	for _, c := range []struct {
		name   string
		change func(*Request)
		want   Decision
	}{
		{"the model's own clearance", func(q *Request) {}, Decision{Allowed: true, Clearance: Clearance{Top: 5, Round: 4}}},
		{"a group sees less", func(q *Request) { q.Principal.Groups = []string{"partners"} }, Decision{Allowed: true, Clearance: Clearance{Top: 3, Round: 2}}},
		{"two groups see the least of both", func(q *Request) { q.Principal.Groups = []string{"partners", "students"} },
			Decision{Allowed: true, Clearance: Clearance{Label: true, Top: 3, Round: 2, Noise: 0.1}}},
		{"a clearance permits nothing", func(q *Request) { q.Principal.Groups, q.Principal.Roles = []string{"partners"}, nil }, Decision{}},
		{"at night", func(q *Request) { q.Context.Time = noon.Add(-5 * time.Hour) }, Decision{Reasons: []string{"custom/night"}}},
		{"at night and outside: a second factor alone does not help", func(q *Request) {
			q.Context.Time, q.Context.From = noon.Add(-5*time.Hour), addr("192.0.2.1")
		}, Decision{Reasons: []string{"custom/night", "custom/outside"}}},
		{"outside", func(q *Request) { q.Context.From = addr("192.0.2.1") }, Decision{Reasons: []string{"custom/outside"}, Needs: SecondFactor}},
		{"outside, without a role", func(q *Request) { q.Context.From, q.Principal.Roles = addr("192.0.2.1"), nil }, Decision{Reasons: []string{"custom/outside"}}},
		{"an IPv4 address in IPv6", func(q *Request) { q.Context.From = addr("::ffff:10.1.2.3") }, Decision{Allowed: true, Clearance: Clearance{Top: 5, Round: 4}}},
		{"the owner reads", func(q *Request) { q.Action = Read }, Decision{Allowed: true, Reasons: []string{"custom/owners"}}},
		{"another does not", func(q *Request) { q.Action, q.Principal.ID = Read, "user:b" }, Decision{}},
	} {
		got := ask(c.change)
		got.Why = ""
		if c.want.Allowed && c.want.Reasons == nil {
			c.want.Reasons = []string{"model_user"}
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// Nobody owns nothing: what has no owner is not that of a caller without an
// account.
func TestNobodyOwnsNothing(t *testing.T) {
	e := must(t, Settings{}, State{Documents: []Document{{ID: "owners", Text: `permit (principal, action == Action::"read", resource) when { resource.owner == principal };`}}})
	for _, r := range []Resource{on(&Model{Name: "loans"}), {Kind: KindUser}, {Kind: KindAudit}} {
		if d := e.Decide(Request{redoubt.Principal{}, Read, r, Context{Time: noon}}); d.Allowed {
			t.Errorf("%+v: %+v", r, d)
		}
	}
	if d := e.Decide(Request{redoubt.Principal{Roles: []string{"model_admin"}}, Read, on(&Model{Name: "loans"}), Context{Time: noon}}); d.Allowed {
		t.Errorf("a role without an account: %+v", d)
	}
}

// A policy that forbids everyone everything does not shut out who can take it
// back.
func TestLocalTakesBackAnyPolicy(t *testing.T) {
	e := must(t, Settings{}, State{Documents: []Document{{ID: "oops", Text: "forbid (principal, action, resource);"}}})
	change := Request{redoubt.Principal{ID: "user:a", Roles: []string{"security_admin"}, Verified: noon}, Change, Resource{Kind: KindPolicy, Name: "oops"}, Context{Time: noon}}
	if d := e.Decide(change); d.Allowed {
		t.Error(d)
	}
	change.Principal = redoubt.Principal{ID: "local:1000", Method: "socket"}
	if d := e.Decide(change); !d.Allowed {
		t.Error(d)
	}
}

func TestGrantsRefused(t *testing.T) {
	for want, g := range map[string]Grant{
		"it has no id":               {Subject: "user:a", Role: "model_user", On: "*"},
		"is neither an account":      {ID: "1", Subject: "a", Role: "model_user", On: "*"},
		"its group is empty":         {ID: "1", Subject: "group:", Role: "model_user", On: "*"},
		"or neither":                 {ID: "1", Subject: "user:a"},
		"both a role":                {ID: "1", Subject: "user:a", Role: "model_user", Permission: "model:*:*"},
		"unknown role":               {ID: "1", Subject: "user:a", Role: "root", On: "*"},
		`is not "*"`:                 {ID: "1", Subject: "user:a", Role: "model_user", On: "loans"},
		`"", is not`:                 {ID: "1", Subject: "user:a", Role: "model_user"},
		"is not about models":        {ID: "1", Subject: "user:a", Role: "security_admin", On: "model:loans"},
		"leave out on":               {ID: "1", Subject: "user:a", Permission: "model:loans:read", On: "*"},
		`"model:NAME:ACTION"`:        {ID: "1", Subject: "user:a", Permission: "loans:read"},
		"the action is none of":      {ID: "1", Subject: "user:a", Permission: "model:loans:create"},
		"the model's name is empty":  {ID: "1", Subject: "user:a", Permission: "model::read"},
		"a character that names do ": {ID: "1", Subject: "user:a", Permission: "model:lo*:read"},
	} {
		if err := g.Check(Settings{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want one with %q", g, err, want)
		}
	}
	if _, err := New(Settings{}, State{Grants: []Grant{{ID: "1", Subject: "user:a", Role: "auditor", On: "*"}, {ID: "1", Subject: "user:b", Role: "auditor", On: "*"}}}); err == nil {
		t.Error("two grants of one id were taken")
	}
}

func FuzzDocument(f *testing.F) {
	f.Add(Defaults())
	f.Add(`@clearance("top=3") forbid (principal in Group::"x", action in [Action::"read"], resource is Model in ModelGroup::"y") when { context.from.isLoopback() };`)
	f.Add(`permit (principal, action, resource) when { ---3 == 4 || !!!false || [[{a: 1}]].contains(principal) };`)
	f.Fuzz(func(t *testing.T, text string) {
		d := Document{ID: "x", Text: text}
		if d.Check() != nil {
			return
		}
		// What was checked is used without an error, and decides.
		e, err := New(Settings{}, State{Documents: []Document{d}})
		if err != nil {
			t.Fatal(err)
		}
		e.Decide(Request{redoubt.Principal{ID: "user:a"}, Invoke, on(&Model{Name: "loans"}), Context{Time: noon}})
	})
}

func FuzzPermission(f *testing.F) {
	f.Add("model:loans:invoke")
	f.Add("model:*:*")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePermission(s)
		if err == nil && p.String() != s {
			t.Errorf("%q is read as %q", s, p)
		}
	})
}

func FuzzClearance(f *testing.F) {
	f.Add("label")
	f.Add("top=3 round=2 noise=0.05")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseClearance(s)
		if err != nil {
			return
		}
		if again, err := ParseClearance(c.String()); err != nil || again != c {
			t.Errorf("%q is read as %v, which is read as %v, %v", s, c, again, err)
		}
		if c.Narrow(Clearance{}) != c || c.Narrow(c) != c {
			t.Errorf("%v narrowed by nothing or itself is another", c)
		}
	})
}
