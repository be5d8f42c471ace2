// Package limit says how often: so many calls in so much time, for several keys
// and several windows at once.
//
//	perPerson, err := limit.ParseLimits("5/minute, 50/hour, 200/day")
//	m := limit.NewMemory(limit.MemoryConfig{})
//	answer := m.Take(ctx, []limit.Bucket{
//		{Name: "principal", Key: who.ID, Limits: perPerson},
//		{Name: "model", Key: "loans", Limits: perModel, Shared: true},
//	})
//	limit.Headers{}.Write(w.Header(), answer)
//	if !answer.Allowed { ... 429 ... }
//
// A take is all or nothing: unless every window of every bucket has room, none
// is charged, so what one limit refuses does not eat into another.
package limit

import (
	"context"
	"time"
)

// Limit is a number of calls in a window of time. After a quiet window the whole
// number may come at once; then one call returns every Window/Count (the generic
// cell rate algorithm, ITU-T I.371, with a burst of Count).
type Limit struct {
	Count  int           // from 1
	Window time.Duration // whole microseconds, up to 366 days
}

// Bucket is something that is counted: the calls of a principal, of an address,
// to a model, or all of them.
type Bucket struct {
	// Name says what is counted, such as "principal"; it comes from the
	// configuration, never from a client.
	Name string
	// Key is whose calls they are. It may come from a client.
	Key string
	// Limits must all be kept. The slice is not changed after it was used.
	Limits []Limit
	// Shared buckets count calls of several callers. What is left in them is not
	// told to any, for it would tell what the others do.
	Shared bool
}

// State is one window of one bucket after a take.
type State struct {
	Bucket    string // its name
	Limit     Limit
	Shared    bool
	Remaining int           // calls that would be allowed at once
	Reset     time.Duration // until all of Count are there again, if none comes
	Wait      time.Duration // until one more is allowed; 0 if one is now
}

// Answer is what became of a take.
type Answer struct {
	Allowed bool
	// States are in the order of the buckets and their limits.
	States []State
	// RetryAfter is how long to wait for a take like this to be allowed, if
	// nobody else takes; 0 when it was.
	RetryAfter time.Duration
	// Refused is the place in States of the limit that has to be waited for
	// longest; -1 when allowed.
	Refused int
}

// Taker takes one call from all of the buckets, or from none. It always decides:
// what goes wrong below it is its business.
type Taker interface {
	Take(ctx context.Context, buckets []Bucket) Answer
}
