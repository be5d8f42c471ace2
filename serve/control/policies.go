package control

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/serve/policy/admin"
)

type documentList struct {
	// Defaults always hold; documents add to them.
	Defaults  string            `json:"defaults" doc:"The policies that always hold."`
	Schema    string            `json:"schema" doc:"What policies may speak of, in Cedar's schema language."`
	Documents []policy.Document `json:"documents"`
}

// tagged is a document with what its version is known by.
type tagged struct {
	ETag string `header:"ETag"`
	Body policy.Document
}

type documentText struct {
	Text   string `json:"text" doc:"Policies in Cedar."`
	Reason string `json:"reason" doc:"Why, for whoever reviews it."`
}

// policies are documents of custom policies.
func (a *API) policies() {
	add(a, http.MethodGet, "/policies", "list-policies", "List policies", func(ctx context.Context, _ *nothing) (*body[documentList], error) {
		if err := a.allow(ctx, policy.Read, policy.Resource{Kind: policy.KindPolicy}); err != nil {
			return nil, err
		}
		all, err := a.cfg.Keeper.Documents(ctx)
		if all == nil {
			all = []policy.Document{}
		}
		return &body[documentList]{documentList{policy.Defaults(), policy.Schema(), all}}, err
	})
	add(a, http.MethodGet, "/policies/{id}", "get-policy", "Show a document of policies", a.document)
	add(a, http.MethodGet, "/policies/{id}/versions", "list-policy-versions", "Show how a document came to be", func(ctx context.Context, in *struct {
		ID string `path:"id"`
	}) (*body[[]policy.Document], error) {
		if err := a.allow(ctx, policy.Read, policy.Resource{Kind: policy.KindPolicy, Name: in.ID}); err != nil {
			return nil, err
		}
		all, err := a.cfg.Keeper.Versions(ctx, in.ID)
		return &body[[]policy.Document]{all}, err
	})
	add(a, http.MethodPut, "/policies/{id}", "set-policy", "Set a document of policies", func(ctx context.Context, in *struct {
		ID      string `path:"id"`
		IfMatch string `header:"If-Match" doc:"The ETag of the version that is replaced; none for a new document."`
		Body    documentText
	}) (*tagged, error) {
		d, err := a.cfg.Keeper.SetDocument(ctx, change(ctx, in.Body.Reason), in.ID, in.Body.Text, in.IfMatch)
		return &tagged{admin.ETag(d), d}, err
	})
	add(a, http.MethodDelete, "/policies/{id}", "delete-policy", "Take a document out of what is decided by", func(ctx context.Context, in *struct {
		ID      string `path:"id"`
		IfMatch string `header:"If-Match"`
		Reason  string `query:"reason"`
	}) (*nothing, error) {
		return nil, a.cfg.Keeper.DeleteDocument(ctx, change(ctx, in.Reason), in.ID, in.IfMatch)
	})
	add(a, http.MethodPost, "/policies/{id}/preview", "preview-policy", "What a document would change, tried on the calls of the last month and on what accounts could do", func(ctx context.Context, in *struct {
		ID   string `path:"id"`
		Body struct {
			Text string `json:"text" doc:"Policies in Cedar; empty to try its deletion."`
		}
	}) (*body[*admin.Preview], error) {
		if err := a.allow(ctx, policy.Read, policy.Resource{Kind: policy.KindPolicy, Name: in.ID}); err != nil {
			return nil, err
		}
		p, err := a.cfg.Keeper.Preview(ctx, in.ID, in.Body.Text)
		return &body[*admin.Preview]{p}, err
	})
}

func (a *API) document(ctx context.Context, in *struct {
	ID string `path:"id"`
}) (*tagged, error) {
	if err := a.allow(ctx, policy.Read, policy.Resource{Kind: policy.KindPolicy, Name: in.ID}); err != nil {
		return nil, err
	}
	all, err := a.cfg.Keeper.Documents(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.ID == in.ID {
			return &tagged{admin.ETag(d), d}, nil
		}
	}
	return nil, huma.Error404NotFound("there is no such document")
}
