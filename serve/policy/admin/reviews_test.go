package admin

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/store"
	"github.com/redoubt-ml/redoubt/store/storetest"
)

// call writes to the log that something was done to a model.
func (o *office) call(t *testing.T, actor string, a policy.Action, ago time.Duration, outcome redoubt.Outcome) {
	t.Helper()
	err := o.log.Record(t.Context(), redoubt.Event{
		Time: noon.Add(-ago), Action: "model." + string(a), Actor: actor, Resource: "model:loans", Outcome: outcome, From: "192.0.2.1",
	})
	if err != nil {
		t.Fatal(err)
	}
}

const day = 24 * time.Hour

func TestReview(t *testing.T) { storetest.Run(t, testReview) }

func testReview(t *testing.T, db *store.DB) {
	o := open(t, db)
	wide := o.grant(t, policy.Grant{Subject: "user:a", Role: "model_admin", On: "model:loans"})
	used := o.grant(t, policy.Grant{Subject: "user:b", Role: "model_user", On: "*"})
	unused := o.grant(t, policy.Grant{Subject: "user:c", Role: "model_user", On: "group:credit"})
	team := o.grant(t, policy.Grant{Subject: "group:team", Permission: "model:*:invoke"})
	old := o.grant(t, policy.Grant{Subject: "group:old", Role: "model_user", On: "*"})
	ended := o.grant(t, policy.Grant{Subject: "user:nobody", Role: "model_user", On: "*", Expires: noon.Add(-time.Hour)})
	o.grant(t, policy.Grant{Subject: "user:a", Role: "model_admin", On: "model:churn"})
	o.grant(t, policy.Grant{Subject: "user:a", Role: "auditor", On: "*"})
	o.call(t, "user:a", policy.Deploy, 3*day, redoubt.Allowed)
	o.call(t, "user:a", policy.Invoke, 2*day, redoubt.Allowed)
	o.call(t, "user:a", policy.Delete, 2*day, redoubt.Denied)
	o.call(t, "user:b", policy.Invoke, day, redoubt.Failed)
	o.call(t, "user:c", policy.Invoke, 100*day, redoubt.Allowed)
	o.call(t, "user:member", policy.Invoke, day, redoubt.Allowed)

	if err := o.SetPlan(t.Context(), by("quarterly"), "loans", 90); err != nil {
		t.Fatal(err)
	}
	r, err := o.OpenReview(t.Context(), by("due"), "loans", 60)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		wide.ID: "wider than use > model_developer", used.ID: "", unused.ID: "unused", team.ID: "",
		old.ID: "disabled unused", ended.ID: "nobody expired unused",
	}
	got := map[string]string{}
	for _, i := range r.Items {
		got[i.Grant.ID] = strings.Join(i.Doubts, " ")
		if i.Narrower != "" {
			got[i.Grant.ID] += " > " + i.Narrower
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if u := r.Items[slices.IndexFunc(r.Items, func(i Item) bool { return i.Grant.ID == wide.ID })].Used; !u[policy.Invoke].Equal(noon.Add(-2*day)) || len(u) != 2 {
		t.Errorf("%v", u)
	}
	if plans, err := o.Plans(t.Context()); err != nil || len(plans) != 1 || !plans[0].Next.Equal(noon.Add(90*day)) {
		t.Error(plans, err)
	}

	judge := func(g policy.Grant, v Verdict) error {
		_, err := o.Judge(t.Context(), by("seen"), r.ID, g.ID, v)
		return err
	}
	for g, v := range map[*policy.Grant]Verdict{&used: Keep, &unused: Revoke, &wide: Narrow} {
		if err := judge(*g, v); err != nil {
			t.Fatal(v, err)
		}
	}
	if err := judge(used, Revoke); !errors.Is(err, ErrStale) {
		t.Errorf("decided twice: %v", err)
	}
	if err := judge(team, Narrow); err == nil || !strings.Contains(err.Error(), "no narrower role") {
		t.Error(err)
	}
	if err := judge(team, "perhaps"); err == nil {
		t.Error("an unknown verdict was taken")
	}
	if o.may("user:c", policy.Invoke) || !o.may("user:b", policy.Invoke) || !o.may("user:a", policy.Deploy) || o.may("user:a", policy.Delete) {
		t.Error("the verdicts do not hold")
	}
	own := by("mine")
	own.By.ID = "user:member"
	own.By.Groups = []string{"team"}
	if _, err := o.Judge(t.Context(), own, r.ID, team.ID, Keep); err == nil || !strings.Contains(err.Error(), "your own") {
		t.Errorf("judged by a member of the group: %v", err)
	}
	own.By.ID = "user:b"
	if _, err := o.Judge(t.Context(), own, r.ID, old.ID, Keep); err != nil {
		t.Error(err)
	}
	// A grant that was taken away meanwhile needs nothing done.
	if err := o.Revoke(t.Context(), by("x"), team.ID); err != nil {
		t.Fatal(err)
	}
	if err := judge(team, Revoke); err != nil {
		t.Error(err)
	}
	all, err := o.Reviews(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	verdicts := map[Verdict]int{}
	for _, i := range all[0].Items {
		if verdicts[i.Verdict]++; i.Verdict != "" && i.Grant.ID != old.ID && (i.By != "user:boss" || i.Reason != "seen" || !i.At.Equal(noon)) {
			t.Errorf("%+v", i)
		}
	}
	if !reflect.DeepEqual(verdicts, map[Verdict]int{"": 1, Keep: 2, Revoke: 2, Narrow: 1}) {
		t.Errorf("%v", verdicts)
	}
}

// A review lists what accounts have of their own, and what was done by other
// means; it knows what the registry records as use, and whom certificates name.
func TestReviewOfRoles(t *testing.T) {
	o := open(t, storetest.Open(t, storetest.SQLite(t)))
	o.people[0].Roles = []string{"model_developer", "auditor"}
	o.people = append(o.people, Account{Principal: redoubt.Principal{ID: "oidc:https://idp#s", Roles: []string{"model_user"}}})
	stripped := ""
	o.cfg.Strip = func(_ context.Context, by redoubt.Principal, account, role string) error {
		stripped = by.ID + " " + account + " " + role
		return nil
	}
	machine := o.grant(t, policy.Grant{Subject: "certificate:spiffe://a/b", Role: "model_user", On: "model:loans"})
	o.call(t, "user:a", "push", 3*day, redoubt.Allowed)
	o.call(t, "user:a", "promote", 2*day, redoubt.Denied)
	o.call(t, "user:a", policy.Delete, day, redoubt.Allowed) // by a grant that is gone, say
	o.call(t, "certificate:spiffe://a/b", policy.Invoke, day, redoubt.Allowed)
	o.call(t, "certificate:spiffe://a/c", policy.Invoke, day, redoubt.Allowed)
	r, err := o.OpenReview(t.Context(), by("due"), "loans", 60)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	ids := map[string]string{}
	for _, i := range r.Items {
		got = append(got, strings.TrimSpace(i.Grant.Subject+" "+i.Grant.Role+" "+i.Held+": "+strings.Join(i.Doubts, ", ")))
		ids[i.Grant.Subject] = i.Grant.ID
	}
	want := []string{
		"certificate:spiffe://a/b model_user :", "oidc:https://idp#s model_user issuer: unused", "user:a model_developer account: wider than use",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if u := r.Items[2].Used; len(u) != 1 || !u[policy.Deploy].Equal(noon.Add(-3*day)) {
		t.Errorf("user:a used %v", u)
	}
	others := []Use{{"certificate:spiffe://a/c", map[policy.Action]time.Time{policy.Invoke: noon.Add(-day)}}, {"user:a", map[policy.Action]time.Time{policy.Delete: noon.Add(-day)}}}
	if len(r.Others) != 2 || r.Others[0].Principal != others[0].Principal || r.Others[1].Principal != others[1].Principal || len(r.Others[1].Used) != 1 {
		t.Errorf("got  %v\nwant %v", r.Others, others)
	}
	judge := func(ch Change, id string) error {
		_, err := o.Judge(t.Context(), ch, r.ID, id, Revoke)
		return err
	}
	stale := by("x")
	stale.By.Verified = noon.Add(-time.Hour)
	for _, id := range []string{machine.ID, ids["user:a"]} {
		var refused *Refused
		if err := judge(stale, id); !errors.As(err, &refused) || refused.Decision.Needs != policy.StepUp || stripped != "" {
			t.Errorf("took something away without a fresh second factor: %v", err)
		}
	}
	if err := judge(by("x"), ids["oidc:https://idp#s"]); !errors.Is(err, ErrInput) {
		t.Errorf("took away what an issuer gives: %v", err)
	}
	if err := judge(by("left"), ids["user:a"]); err != nil || stripped != "user:boss user:a model_developer" {
		t.Errorf("%q, %v", stripped, err)
	}
	events := o.events(t)
	for _, e := range events {
		if e.Action == "review.create" && (e.Details["items"] != "3" || e.Details["others"] != "2" || len(e.Details["sha256"]) != 64) {
			t.Errorf("%+v", e)
		}
	}
	if last := events[len(events)-1]; last.Action != "review.change" || last.Details["verdict"] != "revoke" {
		t.Errorf("%+v", last)
	}
}

func TestAbilities(t *testing.T) {
	o := open(t, storetest.Open(t, storetest.SQLite(t)))
	o.grant(t, policy.Grant{Subject: "user:a", Role: "model_developer", On: "group:credit"})
	o.grant(t, policy.Grant{Subject: "group:team", Permission: "model:churn:read"})
	o.grant(t, policy.Grant{Subject: "user:gone", Role: "model_admin", On: "*"})
	var got []string
	for a, err := range o.Abilities(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Principal+" "+string(a.Action)+" "+a.Model+" "+strings.Join(a.Reasons, ","))
	}
	want := []string{
		"user:a read loans model_developer", "user:a invoke loans model_developer", "user:a deploy loans model_developer",
		"user:member read churn permission",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for a, err := range o.Abilities(t.Context(), "churn") {
		if err != nil || a.Model != "churn" {
			t.Error(a, err)
		}
	}
	for _, err := range o.Abilities(t.Context(), "none") {
		if !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
}

func TestPreview(t *testing.T) {
	o := open(t, storetest.Open(t, storetest.SQLite(t)))
	o.grant(t, policy.Grant{Subject: "user:a", Role: "model_user", On: "*"})
	o.grant(t, policy.Grant{Subject: "user:b", Role: "model_user", On: "model:loans"})
	o.call(t, "user:a", policy.Invoke, 40*day, redoubt.Allowed) // too long ago
	o.call(t, "user:a", policy.Invoke, 2*day, redoubt.Allowed)
	o.call(t, "user:a", policy.Invoke, day, redoubt.Allowed)
	o.call(t, "user:b", policy.Invoke, day, redoubt.Allowed)
	o.call(t, "user:former", policy.Invoke, day, redoubt.Allowed)
	p, err := o.Preview(t.Context(), "new", `
		forbid (principal == Principal::"user:a", action == Action::"invoke", resource == Model::"loans");
		@clearance("label") forbid (principal == Principal::"user:b", action == Action::"invoke", resource is Model);
		permit (principal == Principal::"user:c", action == Action::"read", resource == Model::"churn");`)
	if err != nil {
		t.Fatal(err)
	}
	want := &Preview{
		Calls: 3, Unknown: 1,
		Past: []Difference{
			{Principal: "user:a", Action: policy.Invoke, Model: "loans", Now: true, Calls: 2, Last: noon.Add(-day)},
			{Principal: "user:b", Action: policy.Invoke, Model: "loans", Now: true, Then: true, ClearanceNow: "all", ClearanceThen: "label", Calls: 1, Last: noon.Add(-day)},
		},
		Could: []Difference{
			{Principal: "user:a", Action: policy.Invoke, Model: "loans", Now: true},
			{Principal: "user:b", Action: policy.Invoke, Model: "loans", Now: true, Then: true, ClearanceNow: "all", ClearanceThen: "label"},
			{Principal: "user:c", Action: policy.Read, Model: "churn", Then: true},
		},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	if o.may("user:a", policy.Invoke) == false {
		t.Error("the preview changed what is decided")
	}
	if _, err := o.Preview(t.Context(), "new", "permit (principal, action, resource is Modle);"); err == nil {
		t.Error("a document that does not fit the schema was previewed")
	}
}
