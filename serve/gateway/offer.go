package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/redoubt-ml/redoubt/serve/limit"
)

// Offer is what a gateway serves at a time: models, and the terms on which it
// does. It is checked when it is made and never changed, only replaced by
// another: a call sees one offer from its beginning to its end.
type Offer struct {
	terms  Terms
	models []*Model
	names  []string // sorted
	served map[string]map[string]*Served
	// longest is what the slowest model may take.
	longest time.Duration
	room    chan struct{} // a place for each concurrent call
	bodies  *bodies
	callers *limit.Concurrency

	// users are the calls that see this offer, and the gateway while it is the
	// current one. When the last has gone idle is closed.
	users atomic.Int64
	idle  chan struct{}
}

// NewOffer checks models and terms, and asks every version's engine what it
// takes. An offer is made once and put up once.
func NewOffer(ctx context.Context, terms Terms, models []*Model) (*Offer, error) {
	if terms.Concurrent == 0 {
		terms.Concurrent = 256
	}
	if terms.Each == 0 {
		terms.Each = max(1, terms.Concurrent/4)
	}
	if terms.Bodies == 0 {
		terms.Bodies = 256 << 20
	}
	if terms.Concurrent < 0 || terms.Each < 0 || terms.Bodies < 0 {
		return nil, errors.New("offer models: a bound on the calls under way is negative")
	}
	if terms.Name == "" {
		terms.Name = "redoubt"
	}
	o := &Offer{
		terms: terms, models: slices.Clone(models), served: map[string]map[string]*Served{},
		room: make(chan struct{}, terms.Concurrent), bodies: newBodies(terms.Bodies), callers: limit.NewConcurrency(0, terms.Each), idle: make(chan struct{}),
	}
	o.users.Store(1)
	for _, m := range models {
		if !nameable(m.Name) || o.served[m.Name] != nil {
			return nil, fmt.Errorf("offer model %q: the name is taken, or not made of letters, digits, '.', '_' and '-'", m.Name)
		}
		versions, err := m.versions(ctx)
		if err != nil {
			return nil, fmt.Errorf("offer model %s: %w", m.Name, err)
		}
		o.served[m.Name] = versions
		o.longest = max(o.longest, cmp.Or(m.Settings.Timeout, callTime))
	}
	o.names = slices.Sorted(maps.Keys(o.served))
	return o, nil
}

// Offer puts up an offer in the place of the one before, all at once: calls
// under way keep the one that they began with. The channel is closed when the
// last of them has ended. The engines remain the caller's to close, when neither
// that offer nor any before it is in use.
func (g *Gateway) Offer(o *Offer) (idle <-chan struct{}) {
	before := g.offer.Swap(o)
	before.release()
	return before.idle
}

// Models are those on offer. They must not be changed, and their engines not be
// asked: for that there is [Gateway.Use].
func (g *Gateway) Models() []*Model { return g.offer.Load().models }

// Use calls do with the models on offer. Their engines stay open until it
// returns.
func (g *Gateway) Use(do func(models []*Model)) {
	o := g.hold()
	defer o.release()
	do(o.models)
}

// hold returns the current offer, which is in use until it is released.
func (g *Gateway) hold() *Offer {
	for {
		o := g.offer.Load()
		for n := o.users.Load(); n > 0; n = o.users.Load() {
			if o.users.CompareAndSwap(n, n+1) {
				return o
			}
		}
		// It was replaced, and its last call ended, since it was read.
	}
}

func (o *Offer) release() {
	if o.users.Add(-1) == 0 {
		close(o.idle)
	}
}

// find is the version of a model that a call asks for, nil if there is none.
func (o *Offer) find(model, version string) *Served { return o.served[model][version] }
