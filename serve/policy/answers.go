package policy

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go"
)

// question is all that policies look at, but the time: of that it has only the facts
// that follow from it. Unless a policy asks for the time itself, equal questions have
// equal answers for as long as grants, settings and policies stay what they are.
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
	// What the default policies do not look at is in it where a custom one does.
	groups, path string
	from         netip.Addr
}

func (c *compiled) question(q *Request, f facts) question {
	k := question{
		principal: q.Principal.ID, traits: traitsOf(q), action: q.Action,
		kind: q.Resource.Kind, name: q.Resource.Name, owner: q.Resource.Owner, model: q.Resource.Model,
		roles: strings.Join(f.roles, " "), granted: f.granted, inScope: f.inScope, secondFactor: f.secondFactor, steppedUp: f.steppedUp,
	}
	if len(c.source.Documents) > 0 {
		k.groups = joined(q.Principal.Groups)
	}
	if c.look.path {
		k.path = q.Context.Path
	}
	if c.look.from {
		k.from = q.Context.From
	}
	return k
}

// joined is one string for a list, and for no other.
func joined(list []string) string {
	if len(list) == 0 {
		return ""
	}
	b := make([]byte, 0, 64)
	for _, s := range list {
		b = append(append(strconv.AppendInt(b, int64(len(s)), 10), ':'), s...)
	}
	return string(b)
}

// circumstance is a place where a policy's text, as Cedar writes it, speaks of the
// context, and of what in it.
var circumstance = regexp.MustCompile(`\bcontext\b(?:(?:\.| has )(\w+))?`)

// looks are the circumstances, of those that are no facts, that policies ask for.
type looks struct{ path, from, time bool }

// looksOf reads a policy. Where it speaks of the context in a way that is not
// understood, it may ask for anything.
func looksOf(p *cedar.Policy) (l looks) {
	bare := *p.AST()
	bare.Annotations = nil // what they say is said to people
	for _, m := range circumstance.FindAllSubmatch(cedar.NewPolicyFromAST(&bare).MarshalCedar(), -1) {
		switch string(m[1]) {
		case "roles", "granted", "inScope", "secondFactor", "steppedUp":
		case "path":
			l.path = true
		case "from":
			l.from = true
		case "time":
			l.time = true
		default:
			return looks{true, true, true}
		}
	}
	return l
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
