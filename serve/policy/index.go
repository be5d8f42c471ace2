package policy

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// rule is a policy with what its annotations say.
type rule struct {
	id        string
	policy    *cedar.Policy
	needs     Need
	clearance *Clearance // a forbid with one forbids no more than what exceeds it
	custom    bool
	look      looks            // what it asks for beside principal, action, resource and facts
	about     cedar.EntityType // the only type of resource it may match; "" for any
	action    *cedar.EntityUID // the only action it may match; nil for any
}

// index finds the policies whose scope may match a request, for Cedar evaluates
// every policy it is given. Each policy lies at the first thing its scope names,
// of the resource, the principal and the action; one that names none is always
// looked at. A policy that is not found could not have matched, so the decision
// is that of all policies.
type index struct {
	resource  map[cedar.EntityUID][]*rule
	principal map[cedar.EntityUID][]*rule
	action    map[cedar.EntityUID][]*rule
	rest      []*rule
	byID      map[cedar.PolicyID]*rule
}

func newIndex(rules []*rule) *index {
	x := &index{
		resource:  map[cedar.EntityUID][]*rule{},
		principal: map[cedar.EntityUID][]*rule{},
		action:    map[cedar.EntityUID][]*rule{},
		byID:      map[cedar.PolicyID]*rule{},
	}
	for _, r := range rules {
		x.byID[cedar.PolicyID(r.id)] = r
		a := r.policy.AST()
		if is, ok := a.Resource.(ast.ScopeTypeIs); ok {
			r.about = is.Type
		}
		if eq, ok := a.Action.(ast.ScopeTypeEq); ok {
			r.action = &eq.Entity
		}
		if in, ok := a.Action.(ast.ScopeTypeInSet); ok && named(a.Resource) == nil && named(a.Principal) == nil {
			r.policy = anyAction(*a)
			for _, uid := range in.Entities {
				x.action[uid] = append(x.action[uid], r)
			}
			continue
		}
		if uid := named(a.Resource); uid != nil {
			x.resource[*uid] = append(x.resource[*uid], r)
		} else if uid := named(a.Principal); uid != nil {
			x.principal[*uid] = append(x.principal[*uid], r)
		} else if uid := named(a.Action); uid != nil {
			x.action[*uid] = append(x.action[*uid], r)
		} else {
			x.rest = append(x.rest, r)
		}
	}
	return x
}

// anyAction is a policy without its list of actions, for which Cedar would make a
// set at each request: where the index has it, the action is one of them.
func anyAction(p cedarast.Policy) *cedar.Policy {
	p.Action = ast.ScopeTypeAll{}
	return cedar.NewPolicyFromAST(&p)
}

// named is the one thing that a scope names, or nil.
func named(s ast.IsScopeNode) *cedar.EntityUID {
	switch s := s.(type) {
	case ast.ScopeTypeEq:
		return &s.Entity
	case ast.ScopeTypeIn:
		return &s.Entity
	case ast.ScopeTypeIsIn:
		return &s.Entity
	}
	return nil
}

// ruleset is policies to look at: what Cedar is given.
type ruleset []*rule

// All implements [cedar.PolicyIterator].
func (rs ruleset) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, r := range rs {
			if !yield(cedar.PolicyID(r.id), r.policy) {
				return
			}
		}
	}
}

// without is the rules that are not dropped.
func (rs ruleset) without(drop func(*rule) bool) ruleset {
	return slices.DeleteFunc(slices.Clone(rs), drop)
}

// selection is a request with the policies that it could match.
type selection struct {
	entities cedar.EntityGetter
	request  *cedar.Request
	// policies decide; clearances, which only narrow what is disclosed, are asked
	// when they have permitted.
	policies, clearances ruleset
	look                 looks // of them together
}

// find selects the policies that a request could match. One that lies at several
// things, or at one that is reached by several ways, may be there twice.
func (x *index) find(entities cedar.EntityGetter, request *cedar.Request) *selection {
	s := &selection{entities: entities, request: request, policies: make(ruleset, 0, 16)}
	s.at(x.resource, request.Resource, nil)
	s.at(x.principal, request.Principal, nil)
	s.at(x.action, request.Action, nil)
	s.take(x.rest)
	return s
}

// at takes what lies at an entity and at everything that it is in. Hierarchies
// may meet again, or go in circles: climbed is where it has been.
func (s *selection) at(m map[cedar.EntityUID][]*rule, uid cedar.EntityUID, climbed []cedar.EntityUID) []cedar.EntityUID {
	if len(m) == 0 {
		return climbed
	}
	s.take(m[uid])
	entity, ok := s.entities.Get(uid)
	if !ok || entity.Parents.Len() == 0 || slices.Contains(climbed, uid) {
		return climbed
	}
	climbed = append(climbed, uid)
	for parent := range entity.Parents.All() {
		climbed = s.at(m, parent, climbed)
	}
	return climbed
}

// take selects rules, but those about another kind of resource or another action.
func (s *selection) take(list []*rule) {
	for _, r := range list {
		switch {
		case r.about != "" && r.about != s.request.Resource.Type:
		case r.action != nil && *r.action != s.request.Action:
		case r.clearance != nil:
			s.clearances = append(s.clearances, r)
			s.look = s.look.or(r.look)
		default:
			s.policies = append(s.policies, r)
			s.look = s.look.or(r.look)
		}
	}
}

// authorize asks Cedar by some of the rules, and gives the ids of those that
// decided, sorted. Cedar skips a policy that fails, even one that would forbid;
// here it is an error.
func (s *selection) authorize(by ruleset) (permitted bool, policies []string, err error) {
	decision, diagnostic := cedar.Authorize(by, s.entities, *s.request)
	if len(diagnostic.Errors) > 0 {
		for _, e := range diagnostic.Errors {
			policies = append(policies, fmt.Sprintf("policy %s fails: %s", e.PolicyID, e.Message))
		}
		slices.Sort(policies)
		return false, nil, errors.New(strings.Join(slices.Compact(policies), "; "))
	}
	for _, r := range diagnostic.Reasons {
		policies = append(policies, string(r.PolicyID))
	}
	slices.Sort(policies)
	return bool(decision), slices.Compact(policies), nil
}
