// Package policy decides who may do what to which model.
//
//	engine, err := policy.New(policy.Settings{}, policy.State{Grants: grants, Documents: documents})
//	...
//	d := engine.Decide(policy.Request{
//		Principal: who,
//		Action:    policy.Invoke,
//		Resource:  policy.Resource{Kind: policy.KindModel, Name: "loans", Model: loans},
//		Context:   policy.Context{Time: time.Now(), From: addr, Path: "grpc"},
//	})
//	if !d.Allowed { ... d.Why for the log, d.Needs for the caller ... }
//
// Roles and permissions are data: [Grant] values, found by subject and place.
// What they mean is default.cedar, a page of policies in Cedar, which anyone may
// read and nobody may switch off. Custom policies ([Document]) add to it.
//
// What it promises:
//
//   - What nothing permits is refused. What anything forbids is refused, whatever
//     permits it.
//   - What cannot be decided is refused: an unknown model, action, kind or role,
//     a scope that cannot be read, a policy that fails while it is evaluated.
//   - A credential's scopes narrow what its owner may do and never widen it.
//   - The cost of a decision does not grow with the number of models or grants,
//     nor with policies about other models, groups and principals.
//
// Package admin keeps what is decided by, and changes it with a record of who
// and why.
package policy

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cedar-policy/cedar-go"
)

// Settings are the parts of the default policies that a configuration may
// change. The zero value is the strictest.
type Settings struct {
	// StepUp is how old a second factor may be for what is dangerous: deploying
	// and deleting models, and changing users, tokens, grants and policies; 5
	// minutes if zero.
	StepUp time.Duration
	// MachinesDeploy lets service accounts and client certificates, which have no
	// second factor, deploy and delete models if a role permits it.
	MachinesDeploy bool
	// Roles are further roles, which mean what custom policies make of them.
	Roles []string
}

const (
	defaultStepUp = 5 * time.Minute
	// clockSkew is how far in the future a second factor may lie: another node
	// may have noted it.
	clockSkew = time.Minute
)

func (s Settings) knows(role string) bool {
	return slices.Contains(Roles, role) || slices.Contains(s.Roles, role)
}

// Known refuses a role that neither the default policies nor the settings know.
func (s Settings) Known(role string) error {
	if s.knows(role) {
		return nil
	}
	return fmt.Errorf("unknown role %q; the roles are %s", clip(role), strings.Join(slices.Concat(Roles, s.Roles), ", "))
}

// Check reports what cannot be meant.
func (s Settings) Check() error {
	if s.StepUp < 0 {
		return fmt.Errorf("step-up of %v is below 0", s.StepUp)
	}
	for _, r := range s.Roles {
		if !validName(r) {
			return fmt.Errorf("role %q is empty, too long or holds a character that names do not", clip(r))
		}
	}
	return nil
}

// State is what is decided by, beside the default policies.
type State struct {
	Grants    []Grant
	Documents []Document // the current version of each
}

// Engine decides. It is safe for concurrent use.
type Engine struct {
	changing sync.Mutex // held by whoever replaces the state
	state    atomic.Pointer[compiled]
}

// compiled is a [State] ready to decide.
type compiled struct {
	source   State
	settings Settings
	grants   grants
	rules    *index
	look     looks // of all policies together
	traits   map[traits]cedar.Record
	answers  memory[question, Decision]
	contexts memory[circumstances, cedar.Record]
}

// New returns an engine that decides by a state. It fails on settings, grants
// and documents that it cannot use.
func New(settings Settings, state State) (*Engine, error) {
	c, err := settings.compile(state)
	if err != nil {
		return nil, err
	}
	e := &Engine{}
	e.state.Store(c)
	return e, nil
}

// compile checks settings, and makes a state ready to be decided by.
func (s Settings) compile(state State) (*compiled, error) {
	if s.StepUp == 0 {
		s.StepUp = defaultStepUp
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("set up policies: %w", err)
	}
	c, err := compile(defaults, s, state)
	if err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}
	return c, nil
}

// Configure has the engine decide by other settings from now on. When they are
// known to be usable it calls confirm, and takes them unless that fails. On any
// error, such as a role that is gone while a grant speaks of it, it goes on with
// the settings it had.
func (e *Engine) Configure(settings Settings, confirm func() error) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	c, err := settings.compile(e.state.Load().source)
	if err != nil {
		return err
	}
	if err := confirm(); err != nil {
		return err
	}
	e.state.Store(c)
	return nil
}

// Load has the engine decide by another state from now on. On an error it goes
// on with the state it had.
func (e *Engine) Load(state State) error {
	e.changing.Lock()
	defer e.changing.Unlock()
	c, err := e.state.Load().settings.compile(state)
	if err == nil {
		e.state.Store(c)
	}
	return err
}

// Check reports why the engine could not decide by a state, if so.
func (e *Engine) Check(state State) error {
	_, err := compile(defaults, e.state.Load().settings, state)
	return err
}

// Known refuses a role that neither the default policies nor the settings know: who
// has one is refused everything.
func (e *Engine) Known(role string) error { return e.state.Load().settings.Known(role) }

// With is another engine with the same settings, that decides by another state.
func (e *Engine) With(state State) (*Engine, error) { return New(e.state.Load().settings, state) }

//go:embed default.cedar
var defaults string

func compile(defaults string, settings Settings, state State) (*compiled, error) {
	c := &compiled{source: state, settings: settings, traits: knownTraits()}
	rules, err := parse("default", defaults)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, d := range state.Documents {
		if seen[d.ID] {
			return nil, fmt.Errorf("document %q is there twice", clip(d.ID))
		}
		seen[d.ID] = true
		custom, err := d.rules()
		if err != nil {
			return nil, err
		}
		rules = append(rules, custom...)
	}
	for _, r := range rules {
		r.look = looksOf(r.policy)
		c.look = c.look.or(r.look)
	}
	c.rules = newIndex(rules)
	c.grants, err = indexGrants(state.Grants, settings)
	return c, err
}

// Decide answers a request. It does not block.
func (e *Engine) Decide(q Request) Decision {
	return e.state.Load().decide(&q)
}

func (c *compiled) decide(q *Request) Decision {
	if err := c.decidable(q); err != nil {
		return undecided(err)
	}
	f, err := c.facts(q)
	if err != nil {
		return undecided(err)
	}
	key := c.question(q, f)
	if d, ok := c.answers.get(key); ok {
		return d
	}
	d, timed := c.evaluate(q, f)
	if !timed {
		c.answers.put(key, d)
	}
	return d
}

// evaluate asks the policies. It is timed if one of them asked for the time, so that
// the answer may be another in a moment.
func (c *compiled) evaluate(q *Request, f facts) (d Decision, timed bool) {
	things := c.entities(q)
	s := c.rules.find(things, &cedar.Request{
		Principal: things.principal.UID,
		Action:    cedar.NewEntityUID("Action", cedar.String(q.Action)),
		Resource:  things.resource.UID,
	})
	s.request.Context = c.context(q, f, s.look)
	if kindOf(q.Principal.ID) == local {
		// The server's own user could change the database as well, and must be
		// able to take back a policy that forbids everyone everything.
		s.policies = s.policies.without(func(r *rule) bool { return r.custom })
		s.clearances = s.clearances.without(func(r *rule) bool { return r.custom })
	}
	return c.answer(q, s), s.look.time
}

func (c *compiled) answer(q *Request, s *selection) Decision {
	permitted, policies, err := s.authorize(s.policies)
	switch {
	case err != nil:
		return undecided(err)
	case !permitted:
		return c.refuse(s, policies)
	}
	d := Decision{Allowed: true, Reasons: policies}
	if q.Action != Invoke {
		return d
	}
	d.Clearance, err = c.clearance(s, q.Resource.Model.Clearance)
	if err != nil {
		return undecided(err)
	}
	return d
}

func undecided(err error) Decision {
	return Decision{Why: "cannot decide: " + err.Error()}
}

// decidable refuses what policies could only misunderstand.
func (c *compiled) decidable(q *Request) error {
	r := q.Resource
	switch {
	case q.Context.Time.IsZero():
		return errors.New("the request has no time")
	case kindOf(q.Principal.ID) == stranger:
		return fmt.Errorf("principal %q is of no known kind", clip(q.Principal.ID))
	case q.Principal.ID == "" && len(q.Principal.Roles)+len(q.Principal.Groups) > 0:
		return errors.New("a principal without an id has roles or groups")
	case kindOf(q.Principal.ID) == local && q.Principal.Method != "socket":
		return fmt.Errorf("principal %q did not come through the server's socket", clip(q.Principal.ID))
	case !slices.Contains(Actions[r.Kind], q.Action):
		return fmt.Errorf("unknown action %q on %q", clip(string(q.Action)), clip(string(r.Kind)))
	case r.Kind != KindModel:
		return nil
	case r.Model == nil:
		return fmt.Errorf("unknown model %q", clip(r.Name))
	case r.Model.Name != r.Name || !validName(r.Name):
		return fmt.Errorf("model %q is described as %q", clip(r.Name), clip(r.Model.Name))
	}
	return nil
}

// refuse is the decision when nothing permits or the given policies forbid. It
// says what the caller needs only if nothing else stands in the way.
func (c *compiled) refuse(s *selection, forbidding []string) Decision {
	if len(forbidding) == 0 {
		return Decision{Why: "no policy permits it"}
	}
	d := Decision{Reasons: forbidding, Why: "forbidden by " + strings.Join(forbidding, ", ")}
	var needs Need
	for _, id := range forbidding {
		need := c.rules.byID[cedar.PolicyID(id)].needs
		if need == Nothing {
			return d
		}
		needs = stronger(needs, need)
	}
	permits := s.policies.without(func(r *rule) bool { return r.policy.Effect() == cedar.Forbid })
	if permitted, _, err := s.authorize(permits); err == nil && permitted {
		d.Needs = needs
	}
	return d
}

// clearance is what a model discloses to anyone, narrowed by every policy that
// forbids more to this caller.
func (c *compiled) clearance(s *selection, most Clearance) (Clearance, error) {
	if len(s.clearances) == 0 {
		return most, nil
	}
	_, policies, err := s.authorize(s.clearances)
	for _, id := range policies {
		most = most.Narrow(*c.rules.byID[cedar.PolicyID(id)].clearance)
	}
	return most, err
}
