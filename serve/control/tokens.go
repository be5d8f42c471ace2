package control

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redoubt-ml/redoubt/serve/identity"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

type tokenList struct {
	Tokens []identity.Token `json:"tokens"`
}

type newToken struct {
	Account string    `json:"account,omitempty" doc:"Whose token it is: an id or a name; the caller's by default."`
	Name    string    `json:"name" minLength:"1" maxLength:"128" doc:"What it is for."`
	Scopes  []string  `json:"scopes,omitempty" doc:"What it may be used for: model:NAME:ACTION, where NAME and ACTION may be *."`
	Expires time.Time `json:"expires,omitzero" doc:"90 days from now by default, a year at most."`
}

type madeToken struct {
	identity.Token
	Secret string `json:"secret" doc:"The token. It is not shown again."`
}

type newJWT struct {
	Account string `json:"account,omitempty" doc:"Whose token it is: an id or a name; the caller's by default."`
	Model   string `json:"model" minLength:"1" maxLength:"128"`
	Level   string `json:"level" enum:"read,invoke,deploy,delete,*" doc:"What it allows on the model, if the role does."`
	Role    string `json:"role" minLength:"1" maxLength:"128" doc:"One of the account's own roles."`
}

type madeJWT struct {
	Token   string    `json:"token" doc:"The JSON Web Token. It is not shown again."`
	Expires time.Time `json:"expires"`
}

// tokens are API tokens, and those that others verify.
func (a *API) tokens() {
	add(a, http.MethodGet, "/tokens", "list-tokens", "List the tokens of an account", func(ctx context.Context, in *struct {
		Account string `query:"account" doc:"An id or a name; the caller's by default."`
	}) (*body[tokenList], error) {
		owner, err := a.owner(ctx, policy.Read, in.Account)
		if err != nil {
			return nil, err
		}
		return &body[tokenList]{tokenList{a.cfg.Identity.Tokens(owner)}}, nil
	})
	add(a, http.MethodPost, "/tokens", "create-token", "Create a token", func(ctx context.Context, in *struct{ Body newToken }) (*body[madeToken], error) {
		owner, err := a.owner(ctx, policy.Create, in.Body.Account)
		if err != nil {
			return nil, err
		}
		t, secret, err := a.cfg.Identity.CreateToken(ctx, callerOf(ctx).Principal, identity.Token{Account: owner, Name: in.Body.Name, Scopes: in.Body.Scopes, Expires: in.Body.Expires})
		return &body[madeToken]{madeToken{t, secret}}, err
	})
	add(a, http.MethodPost, "/jwts", "issue-jwt", "Issue a JSON Web Token for one model and an hour, which services that hold the key verify", func(ctx context.Context, in *struct{ Body newJWT }) (*body[madeJWT], error) {
		n := in.Body
		owner, err := a.owner(ctx, policy.Create, n.Account)
		if err != nil {
			return nil, err
		}
		token, expires, err := a.cfg.Identity.IssueJWT(ctx, callerOf(ctx).Principal, owner, n.Model, n.Level, n.Role)
		return &body[madeJWT]{madeJWT{token, expires}}, err
	})
	add(a, http.MethodDelete, "/tokens/{id}", "revoke-token", "Revoke a token, at once", func(ctx context.Context, in *struct {
		ID string `path:"id"`
	}) (*nothing, error) {
		var t identity.Token // of nobody, unless there is one
		for _, known := range a.cfg.Identity.Tokens("") {
			if known.ID == in.ID {
				t = known
			}
		}
		if err := a.allow(ctx, policy.Delete, policy.Resource{Kind: policy.KindToken, Name: in.ID, Owner: t.Account}); err != nil {
			return nil, err
		}
		if t.ID == "" {
			return nil, huma.Error404NotFound("there is no such token")
		}
		return nil, a.cfg.Identity.RevokeToken(ctx, callerOf(ctx).Principal, t.ID)
	})
}

// owner is whose tokens are spoken of, if the caller may.
func (a *API) owner(ctx context.Context, action policy.Action, account string) (string, error) {
	id := callerOf(ctx).ID
	var err error
	if account != "" {
		var found identity.Account
		found, err = a.cfg.Identity.Account(account)
		id = found.ID
	}
	if denied := a.allow(ctx, action, policy.Resource{Kind: policy.KindToken, Owner: id}); denied != nil {
		return "", denied
	}
	return id, err
}
