package redoubt

import "time"

// Principal is who acts: a person, a service account or a machine, as it proved
// itself to be. The zero value is nobody.
type Principal struct {
	// ID names the account for ever: it is never changed and never given to
	// another. "user:" and "service:" begin the ids of our own accounts,
	// "oidc:ISSUER#SUBJECT" that of a stranger with a token from an issuer we
	// trust, "certificate:" that of a machine with a client certificate, "local:"
	// that of the operating system's user who runs the server.
	ID string `json:"id"`
	// Name is for people to read, and may change.
	Name string `json:"name,omitempty"`
	// Roles and Groups are what policies speak of.
	Roles  []string `json:"roles,omitempty"`
	Groups []string `json:"groups,omitempty"`
	// Scopes, unless nil, bounds what this credential may be used for:
	// permissions of the form "model:NAME:ACTION", where NAME and ACTION may be
	// "*". It never adds to what the roles give.
	Scopes []string `json:"scopes,omitzero"`
	// Method is how the principal proved itself: "password", "passkey", "oidc",
	// "token", "jwt", "certificate" or "socket".
	Method string `json:"method,omitempty"`
	// Credential identifies the token, session or certificate used, so that it
	// can be revoked. It is not the secret.
	Credential string `json:"credential,omitempty"`
	// Verified is when a second factor (or a passkey, which is two) was last
	// shown; zero if never.
	Verified time.Time `json:"verified,omitzero"`
}

// Outcome is what became of what an [Event] tells.
type Outcome string

// The outcomes.
const (
	Allowed Outcome = "allowed" // it was done
	Denied  Outcome = "denied"  // it was refused: by permission, limit, schema or detector
	Failed  Outcome = "failed"  // it was tried, and something broke
)

// Event is one thing that was done or refused: an entry of the audit log. It
// holds no secret, and no personal data beyond who acted.
type Event struct {
	// ID is unique and sorts by time; the log sets it.
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	// Action is the class and the verb, such as "model.invoke", "session.login",
	// "token.create" or "policy.change".
	Action  string  `json:"action"`
	Outcome Outcome `json:"outcome"`
	// Reason says why it was denied or failed, the rule, the limit, the guard; or why
	// it was done, as whoever did it put it.
	Reason string `json:"reason,omitempty"`
	// Actor is a [Principal.ID], empty for nobody; Method and Credential are that
	// principal's.
	Actor      string `json:"actor,omitempty"`
	Method     string `json:"method,omitempty"`
	Credential string `json:"credential,omitempty"`
	// From is the network address it came from.
	From string `json:"from,omitempty"`
	// Resource is what it was done to, such as "model:loans" or "user:4f1c".
	Resource string `json:"resource,omitempty"`
	// Request is the id that the client was given.
	Request string `json:"request,omitempty"`
	// Before and After are the states that a change led from and to, without
	// secrets.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// Details are further facts by name.
	Details map[string]string `json:"details,omitempty"`
}
