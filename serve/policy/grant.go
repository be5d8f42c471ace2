package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Roles lists the roles that the default policies speak of. The seed of what
// each may do stands in default.cedar.
var Roles = []string{"model_user", "model_developer", "model_admin", "auditor", "security_admin"}

// modelRoles are those that may be given for one model or a group of models.
var modelRoles = Roles[:3]

// Grant gives a role or a permission to a principal or a group.
type Grant struct {
	ID string `json:"id"`
	// Subject is a principal's id, or "group:" and a group's name.
	Subject string `json:"subject"`
	// Role is one of [Roles] or of [Settings.Roles]. Either a role or a permission
	// is given.
	Role string `json:"role,omitempty"`
	// On is where the role holds: "*" for everywhere, "model:NAME" or
	// "group:NAME" for a group of models. "auditor" and "security_admin" hold
	// everywhere or not at all.
	On string `json:"on,omitempty"`
	// Permission is of the form that [ParsePermission] reads.
	Permission string `json:"permission,omitempty"`
	// Expires is when it ends; zero for never.
	Expires time.Time `json:"expires,omitzero"`
	// By, Created and Reason document who decided to give it, when and why.
	By      string    `json:"by,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Reason  string    `json:"reason,omitempty"`
}

// Check refuses a grant that would mean nothing or something else than it says.
func (g Grant) Check(s Settings) error {
	_, _, err := g.compile(s)
	if err != nil {
		return fmt.Errorf("grant %q: %w", clip(g.ID), err)
	}
	return nil
}

// roleActions are what the default policies let the roles do with models.
var roleActions = map[string][]Action{
	"model_user":      {Invoke},
	"model_developer": {Read, Invoke, Deploy},
	"model_admin":     {Read, Invoke, Deploy, Delete},
}

// RoleActions are what the default policies let a role do with models; none for
// other roles. Custom policies may permit more and forbid some.
func RoleActions(role string) []Action { return slices.Clone(roleActions[role]) }

// Gives reports whether a grant is about a model, and the actions on it that it
// gives by the default policies, whether it has expired or not. Further roles
// give what custom policies make of them, which is not listed.
func (g Grant) Gives(m *Model) (actions []Action, about bool) {
	if g.Role == "" {
		p, err := ParsePermission(g.Permission)
		for _, a := range Actions[KindModel] {
			if err == nil && p.Covers(m.Name, a) {
				actions = append(actions, a)
			}
		}
		return actions, len(actions) > 0
	}
	if slices.Contains(Roles, g.Role) && !slices.Contains(modelRoles, g.Role) {
		return nil, false
	}
	group, isGroup := strings.CutPrefix(g.On, "group:")
	if g.On == "*" || g.On == "model:"+m.Name || isGroup && slices.Contains(m.Groups, group) {
		return RoleActions(g.Role), true
	}
	return nil, false
}

// held is what a grant gives, ready to be compared.
type held struct {
	id         string
	role       string
	permission Permission // if role is empty
	expires    time.Time
}

// compile is the place in the index that a grant is found at ("*", "model:NAME"
// or "group:NAME"), and what is found there.
func (g Grant) compile(s Settings) (on string, h held, err error) {
	h = held{id: g.ID, role: g.Role, expires: g.Expires}
	switch {
	case g.ID == "":
		return "", h, errors.New("it has no id")
	case strings.HasPrefix(g.Subject, "group:"):
		if len(g.Subject) > maxName || len(g.Subject) == len("group:") {
			return "", h, errors.New("its group is empty or too long")
		}
	case kindOf(g.Subject) != person && kindOf(g.Subject) != machine:
		return "", h, fmt.Errorf(`its subject %q is neither an account ("user:ID", "service:ID", "oidc:ISSUER#SUBJECT", "certificate:NAME") nor "group:NAME"`, clip(g.Subject))
	}
	if (g.Role == "") == (g.Permission == "") {
		return "", h, errors.New("it gives both a role and a permission, or neither")
	}
	if g.Role == "" {
		if g.On != "" {
			return "", h, errors.New("a permission says itself where it holds: leave out on")
		}
		if h.permission, err = ParsePermission(g.Permission); err != nil {
			return "", h, err
		}
		if h.permission.Model == "*" {
			return "*", h, nil
		}
		return "model:" + h.permission.Model, h, nil
	}
	if err := s.Known(g.Role); err != nil {
		return "", h, err
	}
	if g.On == "*" {
		return "*", h, nil
	}
	what, name, _ := strings.Cut(g.On, ":")
	if what != "model" && what != "group" || !validName(name) {
		return "", h, fmt.Errorf(`where it holds, %q, is not "*", "model:NAME" or "group:NAME"`, clip(g.On))
	}
	if slices.Contains(Roles, g.Role) && !slices.Contains(modelRoles, g.Role) {
		return "", h, fmt.Errorf(`role %s is not about models: it holds on "*" or not at all`, g.Role)
	}
	return g.On, h, nil
}

// grants finds what a subject holds: by subject, then by where.
type grants map[string]map[string][]held

func indexGrants(list []Grant, s Settings) (grants, error) {
	out := grants{}
	seen := map[string]bool{}
	for _, g := range list {
		on, h, err := g.compile(s)
		if err != nil {
			return nil, fmt.Errorf("grant %q: %w", clip(g.ID), err)
		}
		if seen[g.ID] {
			return nil, fmt.Errorf("grant %q is there twice", clip(g.ID))
		}
		seen[g.ID] = true
		if out[g.Subject] == nil {
			out[g.Subject] = map[string][]held{}
		}
		out[g.Subject][on] = append(out[g.Subject][on], h)
	}
	return out, nil
}

// of calls see for what the principal holds on the resource and has not expired.
func (gs grants) of(q *Request, see func(held)) {
	gs.ofSubject(q.Principal.ID, q, see)
	for _, g := range q.Principal.Groups {
		gs.ofSubject("group:"+g, q, see)
	}
}

func (gs grants) ofSubject(subject string, q *Request, see func(held)) {
	places := gs[subject]
	if places == nil {
		return
	}
	each := func(place string) {
		for _, h := range places[place] {
			if h.expires.IsZero() || q.Context.Time.Before(h.expires) {
				see(h)
			}
		}
	}
	each("*")
	if q.Resource.Kind != KindModel {
		return
	}
	each("model:" + q.Resource.Name)
	for _, g := range q.Resource.Model.Groups {
		each("group:" + g)
	}
}
