package control

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/policy/admin"
)

type grantList struct {
	Grants []policy.Grant `json:"grants"`
}

type newGrant struct {
	Subject    string    `json:"subject" doc:"An account's id or name, or group:NAME."`
	Role       string    `json:"role,omitempty" doc:"A role, or leave it out and give a permission."`
	On         string    `json:"on,omitempty" doc:"Where the role holds: *, model:NAME or group:NAME for a group of models."`
	Permission string    `json:"permission,omitempty" doc:"model:NAME:ACTION, where NAME and ACTION may be *."`
	Expires    time.Time `json:"expires,omitzero" doc:"When it ends; never by default."`
	Reason     string    `json:"reason" doc:"Why, for whoever reviews it."`
}

// grants are roles and permissions that were given.
func (a *API) grants() {
	add(a, http.MethodGet, "/grants", "list-grants", "List grants", func(ctx context.Context, _ *nothing) (*body[grantList], error) {
		if err := a.allow(ctx, policy.Read, policy.Resource{Kind: policy.KindGrant}); err != nil {
			return nil, err
		}
		all, err := a.cfg.Keeper.Grants(ctx)
		if all == nil {
			all = []policy.Grant{}
		}
		return &body[grantList]{grantList{all}}, err
	})
	add(a, http.MethodPost, "/grants", "create-grant", "Give a role or a permission", func(ctx context.Context, in *struct{ Body newGrant }) (*body[policy.Grant], error) {
		n := in.Body
		account, err := a.cfg.Identity.Account(n.Subject)
		if err == nil {
			n.Subject = account.ID // a name stands for its account
		}
		if err != nil && ours(n.Subject) {
			if denied := a.allow(ctx, policy.Create, policy.Resource{Kind: policy.KindGrant, Owner: n.Subject}); denied != nil {
				return nil, denied
			}
			return nil, err
		}
		g, err := a.cfg.Keeper.Grant(ctx, change(ctx, n.Reason), policy.Grant{Subject: n.Subject, Role: n.Role, On: n.On, Permission: n.Permission, Expires: n.Expires})
		return &body[policy.Grant]{g}, err
	})
	add(a, http.MethodDelete, "/grants/{id}", "revoke-grant", "Take a grant away", func(ctx context.Context, in *struct {
		ID     string `path:"id"`
		Reason string `query:"reason" doc:"Why, for whoever reviews it."`
	}) (*nothing, error) {
		err := a.cfg.Keeper.Revoke(ctx, change(ctx, in.Reason), in.ID)
		if errors.Is(err, admin.ErrNotFound) { // who may not take grants away does not learn which there are
			if denied := a.allow(ctx, policy.Delete, policy.Resource{Kind: policy.KindGrant, Name: in.ID}); denied != nil {
				return nil, denied
			}
		}
		return nil, err
	})
}

// ours reports whether a subject can only be an account of ours: certificates and
// people of an issuer are given something before they come, and so are groups.
func ours(subject string) bool {
	kind, _, id := strings.Cut(subject, ":")
	return !id || kind == "user" || kind == "service"
}
