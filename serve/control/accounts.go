package control

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

type accountList struct {
	Accounts []identity.Account `json:"accounts"`
}

// enrolled is an account with the link that a person enrols with.
type enrolled struct {
	identity.Account
	Enrolment string `json:"enrolment,omitempty" doc:"Address at which the person sets up sign-in, once and within three days. It is not shown again."`
}

type newAccount struct {
	Kind   string   `json:"kind" enum:"person,service" doc:"A person signs in; a service has tokens only."`
	Name   string   `json:"name" minLength:"1" maxLength:"128"`
	Roles  []string `json:"roles,omitempty"`
	Groups []string `json:"groups,omitempty"`
	Reason string   `json:"reason,omitempty" maxLength:"1000" doc:"Why, for whoever reviews it."`
}

type accountChange struct {
	Roles    *[]string `json:"roles,omitempty" doc:"The roles from now on."`
	Groups   *[]string `json:"groups,omitempty" doc:"The groups from now on."`
	Disabled *bool     `json:"disabled,omitempty" doc:"Disabling ends all sessions and tokens."`
	Reason   string    `json:"reason,omitempty" maxLength:"1000" doc:"Why, for whoever reviews it."`
}

type accountID struct {
	ID string `path:"id" doc:"The account's id, or the name it signs in with."`
}

// accountEnd is an account that loses its factors, or is removed.
type accountEnd struct {
	ID     string `path:"id" doc:"The account's id, or the name it signs in with."`
	Reason string `query:"reason" maxLength:"1000" doc:"Why, for whoever reviews it."`
}

// reasonKey is where the reason of what a request asks for stands in its context.
type reasonKey struct{}

func withReason(ctx context.Context, reason string) context.Context {
	return context.WithValue(ctx, reasonKey{}, reason)
}

// Reason is why whoever made a request asks for what it does to accounts, as he put
// it: the log adds it to the entries that are made in its course.
func Reason(ctx context.Context) string {
	reason, _ := ctx.Value(reasonKey{}).(string)
	return reason
}

// accounts are people and services.
func (a *API) accounts() {
	add(a, http.MethodGet, "/me", "whoami", "Who the caller is", func(ctx context.Context, _ *nothing) (*body[redoubt.Principal], error) {
		return &body[redoubt.Principal]{callerOf(ctx).Principal}, nil
	})
	add(a, http.MethodGet, "/accounts", "list-accounts", "List accounts", func(ctx context.Context, _ *nothing) (*body[accountList], error) {
		if err := a.allow(ctx, policy.Read, policy.Resource{Kind: policy.KindUser}); err != nil {
			return nil, err
		}
		return &body[accountList]{accountList{a.cfg.Identity.Accounts()}}, nil
	})
	add(a, http.MethodPost, "/accounts", "create-account", "Create an account", a.createAccount)
	add(a, http.MethodGet, "/accounts/{id}", "get-account", "Show an account", func(ctx context.Context, in *accountID) (*body[identity.Account], error) {
		account, err := a.account(ctx, policy.Read, in.ID)
		return &body[identity.Account]{account}, err
	})
	add(a, http.MethodPatch, "/accounts/{id}", "change-account", "Change the roles or groups of an account, disable or enable it", a.changeAccount)
	add(a, http.MethodPost, "/accounts/{id}/enrolment", "reenrol-account", "Take a person's factors away and give a new enrolment link", func(ctx context.Context, in *accountEnd) (*body[enrolled], error) {
		account, err := a.account(ctx, policy.Change, in.ID)
		if err != nil {
			return nil, err
		}
		secret, err := a.cfg.Identity.Reenrol(withReason(ctx, in.Reason), callerOf(ctx).Principal, account.ID)
		return &body[enrolled]{enrolled{account, a.enrolment(secret)}}, err
	})
	add(a, http.MethodDelete, "/accounts/{id}", "remove-account", "Disable an account and take all its grants away, as when a person leaves", a.removeAccount)
}

// account finds an account and asks whether the caller may do that to it. Who may
// not learns no more of one that is not there.
func (a *API) account(ctx context.Context, action policy.Action, id string) (identity.Account, error) {
	account, err := a.cfg.Identity.Account(id)
	if denied := a.allow(ctx, action, policy.Resource{Kind: policy.KindUser, Name: account.ID, Owner: account.ID}); denied != nil {
		return identity.Account{}, denied
	}
	return account, err
}

// enrolment is the address of the page that a person enrols at. The secret is in
// its fragment, which browsers do not send and servers do not log.
func (a *API) enrolment(secret string) string {
	if secret == "" {
		return ""
	}
	return a.cfg.Origin + "/auth/enrol#" + secret
}

func (a *API) createAccount(ctx context.Context, in *struct{ Body newAccount }) (*body[enrolled], error) {
	if err := a.allow(ctx, policy.Create, policy.Resource{Kind: policy.KindUser}); err != nil {
		return nil, err
	}
	by, n := callerOf(ctx).Principal, in.Body
	ctx = withReason(ctx, n.Reason)
	if err := a.known(n.Roles); err != nil {
		return nil, err
	}
	if n.Kind == "service" {
		account, err := a.cfg.Identity.CreateService(ctx, by, n.Name, n.Roles, n.Groups)
		return &body[enrolled]{enrolled{Account: account}}, err
	}
	account, secret, err := a.cfg.Identity.CreatePerson(ctx, by, n.Name, n.Roles, n.Groups)
	return &body[enrolled]{enrolled{account, a.enrolment(secret)}}, err
}

func (a *API) changeAccount(ctx context.Context, in *struct {
	ID   string `path:"id"`
	Body accountChange
}) (*body[identity.Account], error) {
	account, err := a.account(ctx, policy.Change, in.ID)
	if err != nil {
		return nil, err
	}
	roles, groups, disabled := account.Roles, account.Groups, account.Disabled
	if in.Body.Roles != nil {
		roles = *in.Body.Roles
	}
	if in.Body.Groups != nil {
		groups = *in.Body.Groups
	}
	if in.Body.Disabled != nil {
		disabled = *in.Body.Disabled
	}
	by := callerOf(ctx).Principal
	if by.ID == account.ID && !(slices.Equal(roles, account.Roles) && slices.Equal(groups, account.Groups)) {
		return nil, huma.Error403Forbidden("nobody changes his own roles or groups: ask another administrator")
	}
	if err := a.known(roles); err != nil {
		return nil, err
	}
	if err := a.cfg.Identity.SetAccount(withReason(ctx, in.Body.Reason), by, account.ID, roles, groups, disabled); err != nil {
		return nil, err
	}
	account, err = a.cfg.Identity.Account(account.ID)
	return &body[identity.Account]{account}, err
}

// known refuses a role that no policy knows, which would have its account refused
// everything.
func (a *API) known(roles []string) error {
	for _, role := range roles {
		if err := a.cfg.Engine.Known(role); err != nil {
			return huma.Error422UnprocessableEntity(err.Error())
		}
	}
	return nil
}

func (a *API) removeAccount(ctx context.Context, in *accountEnd) (*body[removed], error) {
	account, err := a.account(ctx, policy.Delete, in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.cfg.Identity.RemoveAccount(withReason(ctx, in.Reason), callerOf(ctx).Principal, account.ID); err != nil {
		return nil, err
	}
	reason := "the account was removed"
	if in.Reason != "" {
		reason += ": " + in.Reason
	}
	grants, err := a.cfg.Keeper.Leave(ctx, change(ctx, reason), account.ID)
	return &body[removed]{removed{account.ID, grants}}, err
}

// removed is what an account had.
type removed struct {
	Account string         `json:"account"`
	Grants  []policy.Grant `json:"grants" doc:"What it was allowed to do until now."`
}
