package limit

import "sync"

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
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total > 0 && c.running >= c.total || c.each > 0 && c.byKey[key] >= c.each {
		return func() {}, false
	}
	c.running++
	c.byKey[key]++
	return sync.OnceFunc(func() { c.give(key) }), true
}

func (c *Concurrency) give(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	if c.byKey[key]--; c.byKey[key] == 0 {
		delete(c.byKey, key)
	}
}
