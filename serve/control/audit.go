package control

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/gateway"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/watch/audit"
)

type checkpoint struct {
	Origin string `json:"origin" doc:"The log's name."`
	Size   int64  `json:"size" doc:"Entries."`
	Note   string `json:"note" doc:"The signed checkpoint (C2SP tlog-checkpoint)."`
}

type eventList struct {
	Events []redoubt.Event `json:"events"`
	More   bool            `json:"more" doc:"Whether earlier ones fit, too."`
}

type proof struct {
	Entry int64  `json:"entry"`
	Proof string `json:"proof" doc:"In the form of C2SP tlog-proof."`
}

type holdList struct {
	Holds []audit.Hold `json:"holds"`
}

type newHold struct {
	ID      string `json:"id" pattern:"^[A-Za-z0-9._-]{1,64}$" doc:"Such as the number of the case."`
	Reason  string `json:"reason" minLength:"1" maxLength:"1000"`
	Subject string `json:"subject,omitempty" maxLength:"256" doc:"Whose erasure is held; everyone's if empty."`
}

type erasure struct {
	Subject string `json:"subject" minLength:"1" maxLength:"256" doc:"The person, as events name actors: user:4f1c."`
	Reason  string `json:"reason" minLength:"1" maxLength:"1000"`
}

// record reads the log, proves what is in it, and holds and erases. (The operations
// on the audit log.)
func (a *API) record() {
	onLog := policy.Resource{Kind: policy.KindAudit}
	add(a, http.MethodGet, "/audit/checkpoint", "audit-checkpoint", "The newest checkpoint that the log has signed", func(ctx context.Context, _ *nothing) (*body[checkpoint], error) {
		if err := a.allow(ctx, policy.Read, onLog); err != nil {
			return nil, err
		}
		c := a.cfg.Log.Checkpoint()
		return &body[checkpoint]{checkpoint{c.Origin, c.Size, string(c.Note)}}, nil
	})
	add(a, http.MethodGet, "/audit/events", "list-events", "The newest events that fit", func(ctx context.Context, in *struct {
		Action   string    `query:"action" doc:"Whole, or from the beginning where it ends with a dot: policy."`
		Actor    string    `query:"actor"`
		Resource string    `query:"resource" doc:"Whole, or from the beginning where it ends with a colon: model:"`
		Request  string    `query:"request"`
		Outcome  string    `query:"outcome" enum:"allowed,denied,failed"`
		From     time.Time `query:"from"`
		To       time.Time `query:"to"`
		Limit    int       `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	}) (*body[eventList], error) {
		if err := a.allow(ctx, policy.Read, onLog); err != nil {
			return nil, err
		}
		l, err := newest(ctx, a.cfg.Log.Dir(), in.Limit, audit.Filter{
			From: in.From, To: in.To, Actor: in.Actor, Request: in.Request, Action: in.Action, Resource: in.Resource, Outcome: redoubt.Outcome(in.Outcome),
		})
		return &body[eventList]{l}, err
	})
	add(a, http.MethodGet, "/audit/proofs/{entry}", "prove-entry", "Prove that an entry is in the log", func(ctx context.Context, in *struct {
		Entry     int64 `path:"entry" minimum:"1"`
		Witnessed bool  `query:"witnessed" doc:"Against the newest checkpoint that witnesses signed."`
	}) (*body[proof], error) {
		if err := a.allow(ctx, policy.Read, onLog); err != nil {
			return nil, err
		}
		p, err := audit.Prove(ctx, a.cfg.Log.Dir(), in.Entry, in.Witnessed)
		if errors.Is(err, audit.ErrNoEntry) {
			return nil, huma.Error404NotFound(err.Error())
		}
		if err != nil {
			return nil, err
		}
		text, err := p.MarshalText()
		return &body[proof]{proof{in.Entry, string(text)}}, err
	})
	a.retention(onLog)
}

// retention are the operations on what stays in the log.
func (a *API) retention(onLog policy.Resource) {
	add(a, http.MethodGet, "/audit/holds", "list-holds", "List the legal holds that stand", func(ctx context.Context, _ *nothing) (*body[holdList], error) {
		if err := a.allow(ctx, policy.Read, onLog); err != nil {
			return nil, err
		}
		holds, err := audit.Holds(a.cfg.Log.Dir())
		return &body[holdList]{holdList{append([]audit.Hold{}, holds...)}}, err
	})
	add(a, http.MethodPost, "/audit/holds", "begin-hold", "Keep everything, for as long as a proceeding lasts", func(ctx context.Context, in *struct{ Body newHold }) (*nothing, error) {
		if err := a.allow(ctx, policy.Delete, onLog); err != nil {
			return nil, err
		}
		return nil, kept(a.cfg.Log.Hold(ctx, audit.Hold{ID: in.Body.ID, Reason: in.Body.Reason, Subject: in.Body.Subject}, by(ctx)))
	})
	add(a, http.MethodDelete, "/audit/holds/{id}", "end-hold", "End a legal hold", func(ctx context.Context, in *struct {
		ID     string `path:"id"`
		Reason string `query:"reason" required:"true"`
	}) (*nothing, error) {
		if err := a.allow(ctx, policy.Delete, onLog); err != nil {
			return nil, err
		}
		e := by(ctx)
		e.Reason = in.Reason
		return nil, kept(a.cfg.Log.Release(ctx, in.ID, e))
	})
	add(a, http.MethodPost, "/audit/erasures", "erase-subject", "Destroy the key of what the log tells of a person; it cannot be undone", func(ctx context.Context, in *struct{ Body erasure }) (*nothing, error) {
		if err := a.allow(ctx, policy.Delete, onLog); err != nil {
			return nil, err
		}
		e := by(ctx)
		e.Reason = in.Body.Reason
		return nil, kept(a.cfg.Log.Erase(ctx, in.Body.Subject, e))
	})
}

// kept is what a client is told of what cannot be held or erased.
func kept(err error) error {
	switch {
	case errors.Is(err, audit.ErrNoEntry):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, audit.ErrHeld):
		return huma.Error409Conflict(err.Error())
	}
	return err
}

// by is an event that says who does something to the log.
func by(ctx context.Context) redoubt.Event {
	c := callerOf(ctx)
	e := redoubt.Event{Actor: c.ID, Method: c.Method, Credential: c.Credential, Request: gateway.RequestID(ctx)}
	if c.from.IsValid() {
		e.From = c.from.String()
	}
	return e
}

// newest are the last events of a log that fit, oldest first.
func newest(ctx context.Context, dir string, limit int, f audit.Filter) (eventList, error) {
	l := eventList{Events: []redoubt.Event{}}
	for e, err := range audit.Read(ctx, dir, f) {
		if err != nil {
			return l, err
		}
		if len(l.Events) == 2*limit {
			l.More = true
			l.Events = append(l.Events[:0], l.Events[limit:]...)
		}
		l.Events = append(l.Events, e)
	}
	if n := len(l.Events); n > limit {
		l.More, l.Events = true, l.Events[n-limit:]
	}
	return l, nil
}
