// Package late has contexts that cost little until somebody waits for their end. A
// timer, and a place among those that hear of the parent's end, are made when Done is
// first called: a call that is over in less than a millisecond mostly never asks.
package late

import (
	"context"
	"sync"
	"time"
)

// WithTimeout is like [context.WithTimeout]. The context ends at the same time, and
// whoever asks for its error hears so also where nobody waits.
func WithTimeout(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	at := time.Now().Add(timeout)
	if sooner, ok := parent.Deadline(); ok && sooner.Before(at) {
		at = sooner
	}
	c := &late{parent: parent, at: at}
	return c, c.cancel
}

// New is a context that begin makes when somebody first waits for its end. Until then
// it has ended only if it was cancelled or parent has ended. Its values are parent's;
// what begin makes must have them too.
func New(parent context.Context, begin func() (context.Context, context.CancelFunc)) (context.Context, context.CancelFunc) {
	c := &late{parent: parent, begin: begin}
	return c, c.cancel
}

type late struct {
	parent context.Context
	at     time.Time // zero for never
	begin  func() (context.Context, context.CancelFunc)

	mu        sync.Mutex
	made      context.Context // nil until somebody waits
	stop      context.CancelFunc
	cancelled bool
}

func (c *late) Deadline() (time.Time, bool) {
	if c.at.IsZero() {
		return c.parent.Deadline()
	}
	return c.at, true
}

func (c *late) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		if c.begin != nil {
			c.made, c.stop = c.begin()
		} else {
			c.made, c.stop = context.WithDeadline(c.parent, c.at)
		}
		if c.cancelled {
			c.stop()
		}
	}
	return c.made.Done()
}

func (c *late) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch err := c.parent.Err(); {
	case c.made != nil:
		return c.made.Err()
	case c.cancelled:
		return context.Canceled
	case err != nil:
		return err
	case !c.at.IsZero() && !time.Now().Before(c.at):
		return context.DeadlineExceeded
	}
	return nil
}

// Value is the made context's once there is one: package context finds by it where to
// enter children, which otherwise take a goroutine each.
func (c *late) Value(key any) any {
	c.mu.Lock()
	made := c.made
	c.mu.Unlock()
	if made != nil {
		return made.Value(key)
	}
	return c.parent.Value(key)
}

func (c *late) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancelled = true
	if c.stop != nil {
		c.stop()
	}
}
