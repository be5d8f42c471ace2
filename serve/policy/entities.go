package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
)

// The kinds of principal, by the beginning of their id.
const (
	nobody   = "nobody"
	person   = "person"
	machine  = "machine"
	local    = "local"
	stranger = "stranger" // an id of no known form
)

func kindOf(id string) string {
	if id == "" {
		return nobody
	}
	prefix, rest, _ := strings.Cut(id, ":")
	if rest == "" || len(id) > maxID {
		return stranger
	}
	switch prefix {
	case "user", "oidc":
		return person
	case "service", "certificate":
		return machine
	case "local":
		return local
	}
	return stranger
}

// maxID bounds a principal's id, in bytes: an issuer's URL and a subject.
const maxID = 1024

// entityTypes are the types in the schema of the kinds.
var entityTypes = map[Kind]cedar.EntityType{
	KindModel: "Model", KindUser: "User", KindToken: "Token", KindGrant: "Grant",
	KindPolicy: "Policy", KindReview: "Review", KindAudit: "Audit", KindIncident: "Incident",
}

// entities are the things of one request as Cedar sees them. Only the two of the
// request have anything to see: groups are names.
type entities struct{ principal, resource cedar.Entity }

// traits are the attributes of a principal. There are few of them, and making a
// record is among the dearer parts of a decision, so the known ones are made
// beforehand.
type traits struct {
	kind, method string
	scoped       bool
}

func (t traits) record() cedar.Record {
	return cedar.NewRecord(cedar.RecordMap{
		"kind":   cedar.String(t.kind),
		"method": cedar.String(t.method),
		"scoped": cedar.Boolean(t.scoped),
	})
}

// knownTraits are those of every kind with every [redoubt.Principal.Method].
func knownTraits() map[traits]cedar.Record {
	known := map[traits]cedar.Record{}
	for _, kind := range []string{nobody, person, machine, local} {
		for _, method := range []string{"", "password", "passkey", "oidc", "token", "jwt", "certificate", "socket"} {
			for _, scoped := range []bool{false, true} {
				t := traits{kind, method, scoped}
				known[t] = t.record()
			}
		}
	}
	return known
}

func traitsOf(q *Request) traits {
	return traits{kindOf(q.Principal.ID), q.Principal.Method, q.Principal.Scopes != nil}
}

func (c *compiled) entities(q *Request) *entities {
	t := traitsOf(q)
	attributes, known := c.traits[t]
	if !known {
		attributes = t.record()
	}
	e := &entities{principal: cedar.Entity{
		UID:        cedar.NewEntityUID("Principal", cedar.String(q.Principal.ID)),
		Parents:    members("Group", q.Principal.Groups),
		Attributes: attributes,
	}}
	if q.Resource.Kind == KindModel {
		e.resource = q.Resource.Model.asEntity()
		return e
	}
	e.resource = cedar.Entity{
		UID: cedar.NewEntityUID(entityTypes[q.Resource.Kind], cedar.String(q.Resource.Name)),
		Attributes: cedar.NewRecord(cedar.RecordMap{
			"owner": owner(q.Resource.Owner),
		}),
	}
	return e
}

func (m *Model) asEntity() cedar.Entity {
	if e := m.entity.Load(); e != nil {
		return *e
	}
	e := cedar.Entity{
		UID:     cedar.NewEntityUID("Model", cedar.String(m.Name)),
		Parents: members("ModelGroup", m.Groups),
		Attributes: cedar.NewRecord(cedar.RecordMap{
			"name":      cedar.String(m.Name),
			"stage":     cedar.String(m.Stage),
			"owner":     owner(m.Owner),
			"sensitive": cedar.Boolean(m.Sensitive),
			"open":      cedar.Boolean(m.Open),
		}),
	}
	m.entity.Store(&e)
	return e
}

// Get implements [cedar.EntityGetter].
func (e *entities) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch uid {
	case e.principal.UID:
		return e.principal, true
	case e.resource.UID:
		return e.resource, true
	}
	return cedar.Entity{}, false
}

// owner is who something belongs to. What belongs to nobody must not belong to
// the nobody who calls without an account: "none" is no principal's id.
func owner(id string) cedar.EntityUID {
	if id == "" {
		id = "none"
	}
	return cedar.NewEntityUID("Principal", cedar.String(id))
}

func members(group cedar.EntityType, names []string) cedar.EntityUIDSet {
	if len(names) == 0 {
		return cedar.EntityUIDSet{}
	}
	uids := make([]cedar.EntityUID, len(names))
	for i, n := range names {
		uids[i] = cedar.NewEntityUID(group, cedar.String(n))
	}
	return cedar.NewEntityUIDSet(uids...)
}

// context is the context of the schema. It holds what is looked up in data, so that the
// policies need not. Making one takes as long as all else, so those without the time are
// remembered; where no policy looks at the time, path or address, it has another.
func (c *compiled) context(q *Request, f facts, l looks) cedar.Record {
	if l.time {
		return contextOf(q, f)
	}
	key := circumstancesOf(q, f, l)
	r, ok := c.contexts.get(key)
	if !ok {
		r = contextOf(&Request{Context: Context{Time: time.Unix(0, 0), Path: key.path, From: key.from}}, f)
		c.contexts.put(key, r)
	}
	return r
}

func contextOf(q *Request, f facts) cedar.Record {
	roles := make([]cedar.Value, len(f.roles))
	for i, r := range f.roles {
		roles[i] = cedar.String(r)
	}
	m := cedar.RecordMap{
		"time":         cedar.NewDatetime(q.Context.Time),
		"path":         cedar.String(q.Context.Path),
		"roles":        cedar.NewSet(roles...),
		"granted":      cedar.Boolean(f.granted),
		"inScope":      cedar.Boolean(f.inScope),
		"secondFactor": cedar.Boolean(f.secondFactor),
		"steppedUp":    cedar.Boolean(f.steppedUp),
	}
	if q.Context.From.IsValid() {
		from := q.Context.From.Unmap().WithZone("")
		m["from"] = cedar.IPAddr(netip.PrefixFrom(from, from.BitLen()))
	}
	return cedar.NewRecord(m)
}

// facts are what is looked up about a request at its time.
type facts struct {
	roles                                     []string // that the principal holds on the resource
	granted, inScope, secondFactor, steppedUp bool
}

func (c *compiled) facts(q *Request) (f facts, err error) {
	for _, r := range q.Principal.Roles {
		if !c.settings.knows(r) {
			return f, fmt.Errorf("the principal has the unknown role %q", clip(r))
		}
	}
	f.roles = q.Principal.Roles[:len(q.Principal.Roles):len(q.Principal.Roles)]
	c.grants.of(q, func(h held) {
		if h.role != "" {
			f.roles = append(f.roles, h.role)
		} else if q.Resource.Kind == KindModel && h.permission.Covers(q.Resource.Name, q.Action) {
			f.granted = true
		}
	})
	if f.inScope, err = inScope(q.Principal.Scopes, q); err != nil {
		return f, err
	}
	f.secondFactor, f.steppedUp = c.verified(q)
	return f, nil
}

// verified reports whether a second factor was shown, and whether recently
// enough for what is dangerous.
func (c *compiled) verified(q *Request) (once, fresh bool) {
	if q.Resource.Kind == KindModel && c.settings.MachinesDeploy && kindOf(q.Principal.ID) == machine {
		return false, true
	}
	at := q.Principal.Verified
	age := q.Context.Time.Sub(at)
	if at.IsZero() || age < -clockSkew {
		return false, false
	}
	return true, age <= c.settings.StepUp
}

// stronger is the need that, once met, leaves the other met too.
func stronger(a, b Need) Need {
	if a == StepUp || b == Nothing {
		return a
	}
	return b
}
