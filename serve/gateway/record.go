package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/internal/late"
	"github.com/redoubt-ml/redoubt/serve/oip"
	"github.com/redoubt-ml/redoubt/serve/policy"
)

var record = &Guard{
	Name: "record",
	Doc:  "bounds the time and the number of calls under way, turns a crash into an error, counts, and writes down what became of the call before it is answered",
	wrap: func(g *Gateway, next Infer) Infer {
		return func(ctx context.Context, c *Call) (*oip.Response, error) {
			began := time.Now()
			c.offer = g.hold()
			defer c.offer.release()
			ctx, cancel := late.WithTimeout(ctx, c.deadline())
			defer cancel()
			ctx, span := g.begin(ctx, c)
			a, err := g.inRoom(ctx, c, next)
			if failed := g.write(ctx, c, err); failed != nil {
				a, err, c.at = nil, failed, "record"
			}
			c.end(span, err)
			g.cfg.Metrics.observe(c, err, time.Since(began))
			return a, err
		}
	},
}

// inRoom answers the call if there is a place for it.
func (g *Gateway) inRoom(ctx context.Context, c *Call, next Infer) (a *oip.Response, err error) {
	select {
	case c.offer.room <- struct{}{}:
	default:
		return nil, oip.Errorf(oip.Unavailable, "the server is busy: try again in a moment")
	}
	defer func() { <-c.offer.room }()
	g.cfg.Metrics.begin()
	defer g.cfg.Metrics.end()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the call crashed: %v\n%s", p, debug.Stack())
		}
	}()
	return next(ctx, c)
}

// write enters the call in the log, and says no if that cannot be done: what is
// not on record does not happen.
func (g *Gateway) write(ctx context.Context, c *Call, err error) error {
	// The client may be gone: the entry is written all the same. A disk that
	// hangs holds nobody for longer than a call may take, but the one call that
	// writes for the others.
	ctx, cancel := late.WithTimeout(context.WithoutCancel(ctx), c.deadline())
	defer cancel()
	e := redoubt.Event{
		Time: time.Now(), Action: c.event(), Outcome: redoubt.Allowed,
		Actor: c.Principal.ID, Method: c.Principal.Method, Credential: c.Principal.Credential,
		From: c.From.String(), Resource: c.resource(), Request: c.ID, Details: c.details(),
	}
	if err != nil {
		e.Outcome, e.Reason = outcome(err)
	}
	if e.Outcome == redoubt.Failed {
		g.logger(ctx, c).Error("a call failed", "model", c.Model, "error", err.Error())
	}
	switch wait := c.offer.terms.Wait; {
	case c.Principal.ID == "" && err != nil:
		return g.writeStranger(ctx, c.From, e)
	case c.Action != policy.Invoke && err == nil:
		err = g.cfg.Record.Enqueue(ctx, e)
	case wait == Flush, c.Served != nil && c.Served.Model.Sensitive:
		err = g.cfg.Record.Record(ctx, e)
	case wait == None:
		err = g.cfg.Record.Enqueue(ctx, e)
	default:
		err = g.cfg.Record.Write(ctx, e)
	}
	return g.unrecorded(c.ID, err)
}

// writeStranger enters what a caller was refused whom nobody knows, as long as
// his network has not filled its part of the log.
func (g *Gateway) writeStranger(ctx context.Context, from netip.Addr, e redoubt.Event) error {
	left, ok := g.strangers.admit(from, e.Time)
	if !ok {
		return nil
	}
	if left > 0 {
		e.Details["left-out"] = fmt.Sprint(left)
	}
	return g.unrecorded(e.Request, g.cfg.Record.Enqueue(ctx, e)) // strangers do not make the disk turn
}

// unrecorded is what a client is told whose call could not be entered.
func (g *Gateway) unrecorded(id string, err error) error {
	if err == nil {
		return nil
	}
	g.cfg.Metrics.unrecorded.Inc()
	g.cfg.Logger.Error("a call cannot be recorded, and is refused", "request", id, "error", err.Error())
	return &oip.Error{Code: oip.Unavailable, Message: "the call cannot be recorded, so it is refused: tell the operator", Err: err}
}

// event is what is recorded as done: who may call a model may also ask what it
// takes, which is no call of it.
func (c *Call) event() string {
	if c.Action == policy.Invoke && c.asks {
		return "model.describe"
	}
	return "model." + string(c.Action)
}

func (c *Call) resource() string {
	if c.Model == "" {
		return "model:*"
	}
	return "model:" + c.Model
}

// details are the facts of a call beside who and what.
func (c *Call) details() map[string]string {
	c.Note("path", string(c.Path))
	if c.Served != nil {
		c.Note("version", c.Served.Version)
		if c.Served.Digest != "" {
			c.Note("digest", string(c.Served.Digest))
		}
	}
	if !c.Decision.Allowed {
		return c.Details
	}
	if cl := c.Decision.Clearance.String(); cl != "all" {
		c.Note("clearance", cl)
	}
	return c.Details
}

// outcome is what became of a call that ended with an error, and why.
func outcome(err error) (redoubt.Outcome, string) {
	e := oip.Classify(err)
	switch e.Code {
	case oip.Internal, oip.Unavailable, oip.Deadline, oip.Cancelled:
		return redoubt.Failed, e.Code.String()
	}
	return redoubt.Denied, e.Code.String() + ": " + e.Message
}
