package policy

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Permission is an action on a model: "model:NAME:ACTION", where either may be
// "*" for any. Grants give permissions; the scopes of a token bound them.
type Permission struct {
	Model  string
	Action Action // of those of models, or "*"
}

// ParsePermission reads "model:NAME:ACTION". A name holds no colon, no asterisk,
// no space and no control character.
func ParsePermission(s string) (Permission, error) {
	rest, ok := strings.CutPrefix(s, "model:")
	name, action, two := strings.Cut(rest, ":")
	if !ok || !two {
		return Permission{}, fmt.Errorf(`read permission %q: it is not of the form "model:NAME:ACTION"`, clip(s))
	}
	if name != "*" && !validName(name) {
		return Permission{}, fmt.Errorf("read permission %q: the model's name is empty, too long, or holds a character that names do not", clip(s))
	}
	if action != "*" && !slices.Contains(Actions[KindModel], Action(action)) {
		return Permission{}, fmt.Errorf("read permission %q: the action is none of %v and not *", clip(s), Actions[KindModel])
	}
	return Permission{name, Action(action)}, nil
}

func (p Permission) String() string { return "model:" + p.Model + ":" + string(p.Action) }

// Covers reports whether the permission holds for an action on a model.
func (p Permission) Covers(model string, action Action) bool {
	return (p.Model == "*" || p.Model == model) && (p.Action == "*" || p.Action == action)
}

// maxName bounds names of models, groups and roles, in bytes.
const maxName = 256

func validName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool {
		return r == ':' || r == '*' || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}

// clip keeps what came from outside short in an error.
func clip(s string) string {
	if len(s) <= 80 {
		return s
	}
	return strings.ToValidUTF8(s[:80], "") + "..."
}

// inScope reports whether scopes hold an action on a resource. They speak of
// models only.
func inScope(scopes []string, q *Request) (bool, error) {
	if q.Resource.Kind != KindModel {
		return false, nil
	}
	for _, s := range scopes {
		p, err := ParsePermission(s)
		if err != nil {
			return false, fmt.Errorf("scope of the credential: %w", err)
		}
		if p.Covers(q.Resource.Name, q.Action) {
			return true, nil
		}
	}
	return false, nil
}
