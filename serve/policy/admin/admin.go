// Package admin keeps the grants and policies that package policy decides by, and
// has their use reviewed.
//
//	k, err := admin.Open(ctx, admin.Config{DB: db, Engine: engine, Log: log, People: people, Models: models, Past: past})
//	go k.Run(ctx) // learn what other nodes change
//	...
//	grant, err := k.Grant(ctx, admin.Change{By: who, Reason: "joins the team"}, policy.Grant{
//		Subject: "user:4f1c", Role: "model_user", On: "model:loans",
//	})
//
// Every change names who makes it and why. The engine is asked whether he may;
// then the change is written to the log, with the state before and after; then it
// is made, if nobody else changed anything meanwhile. A change that fails after
// it was logged is logged as failed.
//
// A review lists who holds what on a model, beside who used it and when, and what
// speaks against it: see [Keeper.OpenReview].
package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/redoubt-ml/redoubt"
	"github.com/redoubt-ml/redoubt/serve/policy"
	"github.com/redoubt-ml/redoubt/store"
)

// Account is a principal as the directory of accounts has it.
type Account struct {
	redoubt.Principal
	Disabled bool
}

// Config is what a keeper works with. DB, Engine and Log are required.
type Config struct {
	DB     *store.DB
	Engine *policy.Engine
	// Log makes an event durable before it returns.
	Log interface {
		Record(context.Context, redoubt.Event) error
	}
	// People are all accounts, those that are disabled too; Models all models;
	// Past the log's events since a time, oldest first. They are required for
	// reviews and previews.
	People func(context.Context) ([]Account, error)
	Models func(context.Context) ([]*policy.Model, error)
	Past   func(ctx context.Context, since time.Time) iter.Seq2[redoubt.Event, error]
	// Strip takes a role away that an account has of its own, if it still has it.
	// Without it, reviews cannot.
	Strip func(ctx context.Context, by redoubt.Principal, account, role string) error
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

// Change is who makes a change, and why.
type Change struct {
	By      redoubt.Principal
	Reason  string // required: the decision is documented
	From    netip.Addr
	Path    string // see [policy.Context]
	Request string // the id that the client was given
}

// ErrNotFound says that a grant, document, review or plan does not exist.
var ErrNotFound = errors.New("there is none of this name")

// ErrStale says that something was changed by others since it was read: read it
// again.
var ErrStale = errors.New("it was changed by others meanwhile: read it again, and decide again")

// ErrInput is wrapped by errors about what somebody asked for, whose text is
// meant for him.
var ErrInput = errors.New("not accepted")

func input(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrInput, err)
}

// Refused is a change that the engine does not permit.
type Refused struct{ Decision policy.Decision }

func (r *Refused) Error() string { return "refused: " + r.Decision.Why }

// Keeper keeps grants, policies and reviews. It is safe for concurrent use.
type Keeper struct {
	cfg Config
	mu  sync.Mutex // one change at a time on this node

	loading sync.Mutex
	loaded  int64 // the generation that the engine has
}

// Open makes the tables where there are none, and has the engine decide by what
// they hold.
func Open(ctx context.Context, cfg Config) (*Keeper, error) {
	if cfg.DB == nil || cfg.Engine == nil || cfg.Log == nil {
		return nil, errors.New("open the keeper of policies: database, engine and log are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	k := &Keeper{cfg: cfg, loaded: -1}
	if err := cfg.DB.Migrate(ctx, migrations); err != nil {
		return nil, fmt.Errorf("open the keeper of policies: %w", err)
	}
	return k, k.Load(ctx)
}

// Load has the engine decide by what the database holds now.
func (k *Keeper) Load(ctx context.Context) error {
	k.loading.Lock()
	defer k.loading.Unlock()
	s, err := k.read(ctx)
	if err != nil || s.generation == k.loaded {
		return err
	}
	if err := k.cfg.Engine.Load(s.State); err != nil {
		return err
	}
	k.loaded = s.generation
	return nil
}

// every is how often other nodes' changes are looked for: a revocation is seen
// within two seconds.
const every = time.Second

// Run has the engine follow what other nodes change, until the context ends.
// While the database does not answer, the engine goes on with what it has;
// failed, unless nil, is told.
func (k *Keeper) Run(ctx context.Context, failed func(error)) {
	k.loading.Lock()
	known := k.loaded
	k.loading.Unlock()
	k.cfg.DB.Follow(ctx, room, known, every, func(_ int64, err error) error {
		if err == nil {
			err = k.Load(ctx)
		}
		if err != nil && failed != nil {
			failed(err)
		}
		return err
	})
}

// decide refuses a change without a reason, or that its author may not make,
// which is logged.
func (k *Keeper) decide(ctx context.Context, ch *Change, action policy.Action, r policy.Resource) error {
	if ch.Reason = strings.TrimSpace(ch.Reason); ch.Reason == "" {
		return input(errors.New("no reason is given: say why, for whoever reviews it"))
	}
	d := k.cfg.Engine.Decide(policy.Request{
		Principal: ch.By, Action: action, Resource: r,
		Context: policy.Context{Time: k.cfg.Now(), From: ch.From, Path: ch.Path},
	})
	if d.Allowed {
		return nil
	}
	e := k.event(ch, string(r.Kind)+"."+string(action), string(r.Kind)+":"+r.Name)
	e.Outcome, e.Reason = redoubt.Denied, d.Why
	return errors.Join(&Refused{d}, k.cfg.Log.Record(ctx, e))
}

// event is what is common to all that the log is told of a change.
func (k *Keeper) event(ch *Change, action, resource string) redoubt.Event {
	e := redoubt.Event{
		Time: k.cfg.Now(), Action: action, Outcome: redoubt.Allowed, Reason: ch.Reason,
		Actor: ch.By.ID, Method: ch.By.Method, Credential: ch.By.Credential, Resource: resource, Request: ch.Request,
	}
	if ch.From.IsValid() {
		e.From = ch.From.String()
	}
	return e
}

// plan is what a change does: what the log says of it, and the writing of it.
type plan struct {
	action, resource string
	before, after    string
	details          map[string]string
	write            func(*store.Tx) error
}

// change makes a change to the state that it was planned on: logged first, then
// written, then decided by.
func (k *Keeper) change(ctx context.Context, ch *Change, prepare func(*state) (plan, error)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, err := k.read(ctx)
	if err != nil {
		return err
	}
	p, err := prepare(s)
	if err != nil {
		return err
	}
	event := k.event(ch, p.action, p.resource)
	event.Before, event.After, event.Details = p.before, p.after, p.details
	if err := k.cfg.Log.Record(ctx, event); err != nil {
		return fmt.Errorf("change permissions: not done, for it cannot be logged: %w", err)
	}
	err = k.cfg.DB.Update(ctx, func(tx *store.Tx) error {
		g, err := tx.Generation(room)
		if err != nil {
			return err
		}
		if g != s.generation {
			return ErrStale
		}
		if err := p.write(tx); err != nil {
			return err
		}
		return tx.Bump(room)
	})
	if err != nil {
		// Also when the caller has gone away: the log must not claim what was not
		// done.
		event.Outcome, event.Reason = redoubt.Failed, err.Error()
		return errors.Join(err, k.cfg.Log.Record(context.WithoutCancel(ctx), event))
	}
	return k.Load(context.WithoutCancel(ctx))
}

// newID names something for ever: 128 bits at random.
func newID() string { return strings.ToLower(rand.Text()) }
