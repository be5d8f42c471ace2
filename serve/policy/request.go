package policy

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cedar-policy/cedar-go"

	"github.com/redoubt-ml/redoubt"
)

// Kind is a kind of thing that something may be done to. Each has its actions:
// see [Actions].
type Kind string

// The kinds.
const (
	KindModel    Kind = "model"
	KindUser     Kind = "user"     // an account of a person or a service
	KindToken    Kind = "token"    // an API token; its owner is the account it acts for
	KindGrant    Kind = "grant"    // a [Grant]; its owner is the subject
	KindPolicy   Kind = "policy"   // a policy document
	KindReview   Kind = "review"   // an access review
	KindAudit    Kind = "audit"    // the audit log
	KindIncident Kind = "incident" // what a detector raised
)

// Action is what is done. With its kind it makes the action of an event:
// "model.invoke".
type Action string

// The actions.
const (
	Read   Action = "read"
	Invoke Action = "invoke"
	Deploy Action = "deploy"
	Create Action = "create"
	Change Action = "change"
	Delete Action = "delete"
)

// Actions lists what can be done to each kind. What is not listed is unknown,
// and an unknown action is refused.
var Actions = map[Kind][]Action{
	KindModel:    {Read, Invoke, Deploy, Delete},
	KindUser:     {Read, Create, Change, Delete},
	KindToken:    {Read, Create, Delete},
	KindGrant:    {Read, Create, Delete},
	KindPolicy:   {Read, Change, Delete},
	KindReview:   {Read, Create, Change},
	KindAudit:    {Read, Delete}, // to erase what tells of a person, and to hold it
	KindIncident: {Read, Change},
}

// Model is what policies may know of a model. It is not copied, and not changed
// after it was first used in a request: make another instead.
type Model struct {
	Name   string   `json:"name"`
	Stage  string   `json:"stage,omitempty"` // such as "production"
	Owner  string   `json:"owner,omitempty"` // a principal's id
	Groups []string `json:"groups,omitempty"`
	// Sensitive models want a second factor from people, for every action.
	Sensitive bool `json:"sensitive,omitempty"`
	// Open models answer everyone, even nobody: the zero principal.
	Open bool `json:"open,omitempty"`
	// Clearance is the most that any caller sees of the answers. Policies may
	// lower it for some.
	Clearance Clearance `json:"clearance,omitzero"`

	entity atomic.Pointer[cedar.Entity] // made when it is first asked about
}

// Resource is what something is to be done to.
type Resource struct {
	Kind Kind
	// Name of the model, id of the account, token, policy or review; empty for
	// the kind as a whole, such as a list of them.
	Name string
	// Owner is the id of the principal that a user, token or grant belongs to.
	Owner string
	// Model is required for models: nil says that no such model exists, and the
	// request is refused with the same answer as one without permission.
	Model *Model
}

// Context is the circumstances of a request.
type Context struct {
	Time time.Time // required
	From netip.Addr
	// Path is how the request came: "rest", "binary", "grpc", "predict", "api" or
	// "socket". No default policy looks at it.
	Path string
}

// Request asks whether a principal may do something.
type Request struct {
	Principal redoubt.Principal
	Action    Action
	Resource  Resource
	Context   Context
}

// Need is what a refused caller can show to be let through.
type Need string

// The needs, the stronger last.
const (
	Nothing      Need = ""              // nothing helps
	SecondFactor Need = "second-factor" // none was shown with this session
	StepUp       Need = "step-up"       // one was, but too long ago
)

// Decision is the answer to a [Request]. The zero value refuses.
type Decision struct {
	Allowed bool
	// Reasons are the ids of the policies that decided, sorted: those that permit
	// when allowed; those that forbid, or none if nothing permits, when not.
	Reasons []string
	// Why says in a sentence, for the log and not for the client, why the request
	// was refused. It is empty when allowed.
	Why string
	// Needs, when refused, is what would have the same request allowed.
	Needs Need
	// Clearance, when allowed, is what of the model's answer may be disclosed.
	Clearance Clearance
}
