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
	principal   string
	traits      traits
	action      Action
	kind        Kind
	name, owner string
	model       *Model // which does not change
	circumstances
	groups string // where there are custom policies
}

func (c *compiled) question(q *Request, f facts) question {
	k := question{
		principal: q.Principal.ID, traits: traitsOf(q), action: q.Action,
		kind: q.Resource.Kind, name: q.Resource.Name, owner: q.Resource.Owner, model: q.Resource.Model,
		circumstances: circumstancesOf(q, f, c.look),
	}
	if len(c.source.Documents) > 0 {
		k.groups = joined(q.Principal.Groups)
	}
	return k
}

// circumstances are what policies may look at beside principal, action and resource, but
// the time.
type circumstances struct {
	roles                                     string
	granted, inScope, secondFactor, steppedUp bool
	path                                      string
	from                                      netip.Addr
}

// circumstancesOf leaves out what nobody looks at.
func circumstancesOf(q *Request, f facts, l looks) circumstances {
	c := circumstances{
		roles: strings.Join(f.roles, " "), granted: f.granted, inScope: f.inScope,
		secondFactor: f.secondFactor, steppedUp: f.steppedUp,
	}
	if l.path {
		c.path = q.Context.Path
	}
	if l.from {
		c.from = q.Context.From
	}
	return c
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

func (l looks) or(m looks) looks { return looks{l.path || m.path, l.from || m.from, l.time || m.time} }

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

// maxKnown bounds how much of a kind is remembered.
const maxKnown = 4096

// memory keeps what takes microseconds to make: a decision, since most are about the
// same caller and the same model as one a moment ago, and parts of one.
type memory[K comparable, V any] struct {
	mu    sync.RWMutex
	known map[K]V
}

func (m *memory[K, V]) get(k K) (V, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, ok := m.known[k]
	return v, ok
}

func (m *memory[K, V]) put(k K, v V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= maxKnown {
		m.known = map[K]V{}
	}
	m.known[k] = v
}
