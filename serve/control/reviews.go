package control

import (
	"context"
	"net/http"
	"slices"

	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/policy/admin"
)

type reviewList struct {
	Reviews []admin.Review `json:"reviews"`
	Plans   []admin.Plan   `json:"plans"`
}

type newReview struct {
	Model  string `json:"model"`
	Days   int    `json:"days,omitempty" minimum:"0" maximum:"3660" doc:"How far back use is looked for; 90 by default."`
	Reason string `json:"reason"`
}

type newPlan struct {
	Days   int    `json:"days" minimum:"0" maximum:"3660" doc:"Between reviews; 0 ends the plan."`
	Reason string `json:"reason"`
}

type judgement struct {
	Verdict admin.Verdict `json:"verdict" enum:"keep,revoke,narrow"`
	Reason  string        `json:"reason"`
}

// access is what an account can do with a model.
type access struct {
	Account string          `json:"account"`
	Name    string          `json:"name"`
	Actions []policy.Action `json:"actions"`
	By      []string        `json:"by" doc:"The policies that permit it."`
}

type accessList struct {
	Access []access `json:"access"`
}

const lookBack = 90 // days

// reviews ask whether what was given is still needed.
func (a *API) reviews() {
	add(a, http.MethodGet, "/reviews", "list-reviews", "List reviews, and when the next are due", func(ctx context.Context, _ *nothing) (*body[reviewList], error) {
		if err := a.allow(ctx, policy.Read, policy.Resource{Kind: policy.KindReview}); err != nil {
			return nil, err
		}
		reviews, err := a.cfg.Keeper.Reviews(ctx)
		if err != nil {
			return nil, err
		}
		plans, err := a.cfg.Keeper.Plans(ctx)
		return &body[reviewList]{reviewList{append([]admin.Review{}, reviews...), append([]admin.Plan{}, plans...)}}, err
	})
	add(a, http.MethodPost, "/reviews", "open-review", "Begin a review of a model: who holds what on it, and who used it", func(ctx context.Context, in *struct{ Body newReview }) (*body[admin.Review], error) {
		days := in.Body.Days
		if days == 0 {
			days = lookBack
		}
		r, err := a.cfg.Keeper.OpenReview(ctx, change(ctx, in.Body.Reason), in.Body.Model, days)
		return &body[admin.Review]{r}, err
	})
	add(a, http.MethodPost, "/reviews/{id}/grants/{grant}", "judge-grant", "Keep a grant, take it away or narrow it", func(ctx context.Context, in *struct {
		ID    string `path:"id"`
		Grant string `path:"grant"`
		Body  judgement
	}) (*body[admin.Review], error) {
		r, err := a.cfg.Keeper.Judge(withReason(ctx, in.Body.Reason), change(ctx, in.Body.Reason), in.ID, in.Grant, in.Body.Verdict)
		return &body[admin.Review]{r}, err
	})
	add(a, http.MethodGet, "/models/{model}/access", "list-access", "Who can do what with a model, with a second factor, now: accounts that are not disabled", func(ctx context.Context, in *struct {
		Model string `path:"model"`
	}) (*body[accessList], error) {
		if err := a.allow(ctx, policy.Read, policy.Resource{Kind: policy.KindReview, Name: in.Model}); err != nil {
			return nil, err
		}
		l, err := a.access(ctx, in.Model)
		return &body[accessList]{l}, err
	})
	add(a, http.MethodPut, "/models/{model}/reviews", "plan-reviews", "Have a model reviewed again and again", func(ctx context.Context, in *struct {
		Model string `path:"model"`
		Body  newPlan
	}) (*nothing, error) {
		return nil, a.cfg.Keeper.SetPlan(ctx, change(ctx, in.Body.Reason), in.Model, in.Body.Days)
	})
}

// access is who can do what with a model, in the order of accounts.
func (a *API) access(ctx context.Context, model string) (accessList, error) {
	names := map[string]string{}
	for _, account := range a.cfg.Identity.Accounts() {
		names[account.ID] = account.Name
	}
	l := accessList{[]access{}}
	for can, err := range a.cfg.Keeper.Abilities(ctx, model) {
		if err != nil {
			return l, err
		}
		if n := len(l.Access); n == 0 || l.Access[n-1].Account != can.Principal {
			l.Access = append(l.Access, access{Account: can.Principal, Name: names[can.Principal]})
		}
		last := &l.Access[len(l.Access)-1]
		last.Actions = append(last.Actions, can.Action)
		for _, reason := range can.Reasons {
			if !slices.Contains(last.By, reason) {
				last.By = append(last.By, reason)
			}
		}
	}
	return l, nil
}
