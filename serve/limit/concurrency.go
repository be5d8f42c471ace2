package limit

import (
	"sync"
	"sync/atomic"
)

// Concurrency bounds the calls that are under way at the same time: of all and
// of each key. It is made by [NewConcurrency] and safe for concurrent use.
type Concurrency struct {
	total, each int
	mu          sync.Mutex
	running     int
	byKey       map[string]int
}

// NewConcurrency bounds calls to total at once, and to each for one key; 0 for
// no bound.
func NewConcurrency(total, each int) *Concurrency {
	return &Concurrency{total: total, each: each, byKey: map[string]int{}}
}

// Acquire takes a place, if there is one; release, to be called when the call
// has ended, gives it back, once however often it is called.
func (c *Concurrency) Acquire(key string) (release func(), ok bool) {
	if !c.take(key) {
		return func() {}, false
	}
	var released atomic.Bool
	return func() {
		if released.CompareAndSwap(false, true) {
			c.give(key)
		}
	}, true
}

func (c *Concurrency) take(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.byKey[key]
	if c.total > 0 && c.running >= c.total || c.each > 0 && n >= c.each {
		return false
	}
	c.running++
	c.byKey[key] = n + 1
	return true
}

func (c *Concurrency) give(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if n := c.byKey[key]; n > 1 {
		c.byKey[key] = n - 1
	} else {
		delete(c.byKey, key)
	}
}
