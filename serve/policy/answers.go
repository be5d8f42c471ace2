package policy

import (
	"strings"
	"sync"
)

// question is all that the default policies look at. They ask for no time, address
// or path, which are in it only as the facts that follow from them: equal questions
// have equal answers for as long as grants and settings stay what they are.
type question struct {
	principal    string
	traits       traits
	action       Action
	kind         Kind
	name, owner  string
	model        *Model // which does not change
	roles        string
	granted      bool
	inScope      bool
	secondFactor bool
	steppedUp    bool
}

func questionOf(q *Request, f facts) question {
	return question{
		principal: q.Principal.ID, traits: traitsOf(q), action: q.Action,
		kind: q.Resource.Kind, name: q.Resource.Name, owner: q.Resource.Owner, model: q.Resource.Model,
		roles: strings.Join(f.roles, " "), granted: f.granted, inScope: f.inScope, secondFactor: f.secondFactor, steppedUp: f.steppedUp,
	}
}

// maxAnswers bounds how many are remembered.
const maxAnswers = 4096

// answers remembers decisions: to make one costs microseconds, and most are about
// the same caller and the same model as one a moment ago.
type answers struct {
	mu    sync.RWMutex
	known map[question]Decision
}

func (a *answers) get(q question) (Decision, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	d, ok := a.known[q]
	return d, ok
}

func (a *answers) put(q question, d Decision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil || len(a.known) >= maxAnswers {
		a.known = map[question]Decision{}
	}
	a.known[q] = d
}
