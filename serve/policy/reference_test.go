package policy

import (
	"slices"
	"strings"
	"time"
)

// reference decides by the rules as docs/permissions.md states them, in plain
// conditions and without Cedar, indexes or caches. It was written from the page,
// not from default.cedar.
func reference(q *Request, grants []Grant, s Settings) (allowed bool, needs Need) {
	if unknown(q, s) {
		return false, Nothing
	}
	kind, _, _ := strings.Cut(q.Principal.ID, ":")
	isLocal := kind == "local"
	isMachine := kind == "service" || kind == "certificate"
	isPerson := kind == "user" || kind == "oidc"
	isModel := q.Resource.Kind == KindModel
	own := q.Principal.ID != "" && q.Resource.Owner == q.Principal.ID && !isModel

	if !permitted(q, grants, isLocal, own && isPerson) {
		return false, Nothing
	}
	if q.Principal.Scopes != nil && !covered(q.Principal.Scopes, q) {
		return false, Nothing
	}
	if q.Resource.Kind == KindGrant && q.Action == Create && own && !isLocal {
		return false, Nothing
	}
	if isLocal {
		return true, Nothing
	}

	shown, fresh := factor(q, s)
	dangerous := isModel && (q.Action == Deploy || q.Action == Delete)
	administers := !isModel
	switch q.Resource.Kind {
	case KindUser:
		dangerous = q.Action != Read
		administers = !own || q.Action != Read
	case KindToken:
		dangerous = q.Action == Create
		administers = !own
	case KindGrant, KindPolicy, KindAudit:
		dangerous = q.Action != Read
	}
	if dangerous && !fresh && !(isModel && isMachine && s.MachinesDeploy) {
		needs = StepUp
	}
	if administers && !shown || isModel && q.Resource.Model.Sensitive && !isMachine && !shown {
		needs = stronger(needs, SecondFactor)
	}
	return needs == Nothing, needs
}

func unknown(q *Request, s Settings) bool {
	if id := q.Principal.ID; id != "" {
		prefix, rest, _ := strings.Cut(id, ":")
		if rest == "" || !strings.Contains(" user oidc service certificate local ", " "+prefix+" ") {
			return true
		}
		if prefix == "local" && q.Principal.Method != "socket" {
			return true
		}
	}
	if q.Principal.ID == "" && (len(q.Principal.Roles) > 0 || len(q.Principal.Groups) > 0) {
		return true
	}
	for _, r := range q.Principal.Roles {
		if !strings.Contains(" model_user model_developer model_admin auditor security_admin ", " "+r+" ") && !slices.Contains(s.Roles, r) {
			return true
		}
	}
	for _, scope := range q.Principal.Scopes {
		if parts := strings.Split(scope, ":"); len(parts) != 3 || parts[0] != "model" {
			return true
		}
	}
	verbs := map[Kind]string{
		KindModel: "read invoke deploy delete", KindUser: "read create change delete", KindToken: "read create delete",
		KindGrant: "read create delete", KindPolicy: "read change delete", KindReview: "read create change",
		KindAudit: "read delete", KindIncident: "read change",
	}[q.Resource.Kind]
	return q.Context.Time.IsZero() ||
		q.Action == "" || !slices.Contains(strings.Fields(verbs), string(q.Action)) ||
		q.Resource.Kind == KindModel && q.Resource.Model == nil
}

func permitted(q *Request, grants []Grant, isLocal, ownOfPerson bool) bool {
	model := q.Resource.Kind == KindModel
	if model && q.Resource.Model.Open && q.Action == Invoke {
		return true
	}
	if isLocal && q.Action != Invoke {
		return true
	}
	if ownOfPerson && (q.Resource.Kind == KindToken || q.Resource.Kind == KindUser && q.Action == Read) {
		return true
	}
	roles := slices.Clone(q.Principal.Roles)
	for _, g := range grants {
		if g.Subject != q.Principal.ID && !slices.ContainsFunc(q.Principal.Groups, func(n string) bool { return g.Subject == "group:"+n }) {
			continue
		}
		if !g.Expires.IsZero() && !q.Context.Time.Before(g.Expires) {
			continue
		}
		if g.Permission != "" {
			if model && covered([]string{g.Permission}, q) {
				return true
			}
			continue
		}
		in := func(name string) bool { return model && slices.Contains(q.Resource.Model.Groups, name) }
		if g.On == "*" || model && g.On == "model:"+q.Resource.Name || strings.HasPrefix(g.On, "group:") && in(g.On[6:]) {
			roles = append(roles, g.Role)
		}
	}
	return slices.ContainsFunc(roles, func(r string) bool { return may(r, q) })
}

func may(role string, q *Request) bool {
	switch role {
	case "model_user":
		return q.Resource.Kind == KindModel && q.Action == Invoke
	case "model_developer":
		return q.Resource.Kind == KindModel && q.Action != Delete
	case "model_admin":
		return q.Resource.Kind == KindModel
	case "auditor":
		return q.Action == Read && !slices.Contains([]Kind{KindModel, KindUser, KindToken}, q.Resource.Kind)
	case "security_admin":
		return q.Resource.Kind != KindModel && (q.Resource.Kind != KindAudit || q.Action == Delete)
	}
	return false
}

func covered(permissions []string, q *Request) bool {
	if q.Resource.Kind != KindModel {
		return false
	}
	return slices.ContainsFunc(permissions, func(p string) bool {
		parts := strings.Split(p, ":")
		return (parts[1] == "*" || parts[1] == q.Resource.Name) && (parts[2] == "*" || parts[2] == string(q.Action))
	})
}

func factor(q *Request, s Settings) (shown, fresh bool) {
	if q.Principal.Verified.IsZero() {
		return false, false
	}
	age := q.Context.Time.Sub(q.Principal.Verified)
	limit := s.StepUp
	if limit == 0 {
		limit = 5 * time.Minute
	}
	return age >= -time.Minute, age >= -time.Minute && age <= limit
}
